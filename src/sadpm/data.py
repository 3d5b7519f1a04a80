"""Images as the stages pass them on: one uint8 array. See batches.py for what training draws from it."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from sadpm.artifacts import UserError


def load_pixels(path: Path) -> NDArray[np.uint8]:
    """Map ``images.npy`` into memory, (n, H, W, C) uint8.

    Raises:
        UserError: the file is missing, damaged, or no such array.
    """
    pixels = _mapped(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise UserError(f"{path}: expected uint8 images (n, H, W, C), found {pixels.dtype} {pixels.shape}")
    return pixels


def load_labels(path: Path, count: int) -> NDArray[np.int64]:
    """Map ``labels.npy`` into memory, (n,) int64, for as many images as ``count``.

    Raises:
        UserError: the file is missing, damaged, or holds other than one class from 0 up for each image.
    """
    labels = _mapped(path)
    if labels.dtype != np.int64 or labels.shape != (count,) or (labels < 0).any():
        raise UserError(
            f"{path}: expected a class from 0 up for each of {count} images, int64, found {labels.dtype} {labels.shape}"
        )
    return labels


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise UserError(f"{path}: not a readable .npy file ({error}); delete it to have it made again") from error
