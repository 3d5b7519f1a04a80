"""Features as metrics take them, and their mean and covariance where they are too many to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Features = NDArray[np.floating[Any]]


def check_pair(sampled: Features, real: Features) -> None:
    """Raise ValueError unless features of samples and of real images are finite and of one dimension."""
    if not (np.isfinite(sampled).all() and np.isfinite(real).all()):
        raise ValueError("features have values that are not finite")
    if sampled.ndim != 2 or real.ndim != 2 or sampled.shape[1] != real.shape[1]:
        raise ValueError(f"features must have shapes (n, d) and (m, d), not {sampled.shape} and {real.shape}")


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
