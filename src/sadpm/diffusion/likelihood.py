"""The variational bound on -log p(x_0) for a sub-sequence of levels (Ho et al. 2020, section 3; Bao et al. 2022a)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sadpm.diffusion.samplers import DrawNoise, Predict, Step
from sadpm.diffusion.schedule import NoiseSchedule

HALF_GREY_LEVEL = 1 / 255
SMALLEST_PROBABILITY = 1e-12


def variational_bound(
    predict: Predict, x0: Tensor, levels: Sequence[int], schedule: NoiseSchedule, step: Step, draw_noise: DrawNoise
) -> Tensor:
    """Return the terms of the bound in nats, summed over pixels, shape (K + 1, B) for K levels.

    Index 0 is the reconstruction of x_0, then the Kullback-Leibler terms by increasing level, and last the prior term
    KL(q(x_T | x_0) || N(0, 1)) at the highest level visited.

    Args:
        predict: the model.
        x0: (B, C, H, W), images of 256 grey levels scaled to [-1, 1].
        levels: ascending levels of the sub-sequence, without 0.
        schedule: the forward process.
        step: the reverse step whose mean and variance are scored.
        draw_noise: noise of the j-th pair of levels, counted from the highest.

    Raises:
        ValueError: a level is repeated (its term would be 0/0).
    """
    if any(lower == upper for lower, upper in pairwise(levels)):
        raise ValueError("the variational bound needs different levels: a repeated one has no transition")
    terms = [prior_term(schedule, x0, levels[-1])]
    for j, (t, s) in enumerate(pairwise([*reversed(levels), 0])):
        terms.append(transition_term(predict, x0, s, t, schedule, step, draw_noise(j)))
    return torch.stack(terms[::-1])


def prior_term(schedule: NoiseSchedule, x0: Tensor, t: int) -> Tensor:
    """Return KL(q(x_t | x_0) || N(0, 1)) at the highest level t of a chain, in nats, (B,)."""
    one = torch.ones((), dtype=x0.dtype)
    mean = schedule.alphas_cumprod[t].sqrt() * x0
    return _summed(_gaussian_kl(mean, schedule.betas_cumprod[t], 0 * one, one), x0)


def transition_term(
    predict: Predict, x0: Tensor, s: int, t: int, schedule: NoiseSchedule, step: Step, noise: Tensor
) -> Tensor:
    """Return what the step from level t to s < t adds to the bound, in nats, (B,); for s = 0 the reconstruction.

    Terms need nothing of each other, so that a bound can be gone on with at any of them. See
    :func:`variational_bound`; ``noise`` makes x_t of x_0.
    """
    x = schedule.alphas_cumprod[t].sqrt() * x0 + schedule.betas_cumprod[t].sqrt() * noise
    model = step(schedule, x, predict(x, t), s, t)
    if s == 0:
        std = schedule.posterior_variance(1, 2).sqrt()
        return _summed(-_log_probability_of_grey_level(x0, model.mean, std), x0)
    of_x0, of_xt = schedule.posterior_coefficients(s, t)
    mean, variance = of_x0 * x0 + of_xt * x, schedule.posterior_variance(s, t)
    return _summed(_gaussian_kl(mean, variance, model.mean, model.variance), x0)


def bits_per_dimension(terms: Tensor, data_dim: int) -> Tensor:
    """Return the bound of :func:`variational_bound`, averaged over the batch, in bits per pixel and channel."""
    return terms.sum(0).mean() / (data_dim * math.log(2))


def _summed(term: Tensor, x0: Tensor) -> Tensor:
    """Sum over the pixels of each image: (B, C, H, W) or what broadcasts to it -> (B,)."""
    return term.expand_as(x0).flatten(1).sum(1)


def _gaussian_kl(mean_1: Tensor, variance_1: Tensor, mean_2: Tensor, variance_2: Tensor) -> Tensor:
    """KL(N(mean_1, variance_1) || N(mean_2, variance_2)), elementwise."""
    squared_distance = (mean_1 - mean_2).square() / variance_2
    return 0.5 * (variance_1 / variance_2 - 1 - torch.log(variance_1 / variance_2) + squared_distance)


def _log_probability_of_grey_level(x0: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log of the Gaussian's mass on the bin of each grey level; the bins of black and white are open-ended."""
    below_upper = _approximate_cdf((x0 - mean + HALF_GREY_LEVEL) / std)
    below_lower = _approximate_cdf((x0 - mean - HALF_GREY_LEVEL) / std)
    upper = torch.where(x0 > 0.999, 1.0, below_upper)
    lower = torch.where(x0 < -0.999, 0.0, below_lower)
    return (upper - lower).clamp(min=SMALLEST_PROBABILITY).log()


def _approximate_cdf(u: Tensor) -> Tensor:
    """The tanh approximation of the standard normal distribution function, as in the published bounds."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
