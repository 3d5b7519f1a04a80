"""What covariances share that are regressed by a head on the frozen network's last feature map."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sadpm.covariances import Covariance, Estimate, Fitting

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.schedule import NoiseSchedule
    from sadpm.networks.predictor import Covariances, Seen
    from sadpm.networks.unet import UNet


class Regression(Covariance):
    """A head that predicts a number per pixel, from which the covariance follows."""

    heads: ClassVar[int] = 1

    initialisation: ClassVar[int] = 0
    """Which network of the seed's stream of initialisations the head starts as."""

    loss_of_zero: ClassVar[float] = 3
    """Loss of a head that always answers 0, a pixel, by which divergence is told: E eps^4, where noise is squared."""

    @abstractmethod
    def head_loss(self, head: Tensor, seen: Seen, eps: Tensor) -> Tensor:
        """Return the loss (B,) of the head's prediction (B, C, H, W)."""

    @abstractmethod
    def of_head(self, schedule: NoiseSchedule, head: Tensor, seen: Seen) -> Tensor:
        """Return the covariance (B, C, H, W) that the head's prediction means at the level ``seen.n``."""

    def estimate(self, fitting: Fitting) -> Estimate:
        """Return a head to be trained."""
        return HeadEstimate(self, fitting)

    def load(self, tensors: Mapping[str, Tensor], unet: UNet, schedule: NoiseSchedule) -> Covariances:
        """Return the covariance by the head that was trained.

        Raises:
            ValueError: the weights are those of a head of another network, or not finite.
        """
        from sadpm.networks.heads import load_head

        head = load_head(tensors, unet)
        return lambda seen: self.of_head(schedule, head(seen.h, seen.emb), seen)


class HeadEstimate:
    """A head in training; an :class:`Estimate`."""

    def __init__(self, covariance: Regression, fitting: Fitting) -> None:
        import torch

        from sadpm.networks.heads import new_head
        from sadpm.running.randomness import position_seed
        from sadpm.training.state import TrainingState

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(position_seed(fitting.seed, "heads", 0))
            *_, head = (new_head(fitting.unet, fitting.heads.kind) for _ in range(covariance.initialisation + 1))
        self.covariance = covariance
        self.training = TrainingState(
            head.to(fitting.device),
            learning_rate=fitting.heads.learning_rate,
            ema_decay=fitting.heads.ema_decay,
            max_grad_norm=None,
            log_every=fitting.heads.log_every,
            loss_of_zero=covariance.loss_of_zero * fitting.unet.in_channels * fitting.unet.sample_size**2,
        )

    def learn(self, seen: Seen, eps: Tensor) -> None:
        """Take one optimiser step."""
        self.training.update(self.covariance.head_loss(self.training.module(seen.h, seen.emb), seen, eps).mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of training."""
        return self.training.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.training.load_state_dict(state)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.training.ema.state_dict().items()}

    @property
    def sound(self) -> bool:
        """Whether the head has not forgotten what it had learned."""
        return self.training.sound

    @property
    def history(self) -> list[list[float]]:
        """Rows of step and mean loss."""
        return self.training.history
