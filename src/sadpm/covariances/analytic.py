"""Analytic-DPM (Bao et al. 2022, arXiv:2201.06503): one number for each level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sadpm.covariances import Covariance, Estimate, Fitting

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.schedule import NoiseSchedule
    from sadpm.networks.predictor import Covariances, Seen
    from sadpm.networks.unet import UNet


class Analytic(Covariance):
    """(1 - abar_n) / abar_n (1 - ms_eps[n]), with ms_eps[n] = E ||f(x_n, n)||^2 / d over training images."""

    kind: Literal["analytic"] = "analytic"

    is_by_level: ClassVar[bool] = True
    declared: ClassVar[dict[str, dict[str, Any]]] = {"analytic": {"label": "Analytic"}}

    def estimate(self, fitting: Fitting) -> Estimate:
        """Return running means of ||f||^2 / d."""
        return Moments(fitting)

    def stored_bytes(self, num_train_timesteps: int, head_parameters: int) -> int:
        """Return the bytes of three float64 numbers for each level."""
        return 3 * 8 * (num_train_timesteps + 1)

    def load(self, tensors: Mapping[str, Tensor], unet: UNet, schedule: NoiseSchedule) -> Covariances:
        """Return the scalar of each level.

        Raises:
            ValueError: ms_eps is for another number of levels, or does not know one of them.
        """
        from sadpm.diffusion.covariance import analytic_covariance

        ms_eps, levels = tensors["ms_eps"], len(schedule.betas)
        if len(ms_eps) != levels:
            raise ValueError(f"for {len(ms_eps) - 1} noise levels, and the schedule has {levels - 1}")
        if unknown := (~ms_eps.isfinite()).nonzero().flatten().tolist():
            raise ValueError(
                f"nothing is known of {len(unknown)} noise levels, first {unknown[0]}, because no image was seen there;"
                f" heads.steps times heads.batch_size must be at least the number of levels, {levels - 1}"
            )

        def covariance(seen: Seen) -> Tensor:
            assert isinstance(seen.n, int)
            return analytic_covariance(schedule, seen.n, ms_eps)

        return covariance


class Moments:
    """Running mean and variance of the images' ||f(x_n, n)||^2 / d for each level; an :class:`Estimate`."""

    def __init__(self, fitting: Fitting) -> None:
        import torch

        levels = fitting.schedule.num_train_timesteps + 1
        self.sums = torch.zeros(3, levels, dtype=torch.float64, device=fitting.device)
        self.history: list[list[float]] = []
        self._controlled = fitting.heads.ms_eps == "controlled"

    def learn(self, seen: Seen, eps: Tensor) -> None:
        """Add one value for each image at its level."""
        from sadpm.diffusion.covariance import mean_squared_prediction, mean_squared_prediction_controlled

        assert not isinstance(seen.n, int)
        if self._controlled:
            self.add(seen.n, mean_squared_prediction_controlled(seen.noise, eps))
        else:
            self.add(seen.n, mean_squared_prediction(seen.noise))

    def add(self, n: Tensor, values: Tensor) -> None:
        """Add values (B,) at their levels (B,)."""
        import torch

        values = values.double()
        self.sums.index_add_(1, n, torch.stack([torch.ones_like(values), values, values.square()]))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums."""
        self.sums = state["sums"]

    def tensors(self) -> dict[str, Tensor]:
        """Return ms_eps, its standard error, and how many images each level saw, (N + 1,) each; level 0 is 0.

        A level that no image saw has NaN: it is not known, and 0 would mean the largest of all covariances.
        """
        import torch

        count, total, squares = self.sums.cpu()
        seen = torch.where(count > 0, count, torch.nan)
        seen[0] = 1
        mean = total / seen
        variance = (squares / seen - mean**2).clamp(min=0) * count / (count - 1).clamp(min=1)
        return {"ms_eps": mean, "standard_error": (variance / seen).sqrt(), "count": count.clone()}
