"""Improved precision and recall, as by torch-fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sadpm.metrics.features import Features, FloatArray, check_pair
from sadpm.metrics.influence import checked_influence

if TYPE_CHECKING:
    import torch

PRECISION_RECALL_NEIGHBOURS = 3
Indicators = NDArray[np.bool_]
# Distances of so many images to all others are in memory at once.
PRECISION_RECALL_ROWS = 2_000


def precision_recall(sampled: Features, real: Features, device: torch.device | str = "cpu") -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019), equal to torch-fidelity's with its defaults.

    Precision is the share of samples that lie in the ball of some real image, recall the share of real images that
    lie in the ball of some sample; a ball reaches to its centre's third nearest neighbour of its own kind.

    Args:
        sampled, real: features (n, d) and (m, d), with n, m > 3.
        device: where distances are computed.

    Returns precision and recall, in [0, 1]. ValueError: the features differ in dimension, or are too few.
    """
    precise, recalled = precision_recall_indicators(sampled, real, device)
    return share(precise), share(recalled)


def precision_recall_indicators(
    sampled: Features, real: Features, device: torch.device | str = "cpu"
) -> tuple[Indicators, Indicators]:
    """Return which samples (n,) and which real images (m,) lie in a ball; arguments and errors of `precision_recall`.

    Their shares are precision and recall.
    """
    check_pair(sampled, real)
    if min(len(sampled), len(real)) <= PRECISION_RECALL_NEIGHBOURS:
        raise ValueError(f"precision and recall need 4 images of each kind, not {len(sampled)} and {len(real)}")
    import torch

    ours, theirs = (torch.from_numpy(features).to(device) for features in (sampled, real))
    return _in_a_ball(ours, theirs), _in_a_ball(theirs, ours)


def share(indicators: Indicators) -> float:
    """Return the share of indicators that are true, rounded to float32 as torch-fidelity's is."""
    return float(np.float32(indicators.sum()) / np.float32(len(indicators)))


def share_influence(indicators: Indicators) -> FloatArray:
    """Influence values of a share over the images that it counts, (n,): the indicators less their mean.

    Those of precision, and of what is memorised, are over samples, given the real images, and can be paired. Those of
    recall are over real images, given the balls of the samples: they say how well the share of all possible real images
    is known, not what other samples would do, and there is nothing to pair.

    Raises:
        NoInfluence: the share is 0 or 1.
    """
    return checked_influence(indicators - indicators.mean(), 0.0, "images that all count alike: no spread to judge by")


def _in_a_ball(points: torch.Tensor, centres: torch.Tensor) -> Indicators:
    """Return which points (n, d) are at most as far from one of the centres (m, d) as its nearest neighbours are."""
    import torch

    neighbours = PRECISION_RECALL_NEIGHBOURS + 1  # a centre is at distance 0 from itself
    radii = [_distances(rows, centres).kthvalue(neighbours).values for rows in centres.split(PRECISION_RECALL_ROWS)]
    radius = torch.cat(radii)
    inside = [(_distances(rows, centres) <= radius).any(dim=1) for rows in points.split(PRECISION_RECALL_ROWS)]
    found: Indicators = torch.cat(inside).numpy()
    return found


def _distances(rows: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return distances (rows, centres) on the CPU, by blocks of torch-fidelity's kind: others may round otherwise."""
    import torch

    return torch.cat([torch.cdist(rows, some).cpu() for some in centres.split(PRECISION_RECALL_ROWS)], dim=1)
