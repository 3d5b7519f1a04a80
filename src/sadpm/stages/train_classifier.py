"""Train the small classifier whose features and logits score the samples."""

from pathlib import Path

import numpy as np

from sadpm.config.jobs import ClassifierJob
from sadpm.networks.classifier import save_classifier, train_classifier
from sadpm.running.files import UserError, provenance, write_json
from sadpm.running.finite import first_not_finite
from sadpm.sources.reading.prepared import load_labels, load_pixels
from sadpm.stages import command

SEED = 0


def train_and_save(params: ClassifierJob, images: Path, labels: Path, weights: Path, report: Path) -> None:
    """Write the classifier's weights, and its accuracy on the fifth of the images that it was not trained on.

    Raises:
        UserError: images or labels can't be read, don't fit each other, or are too few; training diverged, or the
            classifier is not better than a constant answer.
    """
    pixels = np.array(load_pixels(images))
    classes = load_labels(labels, len(pixels))
    num_classes = int(classes.max(initial=0)) + 1
    try:
        model, accuracy = train_classifier(
            pixels, classes, num_classes=num_classes, seed=SEED, **params.classifier.model_dump()
        )
    except ValueError as error:
        raise UserError(f"{labels}: {error}") from error
    chance = float(np.bincount(classes).max() / len(classes))
    if not accuracy > chance or first_not_finite(model.state_dict()) is not None:
        raise UserError(
            f"the classifier has learned nothing: it is right for {accuracy:.0%} of the images that were held out, and"
            f" naming the most frequent class would be for {chance:.0%}; change classifier.learning_rate (now"
            f" {params.classifier.learning_rate:g}) or classifier.steps (now {params.classifier.steps})"
        )
    save_classifier(model, weights)
    write_json(report, {"held_out_accuracy": accuracy, "provenance": provenance(params, images=images)})


if __name__ == "__main__":
    command(train_and_save)
