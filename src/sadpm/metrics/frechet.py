"""Metrics of given features and logits, whatever network they come from: FD, IS, KID, precision and recall."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float64]
Features = NDArray[np.floating[Any]]

# Relative asymmetry or negative eigenvalue that passes as rounding: loose enough for statistics made in float32.
COVARIANCE_TOLERANCE = 1e-5
KID_SUBSETS = 100
PRECISION_RECALL_NEIGHBOURS = 3
# Distances of so many images to all others are in memory at once.
PRECISION_RECALL_ROWS = 2_000


def frechet_distance(mean_1: ArrayLike, covariance_1: ArrayLike, mean_2: ArrayLike, covariance_2: ArrayLike) -> float:
    """Squared Frechet distance between two Gaussians (Heusel et al. 2017).

        |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

    With S1 = L1 L1^T and S2 = L2 L2^T, S1 S2 has the eigenvalues of (L1^T L2)(L1^T L2)^T, so the last trace is
    the sum of the singular values of L1^T L2: exact, symmetric, and defined for singular covariances as well.

    Args:
        mean_1, mean_2: shape (d,).
        covariance_1, covariance_2: shape (d, d), symmetric positive semi-definite; may be singular or zero.

    Returns the distance, >= 0, computed in float64.

    Raises:
        ValueError: a shape does not fit, a number is not finite, or a matrix is no covariance.
    """
    mean_1, covariance_1 = checked_gaussian(mean_1, covariance_1, ("mean_1", "covariance_1"))
    mean_2, covariance_2 = checked_gaussian(mean_2, covariance_2, ("mean_2", "covariance_2"))
    if mean_1.shape != mean_2.shape:
        raise ValueError(f"the Gaussians differ in dimension: {mean_1.size} and {mean_2.size}")
    shift = mean_1 - mean_2
    # Not roots of eigenvalues of L1^T S2 L1: rounding of 1e-16 in a null direction would be 1e-8 after the root.
    factors = covariance_factor(covariance_1), covariance_factor(covariance_2)
    cross = np.linalg.svd(factors[0].T @ factors[1], compute_uv=False).sum()
    distance = shift @ shift + np.trace(covariance_1) + np.trace(covariance_2) - 2.0 * cross
    return max(float(distance), 0.0)


def checked_gaussian(mean: ArrayLike, covariance: ArrayLike, names: tuple[str, str]) -> tuple[FloatArray, FloatArray]:
    """Return mean (d,) and covariance (d, d) in float64.

    Raises:
        ValueError: a shape does not fit, a number is not finite, or the matrix is not symmetric; it uses the names.
    """
    mean, covariance = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if mean.ndim != 1 or mean.size == 0:
        raise ValueError(f"{names[0]} must have shape (d,) with d > 0, not {mean.shape}")
    if covariance.shape != (mean.size, mean.size):
        raise ValueError(f"{names[1]} must have shape {(mean.size, mean.size)} like its mean, not {covariance.shape}")
    for name, values in zip(names, (mean, covariance), strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite")
    if np.abs(covariance - covariance.T).max() > COVARIANCE_TOLERANCE * np.abs(covariance).max():
        raise ValueError(f"{names[1]} is not symmetric")
    return mean, covariance


def covariance_factor(covariance: FloatArray) -> FloatArray:
    """Return L (d, r) with L L^T = covariance: Cholesky, or by eigenvectors where the matrix is singular.

    Raises:
        ValueError: an eigenvalue is negative by more than rounding.
    """
    resolution = len(covariance) * np.finfo(np.float64).eps
    with suppress(np.linalg.LinAlgError):
        factor = np.linalg.cholesky(covariance).astype(np.float64, copy=False)
        if (factor.diagonal() ** 2 > resolution * covariance.diagonal()).all():
            return factor
    # Singular, or so close that rounding alone lets Cholesky pass. An eigenvalue of zero comes out as rounding of
    # either sign, and the root of rounding is far above rounding: leave it out.
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    largest = np.abs(eigenvalues).max()
    if eigenvalues.min() < -COVARIANCE_TOLERANCE * largest:
        raise ValueError(f"a covariance has eigenvalue {eigenvalues.min():.3g}, it must be positive semi-definite")
    kept = eigenvalues > resolution * largest
    return (eigenvectors[:, kept] * np.sqrt(eigenvalues[kept])).astype(np.float64, copy=False)


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches, in float64 and O(d^2) memory.

    Batches are combined around their means (Chan, Golub and LeVeque 1983), not as raw sums of squares, so that
    a large mean costs no digits and the split into batches does not matter.
    """

    def __init__(self) -> None:
        self.n = 0
        self._mean: FloatArray = np.zeros(0)
        self._scatter: FloatArray = np.zeros((0, 0))

    def update(self, features: ArrayLike) -> None:
        """Add features of shape (batch, d), batch >= 0. ValueError for other shapes, another d, or NaN."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] == 0:
            raise ValueError(f"features must have shape (batch, d) with d > 0, not {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features have values that are not finite")
        if len(features):
            mean = features.mean(axis=0)
            centred = features - mean
            self._combine(len(features), mean, centred.T @ centred)

    def merge(self, other: FeatureStatistics) -> None:
        """Add all that `other` has seen, as if its features had been given to `update`. ValueError for another d."""
        if other.n:
            self._combine(other.n, other._mean, other._scatter)

    def _combine(self, n: int, mean: FloatArray, scatter: FloatArray) -> None:
        if self.n == 0:
            self.n, self._mean, self._scatter = n, mean.copy(), scatter.copy()
            return
        if mean.shape != self._mean.shape:
            raise ValueError(f"features have dimension {mean.size}, those before had {self._mean.size}")
        total = self.n + n
        shift = mean - self._mean
        self._scatter += scatter + np.outer(shift, shift) * (self.n * n / total)
        self._mean += shift * (n / total)
        self.n = total

    @property
    def mean(self) -> FloatArray:
        """Mean, shape (d,). ValueError before the first feature."""
        if self.n == 0:
            raise ValueError("the mean needs at least 1 feature, none was given")
        return self._mean.copy()

    @property
    def covariance(self) -> FloatArray:
        """Unbiased covariance (divisor n - 1), shape (d, d). ValueError for fewer than two features."""
        if self.n < 2:
            raise ValueError(f"the covariance needs at least 2 features, {self.n} given")
        return self._scatter / (self.n - 1)


def inception_score(logits: ArrayLike, splits: int = 10, shuffle_seed: int | None = 2020) -> tuple[float, float]:
    """Inception Score (Salimans et al. 2016): exp E_x KL(p(y|x) || p(y)), by torch-fidelity's protocol.

    The samples are shuffled with NumPy's legacy generator, cut into `splits` consecutive parts whose sizes differ
    by at most one, and each part is scored against its own marginal p(y).

    Args:
        logits: shape (n, classes), unnormalised.
        splits: number of parts, 1 to n.
        shuffle_seed: seed of the shuffle; None keeps the order.

    Returns:
        Mean and standard deviation (divisor `splits`) of the parts' scores; each score is in [1, classes].

    Raises:
        ValueError: wrong shape, a logit that is not finite, or more splits than samples.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must have shape (n, classes), not {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits have values that are not finite")
    n = len(logits)
    if not 1 <= splits <= n:
        raise ValueError(f"splits must be between 1 and the number of samples, {n}, not {splits}")
    order = np.arange(n) if shuffle_seed is None else np.random.RandomState(shuffle_seed).permutation(n)
    edges = [part * n // splits for part in range(splits + 1)]
    # Part by part: in float64 and shuffled, 50,000 times 1,008 logits would take 800 MB.
    scores = [_score_of_part(logits[order[start:stop]].astype(np.float64)) for start, stop in pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores))


def _score_of_part(logits: FloatArray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_conditional = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    conditional = np.exp(log_conditional)
    # A class that underflows everywhere contributes 0 log 0 = 0, not NaN.
    log_marginal = np.log(np.maximum(conditional.mean(axis=0), np.finfo(np.float64).tiny))
    divergence = (conditional * (log_conditional - log_marginal)).sum(axis=1)
    return float(np.exp(divergence.mean()))


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
    _check_pair(sampled, real)
    if not 2 <= subset_size <= min(len(sampled), len(real)):
        raise ValueError(f"subset_size must be from 2 to {min(len(sampled), len(real))}, not {subset_size}")
    import torch
    from torch_fidelity import metric_kid  # type: ignore[import-untyped]

    pair = (torch.from_numpy(features) for features in (sampled, real))
    settings = {"kid_subsets": KID_SUBSETS, "kid_subset_size": subset_size, "verbose": False}
    result: dict[str, Any] = metric_kid.kid_features_to_metric(*pair, **settings)
    return result[metric_kid.KEY_METRIC_KID_MEAN], result[metric_kid.KEY_METRIC_KID_STD]


def precision_recall(sampled: Features, real: Features, device: torch.device | str = "cpu") -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019), computed by torch-fidelity with its defaults.

    Precision is the share of samples that lie in the ball of some real image, recall the share of real images that
    lie in the ball of some sample; a ball reaches to its centre's third nearest neighbour of its own kind.

    Args:
        sampled, real: features (n, d) and (m, d), with n, m > 3.
        device: where distances are computed.

    Returns precision and recall, in [0, 1]. ValueError: the features differ in dimension, or are too few.
    """
    _check_pair(sampled, real)
    if min(len(sampled), len(real)) <= PRECISION_RECALL_NEIGHBOURS:
        raise ValueError(f"precision and recall need 4 images of each kind, not {len(sampled)} and {len(real)}")
    import torch
    from torch_fidelity import metric_prc  # type: ignore[import-untyped]

    pair = (torch.from_numpy(features).to(device) for features in (sampled, real))
    settings = {"prc_neighborhood": PRECISION_RECALL_NEIGHBOURS, "prc_batch_size": PRECISION_RECALL_ROWS}
    result: dict[str, Any] = metric_prc.prc_features_to_metric(*pair, **settings, save_cpu_ram=True, verbose=False)
    return result[metric_prc.KEY_METRIC_PRECISION], result[metric_prc.KEY_METRIC_RECALL]


def _check_pair(sampled: Features, real: Features) -> None:
    if not (np.isfinite(sampled).all() and np.isfinite(real).all()):
        raise ValueError("features have values that are not finite")
    if sampled.ndim != 2 or real.ndim != 2 or sampled.shape[1] != real.shape[1]:
        raise ValueError(f"features must have shapes (n, d) and (m, d), not {sampled.shape} and {real.shape}")
