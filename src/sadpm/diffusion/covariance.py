"""Estimates of Cov[x_0 | x_t], per pixel: Analytic-, NPR- and SN-DPM (Bao et al. 2022a, 2022b), OCM (Ou et al. 2025).

Each returns the covariance of the clean image, in squared pixel units of the [-1, 1] scale.
"""

import torch
from torch import Tensor

from sadpm.diffusion.schedule import NoiseSchedule


def mean_squared_prediction(predicted_noise: Tensor) -> Tensor:
    """Return ||f(x_n, n)||^2 / d of each image, (B, C, H, W) -> (B,); its mean over images is ms_eps[n]."""
    return predicted_noise.square().flatten(1).mean(1)


def mean_squared_prediction_controlled(predicted_noise: Tensor, noise: Tensor) -> Tensor:
    """Return an estimate of ms_eps[n] with the same expectation and less variance, (B, C, H, W) -> (B,).

    The square of the noise itself, whose mean is known to be 1, serves as control variate: at high levels
    f(x_n, n) almost equals eps, and 1 - ms_eps[n] would otherwise drown in the noise of the estimate.
    """
    return 1 + (predicted_noise.square() - noise.square()).flatten(1).mean(1)


def analytic_covariance(schedule: NoiseSchedule, t: int, ms_eps: Tensor) -> Tensor:
    """Return the scalar of Analytic-DPM (eq. 10), (1 - abar)/abar * (1 - ms_eps[t]); ``ms_eps`` has shape (N + 1,)."""
    return _noise_to_signal(schedule, t) * (1 - ms_eps[t])


def npr_covariance(schedule: NoiseSchedule, t: int, residual: Tensor) -> Tensor:
    """Return NPR-DPM's covariance from the head's prediction of (eps - f)^2, (B, C, H, W) -> (B, C, H, W)."""
    return _noise_to_signal(schedule, t) * residual


def sn_covariance(schedule: NoiseSchedule, t: int, second_moment: Tensor, predicted_noise: Tensor) -> Tensor:
    """Return SN-DPM's covariance from the head's prediction of eps^2 and the backbone's of eps, all (B, C, H, W)."""
    return _noise_to_signal(schedule, t) * (second_moment - predicted_noise.square())


def probed_hessian(schedule: NoiseSchedule, predicted_noise: Tensor, x: Tensor, n: Tensor, signs: Tensor) -> Tensor:
    """Return an unbiased estimate of (1 - abar_n) times the diagonal of the Hessian of log q(x_n), (B, C, H, W).

    The score is -f / sqrt(1 - abar_n), and its Jacobian J is seen through one product with a vector: the mean of
    v (J^T v) over random signs v is the diagonal of J (Hutchinson 1989). Nothing can be differentiated further.

    Args:
        schedule: the forward process, on the device of ``n``.
        predicted_noise: (B, C, H, W), f(x_n, n), with the graph that leads to x_n; the graph is freed.
        x: (B, C, H, W), x_n.
        n: (B,) levels, 1..N.
        signs: (B, C, H, W), v: -1 or 1 with equal probability, independent.
    """
    (product,) = torch.autograd.grad(predicted_noise, x, signs)
    return -schedule.at(schedule.betas_cumprod.sqrt(), n, x) * signs * product


def ocm_covariance(schedule: NoiseSchedule, t: int, hessian: Tensor) -> Tensor:
    """Return OCM's covariance from the head's prediction of (1 - abar_t) times the Hessian's diagonal, (B, C, H, W)."""
    return _noise_to_signal(schedule, t) * (1 + hessian)


def average_over_pixels(covariance: Tensor) -> Tensor:
    """Return one value an image: (B, C, H, W) -> (B, 1, 1, 1)."""
    return covariance.mean(dim=tuple(range(1, covariance.ndim)), keepdim=True)


def clip_covariance(covariance: Tensor) -> Tensor:
    """Clamp to [0, 1]: pixels lie in [-1, 1], so that their variance can't exceed 1."""
    return covariance.clamp(0, 1)


def _noise_to_signal(schedule: NoiseSchedule, t: int) -> Tensor:
    return schedule.betas_cumprod[t] / schedule.alphas_cumprod[t]
