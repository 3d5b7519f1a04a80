"""OCM (Ou et al. 2025, arXiv:2406.10808): a head predicts the diagonal of the Hessian of log q(x_n)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sadpm.covariances.regression import Regression

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.schedule import NoiseSchedule
    from sadpm.networks.predictor import Seen


class OCM(Regression):
    """(1 - abar_n) / abar_n (1 + head), where the head learns (1 - abar_n) times the diagonal of the score's Jacobian.

    The target comes from the network alone: noise enters it through x_n, not through a square of its own.
    """

    kind: Literal["ocm"] = "ocm"

    declared: ClassVar[dict[str, dict[str, Any]]] = {"ocm": {"label": "OCM"}}
    shares_a_pass: ClassVar[bool] = False
    needs_hessian: ClassVar[bool] = True
    loss_of_zero: ClassVar[float] = 1

    def head_loss(self, head: Tensor, seen: Seen, eps: Tensor) -> Tensor:
        """Return ||hessian - head||^2."""
        from sadpm.diffusion.losses import ocm_head_loss

        assert seen.hessian is not None
        return ocm_head_loss(head, seen.hessian)

    def of_head(self, schedule: NoiseSchedule, head: Tensor, seen: Seen) -> Tensor:
        """Return the scaled sum."""
        from sadpm.diffusion.covariance import ocm_covariance

        assert isinstance(seen.n, int)
        return ocm_covariance(schedule, seen.n, head)
