"""The Kernel Inception Distance, by torch-fidelity."""

from __future__ import annotations

from typing import Any

from sadpm.metrics.features import Features, check_pair

KID_SUBSETS = 100


def kernel_inception_distance(sampled: Features, real: Features, subset_size: int = 1000) -> tuple[float, float]:
    """Kernel Inception Distance (Binkowski et al. 2018), computed by torch-fidelity with its defaults.

    The unbiased squared MMD with the kernel (x.y / d + 1)^3, over 100 subsets drawn without replacement (seed 2020).

    Args:
        sampled, real: features (n, d) and (m, d).
        subset_size: images in each subset, 2 to min(n, m).

    Returns:
        Mean and standard deviation (divisor 100) over the subsets; the mean of equal distributions is 0, so a
        measured one may be negative.

    Raises:
        ValueError: the features differ in dimension, or a subset is larger than their number or smaller than 2.
    """
    check_pair(sampled, real)
    if not 2 <= subset_size <= min(len(sampled), len(real)):
        raise ValueError(f"subset_size must be from 2 to {min(len(sampled), len(real))}, not {subset_size}")
    import torch
    from torch_fidelity import metric_kid  # type: ignore[import-untyped]

    pair = (torch.from_numpy(features) for features in (sampled, real))
    settings = {"kid_subsets": KID_SUBSETS, "kid_subset_size": subset_size, "verbose": False}
    result: dict[str, Any] = metric_kid.kid_features_to_metric(*pair, **settings)
    return result[metric_kid.KEY_METRIC_KID_MEAN], result[metric_kid.KEY_METRIC_KID_STD]
