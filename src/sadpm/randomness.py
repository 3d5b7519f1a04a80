"""Every random draw is a function of its position, so that nothing depends on batching, sharding or interruptions."""

import hashlib

import torch
from torch import Tensor

DRAW_SIZE = 50
"""Images whose noise comes from one generator when sampling; part of what a seed means, so it never changes."""


def position_seed(seed: int, stream: str, index: int) -> int:
    """Return a 63-bit seed for one position of one stream: independent streams never share random numbers."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def generator(seed: int, stream: str, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for one position, such as training step ``index`` of a run."""
    return torch.Generator(device).manual_seed(position_seed(seed, stream, index))


class ImageNoise:
    """Standard normal noise for a range of images, drawn in fixed groups of :data:`DRAW_SIZE`.

    Each call returns the next draw of every group: first the start of the chain, then the noise of each step that
    wants some.
    """

    def __init__(
        self, seed: int, stream: str, images: range, shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> None:
        """Set up the groups that contain ``images``; shape is (C, H, W).

        Raises:
            ValueError: the range does not start at a group's first image.
        """
        if images.start % DRAW_SIZE:
            raise ValueError(f"a range of images starts at a multiple of {DRAW_SIZE}, not at {images.start}")
        groups = range(images.start // DRAW_SIZE, -(-images.stop // DRAW_SIZE))
        self._generators = [generator(seed, stream, group, device) for group in groups]
        self._count, self._shape, self._device = len(images), shape, device

    def draw(self, step: int | None = None) -> Tensor:
        """Return the next noise, (len(images), C, H, W), float32; which step it is for does not matter."""
        draws = [torch.randn(DRAW_SIZE, *self._shape, generator=g, device=self._device) for g in self._generators]
        return torch.cat(draws)[: self._count]
