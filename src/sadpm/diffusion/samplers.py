"""The reverse process: one step t -> s of DDPM or DDIM, and the loop over a sub-sequence of levels.

Ho et al. (2020), Song et al. (2021), and Bao et al. (2022) for optimal variances on skipped steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from sadpm.diffusion.schedule import NoiseSchedule

Variance = Literal["small", "large", "optimal"]


@dataclass(frozen=True)
class Prediction:
    """What the model says about x_t.

    Attributes:
        noise: (B, C, H, W), f(x_t, t).
        covariance: Cov[x_0 | x_t]: per pixel (B, C, H, W), per image (B, 1, 1, 1) or a 0-dimensional tensor.
    """

    noise: Tensor
    covariance: Tensor | None = None


@dataclass(frozen=True)
class Transition:
    """The Gaussian p(x_s | x_t) of one reverse step.

    Attributes:
        mean: (B, C, H, W).
        variance: 0-dimensional, or broadcastable to the mean.
        x0: (B, C, H, W), the prediction of x_0 that went into the mean.
    """

    mean: Tensor
    variance: Tensor
    x0: Tensor


@dataclass(frozen=True)
class ReverseStep:
    """The state after one executed step: level s, x_s (B, C, H, W), and the transition that led to it."""

    level: int
    x: Tensor
    transition: Transition


Predict = Callable[[Tensor, int], Prediction]
Step = Callable[[NoiseSchedule, Tensor, Prediction, int, int], Transition]
DrawNoise = Callable[[int], Tensor]
"""Index j of the executed step, counted from 0 -> standard normal noise (B, C, H, W)."""


def predict_x0(schedule: NoiseSchedule, x: Tensor, noise: Tensor, t: int, clip_sample: bool) -> Tensor:
    """Return (x_t - sqrt(1 - abar_t) noise) / sqrt(abar_t), clamped to [-1, 1] when ``clip_sample``."""
    abar = schedule.alphas_cumprod[t]
    x0 = x / abar.sqrt() - (schedule.betas_cumprod[t] / abar).sqrt() * noise
    return x0.clamp(-1, 1) if clip_sample else x0


@dataclass(frozen=True)
class DDPMStep:
    """One ancestral step: the posterior q(x_s | x_t, x_0) at the predicted x_0.

    Attributes:
        variance: "small" (tilde beta), "large" (beta), or "optimal" (tilde beta plus the model's covariance).
        clip_sample: clamp the prediction of x_0 to [-1, 1].
    """

    variance: Variance = "small"
    clip_sample: bool = False

    def __call__(self, schedule: NoiseSchedule, x: Tensor, prediction: Prediction, s: int, t: int) -> Transition:
        """Return p(x_s | x_t) for levels 0 <= s <= t."""
        x0 = predict_x0(schedule, x, prediction.noise, t, self.clip_sample)
        of_x0, of_xt = schedule.posterior_coefficients(s, t)
        variance = schedule.skip_beta(s, t) if self.variance == "large" else schedule.posterior_variance(s, t)
        if self.variance == "optimal":
            variance = variance + of_x0**2 * _covariance(prediction)
        return Transition(of_x0 * x0 + of_xt * x, variance, x0)


@dataclass(frozen=True)
class DDIMStep:
    """One step of the non-Markovian family of Song et al. (2021), eq. 12: eta 0 is DDIM, eta 1 has DDPM's variance.

    The predicted noise is not derived anew from a clamped x_0.

    Attributes:
        eta: 0..1, the share of the posterior's standard deviation.
        variance: "small", or "optimal" (plus the model's covariance).
        clip_sample: clamp the prediction of x_0 to [-1, 1].
    """

    eta: float = 0.0
    variance: Literal["small", "optimal"] = "small"
    clip_sample: bool = False

    def __call__(self, schedule: NoiseSchedule, x: Tensor, prediction: Prediction, s: int, t: int) -> Transition:
        """Return p(x_s | x_t) for levels 0 <= s <= t."""
        x0 = predict_x0(schedule, x, prediction.noise, t, self.clip_sample)
        variance = self.eta**2 * schedule.posterior_variance(s, t)
        of_x0, of_noise = schedule.alphas_cumprod[s].sqrt(), (schedule.betas_cumprod[s] - variance).sqrt()
        mean = of_x0 * x0 + of_noise * prediction.noise
        if self.variance == "optimal":
            noise_to_signal = schedule.betas_cumprod[t] / schedule.alphas_cumprod[t]
            variance = variance + (of_x0 - of_noise / noise_to_signal.sqrt()) ** 2 * _covariance(prediction)
        return Transition(mean, variance, x0)


def pixel_variance(pixels: float) -> float:
    """Return the variance of a Gaussian whose mean absolute deviation is ``pixels`` of the 256 grey levels."""
    return (pixels * 2 / 255 * math.sqrt(math.pi / 2)) ** 2


def reverse_process(
    predict: Predict,
    x: Tensor,
    levels: Sequence[int],
    schedule: NoiseSchedule,
    step: Step,
    draw_noise: DrawNoise,
    *,
    max_variance: float | None = None,
    clamped_steps: int = 1,
    first: int = 0,
) -> Iterator[ReverseStep]:
    """Run the chain from the highest level down to 0, yielding each state; the last one is the sample.

    Noise is asked for only where the variance is not zero for certain.

    Args:
        predict: the model.
        x: (B, C, H, W), the state before the first step, at the highest level unless a chain is gone on with.
        levels: ascending levels of the sub-sequence, without 0.
        schedule: the forward process.
        step: :class:`DDPMStep` or :class:`DDIMStep`.
        draw_noise: noise of the j-th executed step.
        max_variance: clamp the variance of the last noisy steps to 0..max_variance (Bao et al. 2022a, appendix F.2:
            noise that is left in the last image but one is seen in the sample); None for no clamp.
        clamped_steps: how many such steps; 1 is the one that lands on the lowest level.
        first: the step to begin with, counted from 0, to go on with a chain.
    """
    ahead = list(enumerate(pairwise([*reversed(levels), 0])))
    for j, (t, s) in ahead[first:]:
        transition = step(schedule, x, predict(x, t), s, t)
        if max_variance is not None and s <= levels[clamped_steps - 1]:
            transition = replace(transition, variance=transition.variance.clamp(0, max_variance))
        x = _draw(transition, draw_noise, j) if s > 0 else transition.mean
        yield ReverseStep(s, x, transition)


def to_uint8(x: Tensor) -> Tensor:
    """Map images from [-1, 1] to 0..255, clamping and rounding half up: (B, C, H, W) -> (B, H, W, C) uint8."""
    return ((x + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8).movedim(1, -1)


def _draw(transition: Transition, draw_noise: DrawNoise, j: int) -> Tensor:
    if transition.variance.ndim == 0 and transition.variance == 0:
        return transition.mean
    return transition.mean + transition.variance.sqrt() * draw_noise(j)


def _covariance(prediction: Prediction) -> Tensor:
    if prediction.covariance is None:
        raise ValueError("the optimal variance needs a model that predicts a covariance")
    return prediction.covariance
