"""The Frechet distance between two Gaussians, such as those fitted to features."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import ArrayLike

from sadpm.metrics.features import FloatArray

# Relative asymmetry or negative eigenvalue that passes as rounding: loose enough for statistics made in float32.
COVARIANCE_TOLERANCE = 1e-5


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
