"""What turns images into the features and logits that metrics compare, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadpm.artifacts import UserError
from sadpm.jobs import Extractor

LABELS: dict[str, str] = {"classifier": "digits classifier", "pixels": "pixels"}

Features = NDArray[np.float64]


def extract_features(
    extractor: Extractor, images: NDArray[np.uint8], weights: Path | None
) -> tuple[Features, Features | None]:
    """Return features (n, d) and, where the extractor classifies, logits (n, classes) of uint8 images (n, H, W, C).

    Args:
        extractor: "classifier" (64 penultimate features) or "pixels" (the image itself, scaled to [0, 1]).
        images: (n, H, W, C) uint8.
        weights: the classifier's file.

    Raises:
        UserError: the classifier is asked for and there is no file of its weights.
    """
    if extractor == "pixels":
        return images.reshape(len(images), -1) / 255.0, None
    if weights is None:
        raise UserError("the extractor 'classifier' needs the file of its weights")
    from sadpm.classifier import extract, load_classifier

    return extract(load_classifier(weights), np.asarray(images))
