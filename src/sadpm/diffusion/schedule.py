"""Noise schedules: betas, their products, and the coefficients of the posterior q(x_s | x_t, x_0).

Ho et al. (2020), section 2; Nichol & Dhariwal (2021) for the cosine; Bao et al. (2022), appendix A, for skipped steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

BetaSchedule = Literal["linear", "quadratic", "constant", "sigmoid", "jsd", "cosine"]


@dataclass(frozen=True)
class NoiseSchedule:
    """A forward process x_n = sqrt(abar_n) x_0 + sqrt(1 - abar_n) eps for n = 0..N, in float64.

    Samplers, which visit one level at a time, use it on the CPU: its 0-dimensional coefficients combine with tensors
    of any device and dtype without a copy or a synchronisation. Training, which gathers a level for each image, uses
    a copy on the device (:meth:`to`).

    Attributes:
        betas: (N + 1,), ``betas[0] = 0`` for clean data.
    """

    betas: Tensor

    @classmethod
    def create(
        cls,
        kind: BetaSchedule = "linear",
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
    ) -> NoiseSchedule:
        """Build a schedule by name; ``jsd`` and ``cosine`` ignore the two betas.

        Raises:
            ValueError: the kind is unknown.
        """
        return cls.from_betas(_betas(kind, num_train_timesteps, beta_start, beta_end))

    @classmethod
    def from_betas(cls, betas: Tensor) -> NoiseSchedule:
        """Build a schedule from beta_1..beta_N, a tensor of shape (N,) with values in (0, 1]."""
        betas = betas.to("cpu", torch.float64)
        return cls(torch.cat([betas.new_zeros(1), betas]))

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """Return a copy on a device, to be indexed by levels that lie there."""
        return NoiseSchedule(self.betas.to(device))

    @property
    def num_train_timesteps(self) -> int:
        """N, the number of noise levels."""
        return len(self.betas) - 1

    @cached_property
    def alphas(self) -> Tensor:
        """alpha_n = 1 - beta_n, shape (N + 1,)."""
        return 1 - self.betas

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """abar_n = alpha_1 .. alpha_n, shape (N + 1,), abar_0 = 1."""
        return self.alphas.cumprod(0)

    @cached_property
    def betas_cumprod(self) -> Tensor:
        """1 - abar_n: the variance of the noise in x_n, shape (N + 1,)."""
        return 1 - self.alphas_cumprod

    def at(self, values: Tensor, n: Tensor, like: Tensor) -> Tensor:
        """Gather ``values[n]`` for a batch of levels, in the dtype of ``like``.

        Args:
            values: (N + 1,), one of the sequences above.
            n: (B,) integer levels.
            like: (B, ...) tensor that the result multiplies.

        Returns:
            (B, 1, .., 1) with as many dimensions as ``like``.
        """
        return values[n].to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))

    def add_noise(self, x0: Tensor, noise: Tensor, n: Tensor) -> Tensor:
        """Return x_n = sqrt(abar_n) x_0 + sqrt(1 - abar_n) noise for images (B, C, H, W) and levels (B,)."""
        return self.at(self.alphas_cumprod.sqrt(), n, x0) * x0 + self.at(self.betas_cumprod.sqrt(), n, x0) * noise

    def noise_in(self, x: Tensor, x0: Tensor, n: int) -> Tensor:
        """Return the eps for which x_n = sqrt(abar_n) x_0 + sqrt(1 - abar_n) eps."""
        return (x - self.alphas_cumprod[n].sqrt() * x0) / self.betas_cumprod[n].sqrt()

    def skip_alpha(self, s: int, t: int) -> Tensor:
        """Product of alpha over s + 1..t."""
        return self.alphas[s + 1 : t + 1].prod()

    def skip_beta(self, s: int, t: int) -> Tensor:
        """Variance of q(x_t | x_s)."""
        return 1 - self.skip_alpha(s, t)

    def posterior_variance(self, s: int, t: int) -> Tensor:
        """Variance of q(x_s | x_t, x_0), the papers' tilde beta."""
        return self.skip_beta(s, t) * self.betas_cumprod[s] / self.betas_cumprod[t]

    def posterior_coefficients(self, s: int, t: int) -> tuple[Tensor, Tensor]:
        """Return gamma_1, gamma_2: the mean of q(x_s | x_t, x_0) is gamma_1 x_0 + gamma_2 x_t."""
        of_x0 = self.alphas_cumprod[s].sqrt() * self.skip_beta(s, t) / self.betas_cumprod[t]
        of_xt = self.skip_alpha(s, t).sqrt() * self.betas_cumprod[s] / self.betas_cumprod[t]
        return of_x0, of_xt

    @cached_property
    def error_coefficients(self) -> Tensor:
        """gamma_{1,n} sqrt(1 - abar_n) / sqrt(abar_n): how an error of the noise predictor enters one step, (N + 1,).

        Written as beta_n / sqrt(alpha_n (1 - abar_n)); infinite where alpha_n = 0 (``jsd``). Entry 0 is NaN.
        """
        return self.betas / (self.alphas * self.betas_cumprod).sqrt()

    @cached_property
    def tau(self) -> Tensor:
        """Weights tau_n of the sequence-aware loss (SA-DPM, Theorem 1), shape (N + 1,); entries 0 and 1 are NaN."""
        abar, noise = self.alphas_cumprod, self.betas_cumprod
        tau = torch.full_like(abar, math.nan)
        propagation = (abar[1:-1] / abar[1]).sqrt() * noise[1] / noise[1:-1]
        tau[2:] = propagation * self.error_coefficients[2:]
        return tau


def network_time(n: Tensor) -> Tensor:
    """Return the time value that the network is given for level n: tau = n - 1 (levels counted from 0)."""
    return n - 1


def _betas(kind: BetaSchedule, total: int, start: float, end: float) -> Tensor:
    match kind:
        case "linear":
            return torch.linspace(start, end, total, dtype=torch.float64)
        case "quadratic":
            return torch.linspace(start**0.5, end**0.5, total, dtype=torch.float64) ** 2
        case "constant":
            return torch.full((total,), end, dtype=torch.float64)
        case "sigmoid":
            return torch.linspace(-6, 6, total, dtype=torch.float64).sigmoid() * (end - start) + start
        case "jsd":
            return 1 / torch.arange(total, 0, -1, dtype=torch.float64)
        case "cosine":
            clock = torch.arange(total + 1, dtype=torch.float64) / total
            signal = torch.cos((clock + 0.008) / 1.008 * math.pi / 2) ** 2
            return (1 - signal[1:] / signal[:-1]).clamp(max=0.999)
    raise ValueError(f"unknown beta schedule {kind!r}: choose one of {', '.join(get_args(BetaSchedule))}")
