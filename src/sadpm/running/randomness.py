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


def random_signs(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    """Return -1.0 or 1.0 with equal probability (Rademacher), float32, on the generator's device."""
    return torch.randint(2, shape, generator=draws, device=draws.device) * 2.0 - 1


class ImageNoise:
    """Standard normal noise for a range of images, drawn in fixed groups of :data:`DRAW_SIZE`.

    The noise of a step is a function of seed, step and group, so that a chain can go on in the middle.
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
        self._seed, self._stream = seed, stream
        self._groups = range(images.start // DRAW_SIZE, -(-images.stop // DRAW_SIZE))
        self._generator = torch.Generator(device)
        self._count, self._shape, self._device = len(images), shape, device

    def at_start(self) -> Tensor:
        """Return the noise with which the chains start, (len(images), C, H, W), float32."""
        return self._draw(f"{self._stream}/start")

    def of_step(self, j: int) -> Tensor:
        """Return the noise of the j-th executed step, (len(images), C, H, W), float32."""
        return self._draw(f"{self._stream}/{j}")

    def _draw(self, stream: str) -> Tensor:
        return torch.cat([self._draw_group(stream, group) for group in self._groups])[: self._count]

    def _draw_group(self, stream: str, group: int) -> Tensor:
        draws = self._generator.manual_seed(position_seed(self._seed, stream, group))
        return torch.randn(DRAW_SIZE, *self._shape, generator=draws, device=self._device)
