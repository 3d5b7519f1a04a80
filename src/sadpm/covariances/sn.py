"""SN-DPM (Bao et al. 2022, arXiv:2206.07309, section 3.2): a head predicts the square of the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sadpm.covariances.regression import Regression

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.schedule import NoiseSchedule
    from sadpm.networks.predictor import Seen


class SN(Regression):
    """(1 - abar_n) / abar_n (head - f^2), where the head learns eps^2."""

    kind: Literal["sn"] = "sn"

    declared: ClassVar[dict[str, dict[str, Any]]] = {"sn": {"label": "SN"}}
    initialisation: ClassVar[int] = 1

    def head_loss(self, head: Tensor, seen: Seen, eps: Tensor) -> Tensor:
        """Return ||eps^2 - head||^2."""
        from sadpm.diffusion.losses import sn_head_loss

        return sn_head_loss(head, eps)

    def of_head(self, schedule: NoiseSchedule, head: Tensor, seen: Seen) -> Tensor:
        """Return the scaled difference."""
        from sadpm.diffusion.covariance import sn_covariance

        assert isinstance(seen.n, int)
        return sn_covariance(schedule, seen.n, head, seen.noise)
