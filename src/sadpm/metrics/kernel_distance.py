"""The Kernel Inception Distance, by torch-fidelity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadpm.metrics.features import Features, FloatArray, check_pair
from sadpm.metrics.influence import checked_influence

KID_SUBSETS = 100
KID_SEED = 2020
Positions = NDArray[np.integer[Any]]


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
    _check(sampled, real, subset_size)
    import torch
    from torch_fidelity import metric_kid  # type: ignore[import-untyped]

    pair = (torch.from_numpy(features) for features in (sampled, real))
    settings = {"kid_subsets": KID_SUBSETS, "kid_subset_size": subset_size, "rng_seed": KID_SEED}
    result: dict[str, Any] = metric_kid.kid_features_to_metric(*pair, **settings, verbose=False)
    return result[metric_kid.KEY_METRIC_KID_MEAN], result[metric_kid.KEY_METRIC_KID_STD]


def kernel_distance_influence(sampled: Features, real: Features, subset_size: int = 1000) -> FloatArray:
    """Influence values of the mean that `kernel_inception_distance` returns for the same arguments.

        g_i = n / (100 k) sum over the subsets of k images with i of 2 (h_i - mean h)

    with h_i the mean kernel between i and the subset's other samples, less that between i and the subset's real images.
    This is the derivative of the number that is printed, so its error counts what the choice of subsets costs: of
    50,000 images 13 % are in none and have the value 0. Real images and subsets are held fixed.

    Returns the values, (n,), in the order of the samples; their sum is 0.

    Raises:
        NoInfluence: all samples are alike.
        ValueError: as for the distance.
    """
    _check(sampled, real, subset_size)
    influence, largest = np.zeros(len(sampled)), 0.0
    for samples, others in _subsets(len(sampled), len(real), subset_size):
        within = _kernel(sampled[samples], sampled[samples])
        alike = (within.sum(axis=1, dtype=np.float64) - within.diagonal()) / (subset_size - 1)
        difference = alike - _kernel(sampled[samples], real[others]).mean(axis=1, dtype=np.float64)
        influence[samples] += 2.0 * (difference - difference.mean())
        largest = max(largest, float(np.abs(alike).max()))
    influence *= len(sampled) / (KID_SUBSETS * subset_size)
    rounding = 10 * float(np.finfo(sampled.dtype).eps) * largest
    return checked_influence(influence, rounding, "images that are all alike: derivative 0")


def _check(sampled: Features, real: Features, subset_size: int) -> None:
    check_pair(sampled, real)
    if not 2 <= subset_size <= min(len(sampled), len(real)):
        raise ValueError(f"subset_size must be from 2 to {min(len(sampled), len(real))}, not {subset_size}")


def _subsets(n: int, m: int, size: int) -> Iterator[tuple[Positions, Positions]]:
    """Yield torch-fidelity's subsets of n samples and of m real images."""
    random = np.random.RandomState(KID_SEED)
    for _ in range(KID_SUBSETS):
        yield random.choice(n, size, replace=False), random.choice(m, size, replace=False)


def _kernel(one: Features, two: Features) -> Features:
    product = one @ two.T / one.shape[1] + 1
    return product * product * product
