"""The paper's two theorems in numbers: both sides of the first along a chain, the three sides of the second.

Both are identities or inequalities of sums, true of any network, so in float64 they hold up to rounding. Notation as in
:mod:`sadpm.diffusion.gap`.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from sadpm.diffusion.samplers import DDIMStep, DrawNoise, Predict, Prediction
from sadpm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class TwoSides:
    """Theorem 1 after the step to a level, tensors (B, C, H, W).

    Attributes:
        level: s, where the chains are now.
        gap: D_s = y_s - x_s, the distance of the two chains.
        by_errors: the same from the errors e_i of the levels above, with tau of the theorem: at level 1 the sum of
            tau_i e_i, above it that sum before gamma_2 of the remaining steps has shrunk it.
    """

    level: int
    gap: Tensor
    by_errors: Tensor


def two_sides(
    predict: Predict, schedule: NoiseSchedule, x0: Tensor, x: Tensor, start: int, draw_noise: DrawNoise
) -> Iterator[TwoSides]:
    """Run both chains (eta 1, no clipping) from level ``start`` to 1, and sum up the errors beside them.

    The chains are made of the sampler's steps, the sum of tau: they share no coefficient.

    Args:
        predict: the model.
        schedule: the forward process.
        x0: (B, C, H, W), the true images, float64.
        x: (B, C, H, W), a draw of q(x_start | x_0), float64.
        start: first level, 2..N.
        draw_noise: noise of the j-th step, which both chains get.
    """
    chain = DDIMStep(eta=1.0)
    y, total = x, torch.zeros_like(x)
    for j, n in enumerate(range(start, 1, -1)):
        prediction = predict(x, n)
        total = total + schedule.tau[n] * (prediction.noise - schedule.noise_in(x, x0, n))
        truth = Prediction(schedule.noise_in(y, x0, n))
        noise = draw_noise(j).to(x)
        x, y = (
            transition.mean + transition.variance.sqrt() * noise
            for transition in (chain(schedule, x, prediction, n - 1, n), chain(schedule, y, truth, n - 1, n))
        )
        yield TwoSides(n - 1, y - x, total / shrinkage(schedule, n - 1))


def shrinkage(schedule: NoiseSchedule, s: int) -> Tensor:
    """Return the product of gamma_2 over the steps from level s to 1: what is left at level 1 of a gap at level s."""
    signal = schedule.alphas_cumprod[s] / schedule.alphas_cumprod[1]
    return signal.sqrt() * schedule.betas_cumprod[1] / schedule.betas_cumprod[s]


def errors_by_level(predict: Predict, schedule: NoiseSchedule, x0: Tensor, draw_noise: DrawNoise) -> Iterator[Tensor]:
    """Yield f(x_n, n) - eps of noisy images for n = 2, 3, .., N, (B, C, H, W): what the losses look at.

    Args:
        predict: the model.
        schedule: the forward process.
        x0: (B, C, H, W), images.
        draw_noise: eps of a level, independent of those of other levels.
    """
    for n in range(2, schedule.num_train_timesteps + 1):
        noise = draw_noise(n).to(x0)
        x = schedule.alphas_cumprod[n].sqrt() * x0 + schedule.betas_cumprod[n].sqrt() * noise
        yield predict(x, n).noise - noise


@dataclass(frozen=True)
class SequenceBounds:
    """Theorem 2: upper >= sequence >= lower, one value for each row of weights."""

    upper: Tensor
    sequence: Tensor
    lower: Tensor

    def hold(self) -> bool:
        """Return whether they do, for all weights, up to float64's rounding."""
        slack = 1 + 1e-9
        return bool(((self.lower <= slack * self.sequence) & (self.sequence <= slack * self.upper)).all())


def sequence_bounds(weights: Tensor, errors: Iterable[Tensor], lengths: Sequence[int]) -> dict[int, SequenceBounds]:
    """Evaluate the three sides of Theorem 2 exactly, by going through all positions of the sliding window.

    ``upper`` is (N-1)/(N+K) E_{n in 2..N} w_n^2 ||e_n||^2, ``sequence`` is L_sa with the window's start uniform on
    1-K..N, and ``lower`` is E ||sum_n w_n e_n||^2 / (N+K)^2. They hold for any weights; the theorem's are tau.
    Only the errors of as many levels as the longest window has are in memory.

    Args:
        weights: (W, N + 1), rows of weights by level, in float64 whatever the errors are.
        errors: e_n of levels 2, 3, .., N, each (B, ...).
        lengths: values of K.

    Returns:
        The sides for each K.

    Raises:
        ValueError: there is not one error for each level.
    """
    recent: deque[Tensor] = deque(maxlen=max(lengths))
    upper, lower, windows = torch.zeros(()), torch.zeros(()), dict.fromkeys(lengths, torch.zeros(()))
    for w, error in zip(weights[:, 2:].T, errors, strict=True):
        weighted = w.to(error.device).reshape(-1, *[1] * error.ndim) * error
        recent.appendleft(weighted)
        upper, lower = upper + _mean_square(weighted), lower + weighted
        for length in lengths:
            windows[length] = windows[length] + _mean_square(sum(islice(recent, 1, length), weighted))
    for length in lengths:
        for inside in range(1, length):  # windows that begin within 2..N and end above it
            windows[length] = windows[length] + _mean_square(sum(islice(recent, 1, inside), recent[0]))
    lower, total = _mean_square(lower), weights.shape[1] - 1
    return {
        length: SequenceBounds(
            upper / (total + length), windows[length] / length**2 / (total + length), lower / (total + length) ** 2
        )
        for length in lengths
    }


def _mean_square(values: Tensor) -> Tensor:
    """Return E ||v||^2 for each row of weights: (W, B, ...) -> (W,)."""
    return values.square().flatten(2).sum(2).mean(1)
