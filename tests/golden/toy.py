"""The closed-form networks with which the golden vectors were recorded; constants come from each file's meta."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sadpm.diffusion.covariance import (
    analytic_covariance,
    average_over_pixels,
    clip_covariance,
    npr_covariance,
    sn_covariance,
)
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Toy:
    """Elementwise noise predictor and heads; ``tau`` is the time value that the network receives."""

    constants: Mapping[str, float | Tensor]

    def noise(self, x: Tensor, tau: float | Tensor) -> Tensor:
        c = self.constants
        return torch.tanh(c["a"] * x + c["b"] * torch.sin(torch.as_tensor(c["c"] * tau, dtype=x.dtype))) + c["d"] * x

    def second_moment(self, x: Tensor, tau: float | Tensor, offset: bool) -> Tensor:
        c = self.constants
        return self.noise(x, tau) ** 2 + c["e"] * (torch.sigmoid(x - c["f"] * tau) - offset * c["g0"])

    def residual(self, x: Tensor, tau: float | Tensor, offset: bool) -> Tensor:
        c = self.constants
        return c["g"] * (torch.sigmoid(c["h"] * x + c["k"] * tau) - offset * c["h0"])


def time_of(meta: Mapping[str, Any], n: int | Tensor, total: int) -> float | Tensor:
    """The time value of the recorded programs: shifted and rescaled as the file says."""
    rescale = 1000 / total if meta.get("rescale_timesteps") else 1
    return (n - int(meta.get("shift1", True))) * rescale


@dataclass(frozen=True)
class ToyModel:
    """The toy network with the covariance that a case asks for, as samplers want it."""

    toy: Toy
    schedule: NoiseSchedule
    meta: Mapping[str, Any]
    case: Mapping[str, Any]
    ms_eps: Tensor | None = None

    def __call__(self, x: Tensor, n: int) -> Prediction:
        tau = time_of(self.meta, n, self.schedule.num_train_timesteps)
        noise = self.toy.noise(x, tau)
        if self.case["rev_var_type"] != "optimal":
            return Prediction(noise)
        covariance = self._covariance(x, n, tau, noise)
        if self.case.get("avg_cov") and self.ms_eps is None:
            covariance = average_over_pixels(covariance)
        return Prediction(noise, clip_covariance(covariance) if self.case["clip_x0"] else covariance)

    def _covariance(self, x: Tensor, n: int, tau: float | Tensor, noise: Tensor) -> Tensor:
        offset = bool(self.case["head_offset"])
        if self.ms_eps is not None:
            return analytic_covariance(self.schedule, n, self.ms_eps)
        match self.case["typ"]:
            case "eps_epsc":
                return npr_covariance(self.schedule, n, self.toy.residual(x, tau, offset))
            case "eps_eps2":
                return sn_covariance(self.schedule, n, self.toy.second_moment(x, tau, offset), noise)
        return sn_covariance(self.schedule, n, torch.ones_like(noise), noise)
