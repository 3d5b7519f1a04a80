"""Train what looks at images, for an extractor that learns from the data set's labels."""

from pathlib import Path

import numpy as np

from sadpm.config.jobs import ExtractorJob
from sadpm.running.files import UserError, provenance, write_json
from sadpm.sources.reading.prepared import load_labels, load_pixels
from sadpm.stages import command


def train_extractor(params: ExtractorJob, images: Path, labels: Path, weights: Path, report: Path) -> None:
    """Write the weights, and a report of how well it has learned.

    Raises:
        UserError: images or labels can't be read, don't fit each other, or can't be learned from.
    """
    pixels = np.array(load_pixels(images))
    classes = load_labels(labels, len(pixels))
    try:
        learned = params.extractor.train(pixels, classes, weights)
    except UserError as error:
        raise UserError(f"{labels}: {error}") from error
    write_json(report, {**learned, "provenance": provenance(params, images=images)})


if __name__ == "__main__":
    command(train_extractor)
