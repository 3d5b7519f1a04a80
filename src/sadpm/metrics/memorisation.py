"""How many samples lie nearer to a training image than other training images do: copies, whatever FID says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sadpm.metrics.features import Features, FloatArray, check_pair

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Distances of so many images to as many others are in memory at once: 32 MB.
ROWS = 2_000
# Of a squared distance, relative to the mean one from the centre: features of the same image, seen in two batches of
# a network, differ by a millionth, whose square is well below; distances in float64 are known to much less.
SAME = 1e-10


class NearestImages(NamedTuple):
    """Of each sample: which training image is the nearest, and how near that is to both.

    Attributes:
        image: (n,) index of the nearest training image.
        squared: (n,) squared distance from the sample to it.
        squared_own: (n,) squared distance from it to the nearest other training image.
        rounding: below which a squared distance is 0, and a difference of two is none.
    """

    image: NDArray[np.int64]
    squared: FloatArray
    squared_own: FloatArray
    rounding: float

    @property
    def memorised(self) -> NDArray[np.bool_]:
        """Return which samples are nearer to their training image than any other training image is."""
        return self.squared + self.rounding < self.squared_own

    @property
    def ratio(self) -> FloatArray:
        """Return the first distance by the second: 0 is a copy, below 1 counts as memorised."""
        return np.sqrt(self.squared / self.squared_own)


def nearest_images(sampled: Features, real: Features, device: torch.device | str = "cpu") -> NearestImages:
    """Find the training image nearest to each sample, and that image's own nearest neighbour.

    A sample is memorised where it is the nearer of the two; the share of samples that are not is the authenticity of
    Alaa et al. 2022 (arXiv:2102.08921). Training images whose features are the same count as one image, so that a copy
    of an image that is there twice is a copy all the same.

    Args:
        sampled, real: features (n, d) of samples and (m, d) of all training images, in float32 or float64.
        device: where distances are computed, in float64 and by blocks, of n m + min(n, m) m pairs.

    Raises:
        ValueError: the features differ in dimension or are not finite, there is no sample, or no two training images
            differ.
    """
    check_pair(sampled, real)
    if not len(sampled) or len(real) < 2:
        raise ValueError(f"memorised needs a sample and 2 training images, not {len(sampled)} and {len(real)}")
    import torch

    centre = torch.zeros(real.shape[1], dtype=torch.float64, device=device)
    centre = torch.stack([block.sum(0) for block in _blocks(real, centre)]).sum(0) / len(real)
    spread = sum(float(_squares(block).sum()) for block in _blocks(real, centre)) / len(real)
    if not spread > 0:
        raise ValueError(f"memorised needs training images that differ, and all {len(real)} look alike")
    index, squared = _nearest(_blocks(sampled, centre), lambda: _blocks(real, centre), None)
    chosen, place = np.unique(index, return_inverse=True)
    _, squared_own = _nearest(_blocks(real, centre, chosen), lambda: _blocks(real, centre), SAME * spread)
    return NearestImages(index, squared, squared_own[place], SAME * spread)


def _blocks(features: Features, centre: Tensor, chosen: NDArray[np.int64] | None = None) -> Iterator[Tensor]:
    """Yield features (n, d), or some of them, around the centre, where products of them cancel least.

    Each block (rows, d), float64 on the centre's device, takes the memory of the one before: blocks that come and go
    would leave gaps in it.
    """
    import torch

    held = torch.empty(ROWS, len(centre), dtype=torch.float64, device=centre.device)
    for start in range(0, len(features if chosen is None else chosen), ROWS):
        some = slice(start, start + ROWS)
        rows = torch.from_numpy(features[some] if chosen is None else features[chosen[some]])
        yield held[: len(rows)].copy_(rows).sub_(centre)


def _squares(rows: Tensor) -> Tensor:
    import torch

    return torch.linalg.vector_norm(rows, dim=1).square()


def _nearest(
    points: Iterable[Tensor], others: Callable[[], Iterable[Tensor]], same: float | None
) -> tuple[NDArray[np.int64], FloatArray]:
    """Return for each point the index of the nearest other, and the squared distance; those up to ``same`` are itself.

    Both come as blocks of features (rows, d).
    """
    import torch

    found: list[tuple[Tensor, Tensor]] = []
    for rows in points:
        least = torch.full((len(rows),), torch.inf, dtype=rows.dtype, device=rows.device)
        index, start = torch.zeros(len(rows), dtype=torch.int64, device=rows.device), 0
        for some in others():
            squared = torch.addmm(_squares(some), rows, some.T, alpha=-2).add_(_squares(rows)[:, None])
            if same is not None:
                squared[squared <= same] = torch.inf
            here, position = squared.min(dim=1)
            nearer = here < least
            least, index = torch.where(nearer, here, least), torch.where(nearer, position + start, index)
            start += len(some)
        found.append((index.cpu(), least.clamp(min=0).cpu()))
    return torch.cat([index for index, _ in found]).numpy(), torch.cat([least for _, least in found]).numpy()
