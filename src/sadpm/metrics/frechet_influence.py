"""What each sample contributes to a Frechet distance: the derivative by which its sampling error is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sadpm.metrics.features import Features, FloatArray
from sadpm.metrics.frechet import COVARIANCE_TOLERANCE, checked_gaussian, covariance_factor
from sadpm.metrics.influence import NoInfluence, checked_influence

# Rows that are in float64 at once: 16 MB of 2,048 features.
ROWS = 1_024
# Of values that would all be 0. Against 80 digits they were exact to 2e-9, whatever the condition of a covariance that
# has a Cholesky factor.
ROUNDING = 1e-8


def frechet_influence(
    features: Features | Iterable[Features],
    mean_1: ArrayLike,
    covariance_1: ArrayLike,
    mean_2: ArrayLike,
    covariance_2: ArrayLike,
) -> FloatArray:
    """Influence values of `frechet_distance` over the samples whose Gaussian is the first one.

        g_i = 2 (m1 - m2).(x_i - m1) + n / (n - 1) (x_i - m1)^T (I - T) (x_i - m1) - tr (I - T) S1

    T is the optimal map from N(m1, S1) to N(m2, S2). With the divisor n - 1 in S1, the factor n / (n - 1) makes g_i
    exactly the derivative of the distance as it is printed, and the sum of all 0. The second Gaussian is held fixed.

    Args:
        features: of the samples, (n, d), or blocks of their rows, (rows, d) each; read once, in float64 by blocks.
        mean_1, covariance_1: of these features, (d,) and (d, d), divisor n - 1.
        mean_2, covariance_2: (d,) and (d, d); may be singular.

    Returns the values, (n,), in the order of the features.

    Raises:
        NoInfluence: there is no derivative: n <= d, or the samples don't vary where the real images do; or it is 0
            everywhere, because the Gaussians are equal.
        ValueError: a Gaussian is none, or the features are not those of the first one.
    """
    mean_1, covariance_1 = checked_gaussian(mean_1, covariance_1, ("mean_1", "covariance_1"))
    mean_2, covariance_2 = checked_gaussian(mean_2, covariance_2, ("mean_2", "covariance_2"))
    if mean_1.shape != mean_2.shape:
        raise ValueError(f"the Gaussians differ in dimension: {mean_1.size} and {mean_2.size}")
    d, shift = mean_1.size, mean_1 - mean_2
    blocks = _blocks(features, d)
    try:
        optimal = optimal_map(covariance_1, covariance_2)
    except NoInfluence as error:
        # Want of samples is what can be mended, so it is named first.
        _check_number(sum(map(len, blocks)), d, error)
        raise
    linear, quadratic = [np.zeros(0)], [np.zeros(0)]
    for block in blocks:
        centred = block.astype(np.float64) - mean_1
        linear.append(2.0 * (centred @ shift))
        mapped = centred @ optimal.root
        quadratic.append(np.einsum("ij,ij->i", centred, centred) - np.einsum("ij,ij->i", mapped, mapped))
    n, spread = sum(map(len, linear)), np.trace(covariance_1)
    _check_number(n, d)
    influence = np.concatenate(linear) + np.concatenate(quadratic) * (n / (n - 1)) - (spread - optimal.trace)
    size = spread + optimal.trace + 2.0 * np.sqrt(shift @ shift * spread)
    if not abs(influence.mean()) <= COVARIANCE_TOLERANCE * size:
        raise ValueError("the features are not those of mean_1 and covariance_1")
    return checked_influence(influence, ROUNDING * size, "images with the statistics of the reference: derivative 0")


class OptimalMap(NamedTuple):
    """The map T that carries one centred Gaussian to another at the least cost.

    Attributes:
        root: B (d, r) with T = B B^T, for r directions in which the second Gaussian varies.
        trace: tr T S1 = tr (S1 S2)^(1/2).
    """

    root: FloatArray
    trace: float


def optimal_map(covariance_1: FloatArray, covariance_2: FloatArray) -> OptimalMap:
    """Return T = S1^(-1/2) (S1^(1/2) S2 S1^(1/2))^(1/2) S1^(-1/2) of covariances (d, d).

    With S1 = L1 L1^T, S2 = L2 L2^T and L1^T L2 = U s V^T, B = L2 V s^(-1/2): nothing is divided by but s, and no
    root is taken of an eigenvalue, so that T is as exact as the factors. Of S1 only what it does to the range of S2
    counts: where real images don't vary, samples need not either.

    Raises:
        NoInfluence: S1 is singular there, to the resolution of float64.
        ValueError: an eigenvalue is negative by more than rounding.
    """
    factor_2 = covariance_factor(covariance_2)
    directions, rank = factor_2.shape
    if rank < directions:
        basis = factor_2 / np.linalg.norm(factor_2, axis=0)  # eigenvectors
        inside = optimal_map(basis.T @ covariance_1 @ basis, basis.T @ covariance_2 @ basis)
        return OptimalMap(basis @ inside.root, inside.trace)
    factor_1 = covariance_factor(covariance_1)
    if (varying := min(factor_1.shape[1], numerical_rank(covariance_1))) < rank:
        raise NoInfluence(
            f"samples that vary in {varying:,} of {rank:,} directions of the real images: "
            "covariance singular, no derivative"
        )
    _, singular, rotation = np.linalg.svd(factor_1.T @ factor_2)
    return OptimalMap(factor_2 @ (rotation.T / np.sqrt(singular)), float(singular.sum()))


def numerical_rank(covariance: FloatArray) -> int:
    """Return in how many directions a covariance (d, d) varies by more than the rounding of its own entries.

    In units in which each feature's variance is 1, for a feature may be small and yet be known to all digits.
    """
    scale = np.sqrt(covariance.diagonal())
    kept = scale > 0
    correlation = covariance[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
    eigenvalues = np.linalg.eigvalsh(correlation) if kept.any() else np.zeros(0)
    resolution = len(covariance) * np.finfo(np.float64).eps
    return int((eigenvalues > resolution * eigenvalues.max(initial=0.0)).sum())


def _check_number(n: int, d: int, cause: Exception | None = None) -> None:
    if n <= d:
        raise NoInfluence(f"fewer than {d + 1:,} images: covariance singular, no derivative") from cause


def _blocks(features: Features | Iterable[Features], d: int) -> Iterator[Features]:
    """Yield some rows at a time. ValueError for features of another dimension."""
    for given in [features] if isinstance(features, np.ndarray) else features:
        if given.ndim != 2 or given.shape[1] != d:
            raise ValueError(f"features must have shape (n, {d}) like their mean, not {given.shape}")
        for start in range(0, len(given), ROWS):
            yield given[start : start + ROWS]
