"""Images that come with scikit-learn: nothing to download."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sadpm.sources.reading.stream import ImageStream

PATCH_SIZE = 8


def handwritten_digits(split: Literal["all", "train", "test"] = "all") -> ImageStream:
    """Return scikit-learn's 1,797 grey images of handwritten digits, 8x8, with their labels, or a split of them.

    Each fifth image, from the fifth on, is one of the test split: the data set comes without splits, and its writers
    come one after the other.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    names = tuple(str(digit) for digit in bunch.target_names)
    fifth = np.arange(len(pixels)) % 5 == 4
    chosen = {"all": fifth | ~fifth, "train": ~fifth, "test": fifth}[split]
    which = {"all": "", "train": ", all but each fifth", "test": ", each fifth"}[split]
    description = f"UCI handwritten digits (scikit-learn), 8x8, grey{which}"
    return _in_memory(pixels[chosen], bunch.target.astype(np.int64)[chosen], names, description)


def photograph_patches() -> ImageStream:
    """Return the 8x8 colour patches that tile scikit-learn's two sample photographs, 8,480 of them."""
    from sklearn.datasets import load_sample_images

    patches = np.concatenate([_tiles(photograph) for photograph in load_sample_images().images])
    return _in_memory(patches, None, (), "tiles of scikit-learn's two sample photographs, 8x8, colour")


def _in_memory(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, class_names: tuple[str, ...], description: str
) -> ImageStream:
    count, height, width, channels = pixels.shape
    return ImageStream(count, (height, width, channels), iter(pixels), labels, class_names, description)


def _tiles(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (length // PATCH_SIZE for length in photograph.shape[:2])
    whole = photograph[: rows * PATCH_SIZE, : columns * PATCH_SIZE]
    grid = whole.reshape(rows, PATCH_SIZE, columns, PATCH_SIZE, -1)
    return np.ascontiguousarray(grid.swapaxes(1, 2)).reshape(rows * columns, PATCH_SIZE, PATCH_SIZE, -1)
