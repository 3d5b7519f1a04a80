"""Images as the stages pass them on: one uint8 array. See batches.py for what training draws from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadpm.artifacts import UserError


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
