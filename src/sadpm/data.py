"""Data: named sources become one uint8 array. Imports no torch: see batches.py for what training draws from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadpm.artifacts import UserError

PATCH_SIZE = 8


@dataclass(frozen=True)
class Images:
    """A data set in memory.

    Attributes:
        pixels: (n, H, W, C) uint8.
        labels: (n,) int64 class of each image, or None.
        description: where the images come from, in words.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    description: str


def handwritten_digits() -> Images:
    """Return scikit-learn's 1,797 grey images of handwritten digits, 8x8, with their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return Images(pixels, bunch.target.astype(np.int64), "UCI handwritten digits (scikit-learn), 8x8, grey")


def photograph_patches() -> Images:
    """Return the 8x8 colour patches that tile scikit-learn's two sample photographs, 8,480 of them."""
    from sklearn.datasets import load_sample_images

    patches = [_tiles(photograph) for photograph in load_sample_images().images]
    return Images(np.concatenate(patches), None, "tiles of scikit-learn's two sample photographs, 8x8, colour")


SOURCES: Mapping[str, Callable[[], Images]] = {"digits": handwritten_digits, "photographs": photograph_patches}


def load_pixels(path: Path) -> NDArray[np.uint8]:
    """Map ``images.npy`` into memory, (n, H, W, C) uint8.

    Raises:
        UserError: the file is missing, damaged, or no such array.
    """
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error}); delete it to have it made again") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise UserError(f"{path}: expected uint8 images (n, H, W, C), found {pixels.dtype} {pixels.shape}")
    return pixels


def _tiles(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (length // PATCH_SIZE for length in photograph.shape[:2])
    whole = photograph[: rows * PATCH_SIZE, : columns * PATCH_SIZE]
    grid = whole.reshape(rows, PATCH_SIZE, columns, PATCH_SIZE, -1)
    return np.ascontiguousarray(grid.swapaxes(1, 2)).reshape(rows * columns, PATCH_SIZE, PATCH_SIZE, -1)
