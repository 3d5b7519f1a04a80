"""Input perturbation (Ning et al. 2023, arXiv:2301.11706): the simple loss of images that are noisier than they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sadpm.objectives import Loss
from sadpm.objectives.ddpm import DDPM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sadpm.diffusion.losses import PredictNoise
    from sadpm.diffusion.schedule import NoiseSchedule


class InputPerturbation(DDPM):
    """E ||f(y_n, n) - eps||^2 with y_n = sqrt(abar_n) x_0 + sqrt(1 - abar_n) (eps + gamma xi); n as of the baseline.

    xi is a second standard normal noise, which the network need not predict: it takes the place of the errors that a
    chain brings along.
    """

    kind: Literal["input-perturbation"] = "input-perturbation"  # type: ignore[assignment]
    gamma: float = Field(ge=0)

    def draw(self, shape: tuple[int, ...], num_train_timesteps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the baseline's levels and noise, and after them, if gamma is not 0, the second noise of that shape."""
        import torch

        draws = super().draw(shape, num_train_timesteps, generator)
        if self.gamma:
            draws["second_noise"] = torch.randn(shape, generator=generator, device=generator.device)
        return draws

    def loss(self, predict_noise: PredictNoise, schedule: NoiseSchedule, x0: Tensor, draws: dict[str, Tensor]) -> Loss:
        """Return the mean over the batch."""
        from sadpm.diffusion.losses import simple_loss

        noise = draws["noise"]
        shown = noise + self.gamma * draws["second_noise"] if self.gamma else None
        return Loss(simple_loss(predict_noise, schedule, x0, draws["n"], noise, shown))
