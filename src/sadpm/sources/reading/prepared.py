"""Images as the stages pass them on: uint8 arrays. See batches.py for what training draws from them."""

from __future__ import annotations

import hashlib
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from sadpm.running.files import UserError

Pixels = NDArray[np.uint8]


def load_pixels(path: Path) -> Pixels:
    """Map ``images.npy`` into memory, (n, H, W, C) uint8.

    Raises:
        UserError: the file is missing, damaged, or no such array.
    """
    return _images(path, ("n", "H", "W", "C"))


def load_samples(path: Path) -> Pixels:
    """Map the samples of several cells into memory, (cells, n, H, W, C) uint8.

    Raises:
        UserError: the file is missing, damaged, or no such array.
    """
    return _images(path, ("cells", "n", "H", "W", "C"))


def write_samples(file: IO[bytes], shape: tuple[int, ...], parts: Iterable[Iterable[Pixels]]) -> list[str]:
    """Write what ``numpy.save`` would write of an array (cells, n, H, W, C), with one part in memory at a time.

    Args:
        file: where to.
        shape: of the array.
        parts: of each cell, the arrays that together are its images (n, H, W, C).

    Returns:
        The SHA-256 of each cell's images.
    """
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    hashes = []
    for arrays in parts:
        cell = hashlib.sha256()
        for array in arrays:
            content = np.ascontiguousarray(array).data
            cell.update(content)
            file.write(content)
        hashes.append(cell.hexdigest())
    return hashes


def _images(path: Path, axes: tuple[str, ...]) -> Pixels:
    pixels = _mapped(path)
    if pixels.dtype != np.uint8 or pixels.ndim != len(axes):
        raise UserError(f"{path}: expected uint8 images ({', '.join(axes)}), found {pixels.dtype} {pixels.shape}")
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
