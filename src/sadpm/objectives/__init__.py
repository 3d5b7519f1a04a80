"""What a noise predictor is trained to do: one kind in each module."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from sadpm.kinds import Axis, Kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sadpm.diffusion.losses import PredictNoise
    from sadpm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Loss:
    """What one training step minimises, and the parts of it that the log shows; 0-dimensional tensors."""

    total: Tensor
    parts: tuple[Tensor, ...] = ()


class Objective(Kind):
    """A loss of the noise predictor f(x_n, n).

    Random numbers are drawn apart from the loss, for the whole batch and by the step's own generator, so that they are
    the same whatever the number of processes that share the batch, and whatever happened before.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    """Names of the loss's parts: columns of the training log."""

    @abstractmethod
    def draw(self, shape: tuple[int, ...], num_train_timesteps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw everything random of one step.

        Args:
            shape: of the batch, (B, C, H, W).
            num_train_timesteps: N; levels are 1..N.
            generator: on the device where the tensors are to lie.

        Returns tensors by name, the first dimension of each being the batch.
        """

    @abstractmethod
    def loss(self, predict_noise: PredictNoise, schedule: NoiseSchedule, x0: Tensor, draws: dict[str, Tensor]) -> Loss:
        """Return the loss of images x0 (b, C, H, W) in [-1, 1], given their part of what was drawn."""

    def images_per_training_image(self) -> int:
        """Return how many noisy images the network sees for each image of a batch: what a training step costs."""
        return 1

    def loss_of_zero(self, dimension: int) -> float:
        """Return the expected loss of a network that always answers 0, for images of so many numbers.

        A loss far above it, or long above it after it was well below, tells that training has diverged; infinity
        switches that check off.
        """
        return math.inf


OBJECTIVES: Axis[Objective] = Axis(Objective)  # type: ignore[type-abstract]
ObjectiveSection = Annotated[SerializeAsAny[Objective], BeforeValidator(OBJECTIVES.parse)]
"""A field of the configuration that holds one of the kinds."""
