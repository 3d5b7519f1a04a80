"""Training losses: the simple one, the sequence-aware one (SA-DPM), and those of the covariance heads.

Residuals are f(x_n, n) - eps. Losses sum over pixels and average over the batch, as the authors' programs do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sadpm.diffusion.schedule import NoiseSchedule

PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""(images x_n (B, C, H, W), levels n (B,)) -> predicted noise (B, C, H, W)."""

Weights = Literal["unit", "theory"]
Window = Literal["anchored", "sliding"]
Terms = Literal["both", "plain", "cross"]


@dataclass(frozen=True)
class SequenceAwareLoss:
    """The total of a training step and its two terms, 0-dimensional tensors; total = simple + lambda * sequence.

    Of the sequence-aware term, ``sequence`` is what was kept; the cross terms alone may be negative.
    """

    total: Tensor
    simple: Tensor
    sequence: Tensor


def antithetic_levels(num_images: int, num_train_timesteps: int, generator: torch.Generator) -> Tensor:
    """Draw levels uniform on 1..N in antithetic pairs n, N + 1 - n; shape (num_images,), on the generator's device.

    As in the authors' program, num_images // 2 + 1 levels are drawn and then mirrored, so that one or two stay alone.
    """
    half = torch.randint(
        1, num_train_timesteps + 1, (num_images // 2 + 1,), generator=generator, device=generator.device
    )
    return torch.cat([half, num_train_timesteps + 1 - half])[:num_images]


def sum_of_squares(residual: Tensor) -> Tensor:
    """Return ||r||^2 of each image: (B, C, H, W) -> (B,)."""
    return residual.square().flatten(1).sum(1)


def simple_loss(
    predict_noise: PredictNoise,
    schedule: NoiseSchedule,
    x0: Tensor,
    n: Tensor,
    noise: Tensor,
    shown_noise: Tensor | None = None,
) -> Tensor:
    """Return E ||f(x_n, n) - eps||^2 (Ho et al. 2020, eq. 14), summed over pixels, averaged over the batch.

    Args:
        predict_noise: the network f.
        schedule: the forward process.
        x0: (B, C, H, W) images in [-1, 1].
        n: (B,) levels, 1..N.
        noise: (B, C, H, W) standard normal: eps, which f is to predict.
        shown_noise: (B, C, H, W), the noise of which x_n is made where it is another one than eps.
    """
    x = schedule.add_noise(x0, noise if shown_noise is None else shown_noise, n)
    return sum_of_squares(predict_noise(x, n) - noise).mean()


def window_levels(
    n: Tensor, length: int, num_train_timesteps: int, window: Window = "anchored"
) -> tuple[Tensor, Tensor]:
    """Return the K consecutive levels of each image, clamped to 1..N, and the mask of those that count; both (K, B).

    Args:
        n: (B,) anchors: levels 1..N (``anchored``: the window is n, n - 1, .., n - K + 1 and ends at level 1), or the
            lowest level of the window, 1 - K..N (``sliding``: n, .., n + K - 1 cut to 2..N, as in Theorem 2).
        length: K.
        num_train_timesteps: N.
        window: where the window lies.
    """
    offsets = torch.arange(length, device=n.device)[:, None]
    levels = n - offsets if window == "anchored" else n + offsets
    first = 1 if window == "anchored" else 2
    mask = (levels >= first) & (levels <= num_train_timesteps)
    return levels.clamp(1, num_train_timesteps), mask


def window_weights(schedule: NoiseSchedule, levels: Tensor, mask: Tensor, weights: Weights = "unit") -> Tensor:
    """Return the weights w of the residuals in a window, 0 where masked; float64, shape of ``levels``.

    ``unit`` is what produced the paper's tables; ``theory`` is tau of Theorem 1, whose sum starts at level 2.
    """
    if weights == "unit":
        return mask.to(torch.float64)
    return schedule.tau.nan_to_num(nan=0.0)[levels] * mask


def sequence_term(residuals: Tensor, weights: Tensor, terms: Terms = "both") -> Tensor:
    """Return E ||(1/K) sum_k w_k r_k||^2 (SA-DPM's L_sa), or a part; the division is by K also where steps are masked.

    The square expands into (1/K^2) sum_k ||w_k r_k||^2, which is ``plain``, and (2/K^2) sum_{j<k} w_j w_k r_j . r_k,
    which is ``cross`` and alone knows of a sequence. Noises are independent, so that a network that always answers 0
    has an expected ``cross`` of 0.

    Args:
        residuals: (K, B, C, H, W).
        weights: (K, B), 0 for masked steps.
        terms: which part.
    """
    length, weights = len(residuals), weights.to(residuals.dtype)
    if terms == "plain":
        return _plain_terms(residuals, weights)
    total = torch.einsum("kb,kb...->b...", weights, residuals)
    both = sum_of_squares(total / length).mean()
    return both if terms == "both" else both - _plain_terms(residuals, weights)


def _plain_terms(residuals: Tensor, weights: Tensor) -> Tensor:
    squares = residuals.square().flatten(2).sum(2)
    return (weights.square() * squares).sum(0).mean() / len(residuals) ** 2


def residuals(
    predict_noise: PredictNoise,
    schedule: NoiseSchedule,
    x0: Tensor,
    levels: Tensor,
    noise: Tensor,
    shown_noise: Tensor | None = None,
) -> Tensor:
    """Return f(x_s, s) - eps_s for several levels of the same images, in one concatenated forward.

    Args:
        predict_noise: the network f.
        schedule: the forward process.
        x0: (B, C, H, W) images in [-1, 1].
        levels: (K, B), 1..N.
        noise: (K, B, C, H, W), independent for each level.
        shown_noise: (K, B, C, H, W), the noise of which the x_s are made where it is another one than eps_s.
    """
    shown = noise if shown_noise is None else shown_noise
    x = schedule.add_noise(x0.repeat(len(levels), *[1] * (x0.ndim - 1)), shown.flatten(0, 1), levels.flatten())
    return predict_noise(x, levels.flatten()).view_as(noise) - noise


def sequence_aware_loss(
    predict_noise: PredictNoise,
    schedule: NoiseSchedule,
    x0: Tensor,
    n: Tensor,
    noise: Tensor,
    *,
    lam: float,
    weights: Weights = "unit",
    window_start: Tensor | None = None,
    terms: Terms = "both",
    shown_noise: Tensor | None = None,
) -> SequenceAwareLoss:
    """Return L_simple + lambda L_sa of SA-K-DPM; K is the number of noises given (one more for a sliding window).

    Args:
        predict_noise: the network f.
        schedule: the forward process.
        x0: (B, C, H, W) images in [-1, 1].
        n: (B,) levels of the simple loss, 1..N.
        noise: (K, B, C, H, W); ``noise[0]`` belongs to the simple loss, which the anchored window contains. With a
            sliding window (K + 1, B, C, H, W): the window has its own K noises.
        lam: lambda >= 0; with 0 the network sees only the images of the simple loss.
        weights: of the residuals in the window.
        window_start: (B,) lowest level of a sliding window, uniform on 1 - K..N; None for the anchored window, which
            goes down from n.
        terms: which part of L_sa is kept, see :func:`sequence_term`; both is the loss as published.
        shown_noise: the noise of which the x_s are made where it is another one than ``noise``, of its shape.
    """
    if lam == 0:
        simple = simple_loss(predict_noise, schedule, x0, n, noise[0], None if shown_noise is None else shown_noise[0])
        return SequenceAwareLoss(simple, simple, torch.zeros_like(simple))
    if window_start is None:
        levels, mask = window_levels(n, len(noise), schedule.num_train_timesteps)
        every_residual = in_window = residuals(predict_noise, schedule, x0, levels, noise, shown_noise)
    else:
        levels, mask = window_levels(window_start, len(noise) - 1, schedule.num_train_timesteps, "sliding")
        every_residual = residuals(predict_noise, schedule, x0, torch.cat([n[None], levels]), noise, shown_noise)
        in_window = every_residual[1:]
    simple = sum_of_squares(every_residual[0]).mean()
    sequence = sequence_term(in_window, window_weights(schedule, levels, mask, weights), terms)
    return SequenceAwareLoss(simple + lam * sequence, simple, sequence)


def npr_head_loss(residual_head: Tensor, predicted_noise: Tensor, noise: Tensor) -> Tensor:
    """Return ||(eps - f)^2 - head||^2 of each image (NPR-DPM, Bao et al. 2022, eq. 14); f is not trained by it.

    Args:
        residual_head: (B, C, H, W), the head's prediction of (eps - f)^2.
        predicted_noise: (B, C, H, W), f(x_n, n).
        noise: (B, C, H, W), eps.
    """
    return sum_of_squares((noise - predicted_noise.detach()).square() - residual_head)


def sn_head_loss(second_moment_head: Tensor, noise: Tensor) -> Tensor:
    """Return ||eps^2 - head||^2 of each image (SN-DPM, Bao et al. 2022, eq. 10).

    Args:
        second_moment_head: (B, C, H, W), the head's prediction of eps^2.
        noise: (B, C, H, W), eps.
    """
    return sum_of_squares(noise.square() - second_moment_head)


def ocm_head_loss(hessian_head: Tensor, hessian: Tensor) -> Tensor:
    """Return ||hessian - head||^2 of each image (OCM, Ou et al. 2025).

    Args:
        hessian_head: (B, C, H, W), the head's prediction.
        hessian: (B, C, H, W), what :func:`~sadpm.diffusion.covariance.probed_hessian` returns.
    """
    return sum_of_squares(hessian - hessian_head)
