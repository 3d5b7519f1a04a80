"""Improved precision and recall, by torch-fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sadpm.metrics.features import Features, check_pair

if TYPE_CHECKING:
    import torch

PRECISION_RECALL_NEIGHBOURS = 3
# Distances of so many images to all others are in memory at once.
PRECISION_RECALL_ROWS = 2_000


def precision_recall(sampled: Features, real: Features, device: torch.device | str = "cpu") -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019), computed by torch-fidelity with its defaults.

    Precision is the share of samples that lie in the ball of some real image, recall the share of real images that
    lie in the ball of some sample; a ball reaches to its centre's third nearest neighbour of its own kind.

    Args:
        sampled, real: features (n, d) and (m, d), with n, m > 3.
        device: where distances are computed.

    Returns precision and recall, in [0, 1]. ValueError: the features differ in dimension, or are too few.
    """
    check_pair(sampled, real)
    if min(len(sampled), len(real)) <= PRECISION_RECALL_NEIGHBOURS:
        raise ValueError(f"precision and recall need 4 images of each kind, not {len(sampled)} and {len(real)}")
    import torch
    from torch_fidelity import metric_prc  # type: ignore[import-untyped]

    pair = (torch.from_numpy(features).to(device) for features in (sampled, real))
    settings = {"prc_neighborhood": PRECISION_RECALL_NEIGHBOURS, "prc_batch_size": PRECISION_RECALL_ROWS}
    result: dict[str, Any] = metric_prc.prc_features_to_metric(*pair, **settings, save_cpu_ram=True, verbose=False)
    return result[metric_prc.KEY_METRIC_PRECISION], result[metric_prc.KEY_METRIC_RECALL]
