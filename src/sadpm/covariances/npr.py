"""NPR-DPM (Bao et al. 2022, arXiv:2206.07309, section 3.3): a head predicts the square of the noise's residual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sadpm.covariances.regression import Regression

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.schedule import NoiseSchedule
    from sadpm.networks.predictor import Seen


class NPR(Regression):
    """(1 - abar_n) / abar_n head, where the head learns (eps - f)^2."""

    kind: Literal["npr"] = "npr"

    declared: ClassVar[dict[str, dict[str, Any]]] = {"npr": {"label": "NPR"}}

    def head_loss(self, head: Tensor, seen: Seen, eps: Tensor) -> Tensor:
        """Return ||(eps - f)^2 - head||^2."""
        from sadpm.diffusion.losses import npr_head_loss

        return npr_head_loss(head, seen.noise, eps)

    def of_head(self, schedule: NoiseSchedule, head: Tensor, seen: Seen) -> Tensor:
        """Return the scaled head."""
        from sadpm.diffusion.covariance import npr_covariance

        assert isinstance(seen.n, int)
        return npr_covariance(schedule, seen.n, head)
