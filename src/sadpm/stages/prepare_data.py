"""Make the one uint8 array of a data set."""

from pathlib import Path

import numpy as np

from sadpm.artifacts import UserError, sha256, write_atomically, write_json
from sadpm.data import SOURCES
from sadpm.jobs import DataJob
from sadpm.stages import command


def prepare_data(params: DataJob, images: Path, labels: Path, description: Path) -> None:
    """Write the images (n, H, W, C), their labels (empty where there are none), and what they are."""
    if params.source not in SOURCES:
        raise UserError(f"source: {params.source!r} is unknown; choose one of {', '.join(SOURCES)}")
    loaded = SOURCES[params.source]()
    classes = np.empty(0, np.int64) if loaded.labels is None else loaded.labels
    write_atomically(images, lambda file: np.save(file, loaded.pixels))
    write_atomically(labels, lambda file: np.save(file, classes))
    facts = {"source": params.source, "description": loaded.description, "shape": list(loaded.pixels.shape)}
    write_json(description, {**facts, "sha256": sha256(images), "num_classes": len(np.unique(classes))})


if __name__ == "__main__":
    command(prepare_data)
