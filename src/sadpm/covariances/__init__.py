"""Where the variance of a reverse step comes from: one kind in each module.

Most kinds are fitted: a pass over training images shows them to the frozen noise predictor, at all levels, and every
kind's estimate learns from what it sees. What an estimate leaves is a set of tensors, from which the covariance is
loaded again when samples are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Self

from pydantic import BeforeValidator, SerializeAsAny

from sadpm.kinds import Axis, Kind
from sadpm.kinds.section import Name

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sadpm.config.datasets import HeadsConfig
    from sadpm.diffusion.schedule import NoiseSchedule
    from sadpm.networks.predictor import Covariances, Seen
    from sadpm.networks.unet import UNet


@dataclass(frozen=True)
class Fitting:
    """What an estimate is made for: the frozen network, the forward process, and the experiment's settings.

    ``needs_hessian`` says that one of the covariances which are fitted together does.
    """

    unet: UNet
    schedule: NoiseSchedule
    heads: HeadsConfig
    seed: int
    device: torch.device
    needs_hessian: bool = False


class Estimate(Protocol):
    """What is learned of a covariance while batches go by."""

    def learn(self, seen: Seen, eps: Tensor) -> None:
        """Learn from one batch and the noise (B, C, H, W) that is really in it."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that :meth:`load_state_dict` needs to go on to the bit, in tensors and plain containers.

        Raises:
            UserError: something is not finite.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what :meth:`Covariance.load` needs."""

    @property
    def history(self) -> list[list[float]]:
        """Rows of step and loss, where there is a loss."""


class Covariance(Kind):
    """Cov[x_0 | x_t], or a fixed variance in place of it, and the recipe with which such chains are run.

    ``average`` makes one value an image of one a pixel.
    """

    recipe: Name = "bao"
    average: bool = False
    label: str | None = None

    is_fitted: ClassVar[bool] = True
    """False where the sampler's own variance stays, and there is nothing to fit or to load."""

    shares_a_pass: ClassVar[bool] = True
    """Whether the network's forward pass is all that fitting needs; else it is a job of its own."""

    needs_hessian: ClassVar[bool] = False
    """Whether fitting needs :attr:`Seen.hessian`, which costs as much as another forward pass."""

    is_by_level: ClassVar[bool] = False
    """Whether the estimate is one of each level, which says nothing of levels that no image was shown at."""

    heads: ClassVar[int] = 0
    """Heads of the network that it has: what it costs beside the network."""

    def stored_bytes(self, num_train_timesteps: int, head_parameters: int) -> int:
        """Return how much of the disk an estimate takes: its heads' float32 weights, unless a kind says more."""
        return self.heads * head_parameters * 4

    def as_fitted(self) -> Self:
        """Return the covariance without what chains and tables do with it: two that agree in the rest share a fit."""
        own = {"recipe": Covariance.model_fields["recipe"].default, "average": False, "label": None}
        return self.model_copy(update=own)

    def estimate(self, fitting: Fitting) -> Estimate:
        """Return an estimate that has learned nothing yet."""
        raise TypeError(f"nothing is fitted for the covariance {self.kind!r}")

    def load(self, tensors: Mapping[str, Tensor], unet: UNet, schedule: NoiseSchedule) -> Covariances:
        """Return the covariance of a network, from what its estimate left.

        Raises:
            ValueError: the tensors are those of another network or schedule.
        """
        raise TypeError(f"nothing is fitted for the covariance {self.kind!r}")


COVARIANCES: Axis[Covariance] = Axis(Covariance)
CovarianceSection = Annotated[SerializeAsAny[Covariance], BeforeValidator(COVARIANCES.parse)]
"""A field of the configuration that holds one of the kinds."""
