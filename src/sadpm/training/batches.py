"""Batches of training images, as a function of the step."""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadpm.running.randomness import generator
from sadpm.running.transfers import to_device


def to_model_range(pixels: Tensor) -> Tensor:
    """Map uint8 images to float32 in [-1, 1] by 2 p / 255 - 1."""
    return pixels.float().div_(127.5).sub_(1)


class TrainingBatches:
    """Batches of shuffled epochs, as a function of the step.

    The images lie on the device as uint8 and so does the order of an epoch: no step waits for the host.
    """

    def __init__(
        self, pixels: NDArray[np.uint8], batch_size: int, seed: int, device: torch.device, flip: bool = False
    ) -> None:
        self._pixels = torch.from_numpy(np.array(pixels)).to(device).movedim(-1, 1)
        self._batch_size, self._seed, self._flip = batch_size, seed, flip
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64, device=device)

    def at(self, step: int) -> Tensor:
        """Return the images of one training step, (B, C, H, W) float32 in [-1, 1]."""
        first = step * self._batch_size
        indices = torch.cat([self._indices(position) for position in self._spans(first, first + self._batch_size)])
        x0 = to_model_range(self._pixels[indices])
        if not self._flip:
            return x0
        coins = torch.rand(len(x0), 1, 1, 1, generator=generator(self._seed, "flip", step)) < 0.5
        return torch.where(to_device(coins, x0.device), x0.flip(-1), x0)

    def _spans(self, start: int, stop: int) -> list[range]:
        """Cut a range of positions at the ends of epochs."""
        size = len(self._pixels)
        edges = [start, *range((start // size + 1) * size, stop, size), stop]
        return [range(a, b) for a, b in pairwise(edges)]

    def _indices(self, positions: range) -> Tensor:
        epoch, offset = divmod(positions.start, len(self._pixels))
        if epoch != self._epoch:
            order = torch.randperm(len(self._pixels), generator=generator(self._seed, "order", epoch))
            self._order = to_device(order, self._pixels.device)
            self._epoch = epoch
        return self._order[offset : offset + len(positions)]
