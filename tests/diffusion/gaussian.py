"""Gaussian data, for which everything that a diffusion model has to learn is known exactly.

All conditional moments come from one rule: u given v has the mean E[u] + Cov[u, v] Cov[v]^-1 (v - E[v]) and the
covariance Cov[u] - Cov[u, v] Cov[v]^-1 Cov[v, u]. Images have the shape (B, 1, 1, D).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sadpm.diffusion.covariance import analytic_covariance, npr_covariance, ocm_covariance, sn_covariance
from sadpm.diffusion.samplers import Predict, Prediction, Step, reverse_process
from sadpm.diffusion.schedule import NoiseSchedule

Estimator = Literal["analytic", "npr", "ocm", "sn"]


@dataclass(frozen=True)
class GaussianData:
    """x_0 ~ N(mean, covariance), of shapes (D,) and (D, D)."""

    mean: Tensor
    covariance: Tensor

    def images(self, flat: Tensor) -> Tensor:
        return flat.reshape(-1, 1, 1, len(self.mean))

    def marginal(self, schedule: NoiseSchedule, n: int) -> tuple[Tensor, Tensor]:
        """Mean and covariance of q(x_n)."""
        abar = schedule.alphas_cumprod[n]
        return abar.sqrt() * self.mean, abar * self.covariance + (1 - abar) * identity(len(self.mean))

    def expected_noise(self, schedule: NoiseSchedule, x: Tensor, n: int) -> Tensor:
        """E[eps | x_n], the minimiser of the simple loss; Cov[eps, x_n] = sqrt(1 - abar_n) I."""
        mean, covariance = self.marginal(schedule, n)
        deviations = torch.linalg.solve(covariance, (x.flatten(1) - mean).T).T
        return self.images((1 - schedule.alphas_cumprod[n]).sqrt() * deviations)

    def noise_covariance(self, schedule: NoiseSchedule, n: int) -> Tensor:
        """Cov[eps | x_n]."""
        _, covariance = self.marginal(schedule, n)
        return identity(len(self.mean)) - (1 - schedule.alphas_cumprod[n]) * covariance.inverse()

    def hessian(self, schedule: NoiseSchedule, n: int) -> Tensor:
        """(1 - abar_n) times the Hessian of log q(x_n)."""
        _, covariance = self.marginal(schedule, n)
        return -(1 - schedule.alphas_cumprod[n]) * covariance.inverse()

    def image_covariance(self, schedule: NoiseSchedule, n: int) -> Tensor:
        """Cov[x_0 | x_n]; Cov[x_0, x_n] = sqrt(abar_n) Cov[x_0]."""
        _, covariance = self.marginal(schedule, n)
        explained = self.covariance @ torch.linalg.solve(covariance, self.covariance)
        return self.covariance - schedule.alphas_cumprod[n] * explained

    def ms_eps(self, schedule: NoiseSchedule) -> Tensor:
        """E ||E[eps | x_n]||^2 / D for n = 1..N by the law of total variance, after a 0 for clean data."""
        levels = range(1, schedule.num_train_timesteps + 1)
        explained = [1 - self.noise_covariance(schedule, n).diagonal().mean() for n in levels]
        return torch.stack([torch.zeros(()).double(), *explained])

    def model(self, schedule: NoiseSchedule, estimator: Estimator | None = None) -> Predict:
        """The exact noise predictor, with a covariance by one of the estimators fed with its exact statistics."""
        ms_eps = self.ms_eps(schedule) if estimator == "analytic" else torch.empty(0)

        def predict(x: Tensor, n: int) -> Prediction:
            noise = self.expected_noise(schedule, x, n)
            residual = self.noise_covariance(schedule, n).diagonal().expand_as(x)
            match estimator:
                case "analytic":
                    return Prediction(noise, analytic_covariance(schedule, n, ms_eps))
                case "npr":
                    return Prediction(noise, npr_covariance(schedule, n, residual))
                case "ocm":
                    hessian = self.hessian(schedule, n).diagonal().expand_as(x)
                    return Prediction(noise, ocm_covariance(schedule, n, hessian))
                case "sn":
                    return Prediction(noise, sn_covariance(schedule, n, noise**2 + residual, noise))
            return Prediction(noise)

        return predict

    def cubature(self) -> tuple[Tensor, Tensor]:
        """Points (x_0, eps), (4D, 1, 1, D) each, over which the mean of any quadratic function is its expectation."""
        dim = len(self.mean)
        directions = (2 * dim) ** 0.5 * identity(2 * dim)
        standard = torch.cat([directions, -directions])
        x0 = self.mean + standard[:, :dim] @ _root(self.covariance).T
        return self.images(x0), self.images(standard[:, dim:])


@dataclass(frozen=True)
class ChainState:
    """The distribution of x_s in an executed chain, and the variance of the transition that led to it."""

    level: int
    mean: Tensor
    covariance: Tensor
    variance: Tensor


def distribution_of_chain(
    predict: Predict,
    schedule: NoiseSchedule,
    levels: Sequence[int],
    step: Step,
    start: tuple[Tensor, Tensor],
) -> list[ChainState]:
    """Run the sampler's own loop for a model that is affine in x, and return the exact law of each state.

    The states are affine in x_T and in the noises. One image starts at the mean without noise; every other image
    differs from it by one unit of one source of randomness, so that differences of images are columns of a root of
    the covariance.
    """
    mean, covariance = start
    dim = len(mean)
    sources = dim * (1 + len(levels))
    x = mean.repeat(1 + sources, 1)
    x[1 : 1 + dim] += _root(covariance).T

    def draw_noise(j: int) -> Tensor:
        noise = torch.zeros_like(x)
        first = 1 + dim * (1 + j)
        noise[first : first + dim] = identity(dim)
        return noise.reshape(-1, 1, 1, dim)

    states = []
    for state in reverse_process(predict, x.reshape(-1, 1, 1, dim), levels, schedule, step, draw_noise):
        flat = state.x.flatten(1)
        columns = flat[1:] - flat[0]
        variance = state.transition.variance.expand_as(state.x).flatten(1)[0]
        states.append(ChainState(state.level, flat[0], columns.T @ columns, variance))
    return states


def _root(covariance: Tensor) -> Tensor:
    """A matrix L with L L^T = covariance, which may be singular."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def identity(dim: int) -> Tensor:
    return torch.eye(dim, dtype=torch.float64)


def isotropic(variance: float, dim: int = 3) -> GaussianData:
    return GaussianData(torch.linspace(-0.6, 0.9, dim, dtype=torch.float64), variance * identity(dim))


def diagonal() -> GaussianData:
    return GaussianData(isotropic(1).mean, torch.tensor([0.05, 0.4, 1.3], dtype=torch.float64).diag())


def correlated() -> GaussianData:
    root = torch.tensor([[0.7, 0.1, -0.4], [0.2, 0.5, 0.3], [-0.3, 0.2, 0.9]], dtype=torch.float64)
    return GaussianData(isotropic(1).mean, root @ root.T)
