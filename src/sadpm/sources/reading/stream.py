"""What every source of images returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageStream:
    """A data set, one image at a time.

    Attributes:
        count: how many images there are.
        shape: (H, W, C) of each of them.
        images: each image once, (H, W, C) uint8, in an order that depends on nothing but the source.
        labels: (count,) int64 class of each image, or None.
        class_names: the name of each class, where there are any.
        description: where the images come from and what was done to them, in words.
    """

    count: int
    shape: tuple[int, int, int]
    images: Iterator[NDArray[np.uint8]]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    description: str
