"""The estimation gap along the sampling chain (SA-DPM, Figure 4).

Let x follow the model and y the same chain (same noise, same start) with the true x_0 in place of the predicted one.
The gap D_n = y_n - x_n obeys D_{n-1} = gamma_{1,n} sqrt(1 - abar_n)/sqrt(abar_n) e_n + gamma_{2,n} D_n, where
e_n = f(x_n, n) - eps_n and eps_n is the noise in x_n relative to the true x_0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sadpm.diffusion.samplers import DDIMStep, DrawNoise, Predict
from sadpm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class GapStep:
    """One step n -> n - 1 of the chain, all tensors (B, C, H, W).

    Attributes:
        level: n.
        x: x_n, the state that the model saw.
        error: e_n = f(x_n, n) - eps_n.
        gap: D_{n-1} = y_{n-1} - x_{n-1}, exact.
        official_gap: what the authors' program accumulates in its place: it drops the first error and has
            abar_{n-2} for abar_{n-1} in the factor of D_n, so that its last value forgets all the steps before.
    """

    level: int
    x: Tensor
    error: Tensor
    gap: Tensor
    official_gap: Tensor


def estimation_gap(
    predict: Predict, schedule: NoiseSchedule, x0: Tensor, x: Tensor, start: int, draw_noise: DrawNoise
) -> Iterator[GapStep]:
    """Run the full chain (eta 1, no clipping) from level ``start`` down to 2, yielding error and gap of each step.

    Args:
        predict: the model.
        schedule: the forward process.
        x0: (B, C, H, W), the true images.
        x: (B, C, H, W), a draw of q(x_start | x_0).
        start: first level, 2..N.
        draw_noise: noise of the j-th step; not called for the step from level 2, whose successor nobody looks at.
    """
    chain = DDIMStep(eta=1.0)
    gap, official_gap = torch.zeros_like(x), torch.zeros_like(x)
    for j, n in enumerate(range(start, 1, -1)):
        prediction = predict(x, n)
        error = prediction.noise - schedule.noise_in(x, x0, n)
        new_error = schedule.error_coefficients[n] * error
        gap = new_error + schedule.posterior_coefficients(n - 1, n)[1] * gap
        if n < start:
            official_gap = new_error + official_propagation(schedule, n) * official_gap
        yield GapStep(n, x, error, gap, official_gap)
        if n > 2:
            transition = chain(schedule, x, prediction, n - 1, n)
            x = transition.mean + transition.variance.sqrt() * draw_noise(j)


def official_propagation(schedule: NoiseSchedule, n: int) -> Tensor:
    """Return the authors' factor of D_n, sqrt(alpha_n) (1 - abar_{n-2}) / (1 - abar_n): one level too low."""
    return schedule.alphas[n].sqrt() * schedule.betas_cumprod[n - 2] / schedule.betas_cumprod[n]


def total_gap(schedule: NoiseSchedule, errors: Mapping[int, Tensor]) -> Tensor:
    """Return D_1 = sum of tau_n e_n over the levels given (Theorem 1), exact for a chain from the highest of them.

    Args:
        schedule: the forward process.
        errors: e_n (B, C, H, W) by level n >= 2.
    """
    return torch.stack([schedule.tau[n] * error for n, error in errors.items()]).sum(0)
