"""The simple loss of DDPM (Ho et al. 2020, eq. 14), the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sadpm.objectives import Loss, Objective

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sadpm.diffusion.losses import PredictNoise
    from sadpm.diffusion.schedule import NoiseSchedule


class DDPM(Objective):
    """E ||f(x_n, n) - eps||^2, summed over pixels; n uniform on 1..N in antithetic pairs."""

    kind: Literal["ddpm"] = "ddpm"

    def draw(self, shape: tuple[int, ...], num_train_timesteps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the levels n (B,) and the noise (B, C, H, W)."""
        import torch

        from sadpm.diffusion.losses import antithetic_levels

        n = antithetic_levels(shape[0], num_train_timesteps, generator)
        return {"n": n, "noise": torch.randn(shape, generator=generator, device=generator.device)}

    def loss(self, predict_noise: PredictNoise, schedule: NoiseSchedule, x0: Tensor, draws: dict[str, Tensor]) -> Loss:
        """Return the mean over the batch."""
        from sadpm.diffusion.losses import simple_loss

        return Loss(simple_loss(predict_noise, schedule, x0, draws["n"], draws["noise"]))

    def loss_of_zero(self, dimension: int) -> float:
        """Return E ||eps||^2."""
        return dimension
