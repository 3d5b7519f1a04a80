"""How the reverse process is run: one kind in each module."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from sadpm.kinds import Axis, Kind

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.samplers import DrawNoise, Predict
    from sadpm.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Manner:
    """What a covariance and its recipe ask of a chain.

    Attributes:
        optimal: the model predicts Cov[x_0 | x_t], which takes the place of the sampler's own variance.
        clip_sample: clamp the prediction of x_0 to [-1, 1].
        max_variance: bound of the variance in the step that lands on the lowest level; None for no bound.
    """

    optimal: bool
    clip_sample: bool
    max_variance: float | None


class Sampler(Kind):
    """A way from noise to images by a network that predicts noise."""

    label: str | None = None

    resumes: ClassVar[bool] = True
    """Whether a chain can go on from a state x alone; where not, an interrupted batch starts again."""

    @abstractmethod
    def chain(
        self,
        predict: Predict,
        x: Tensor,
        levels: Sequence[int],
        schedule: NoiseSchedule,
        draw_noise: DrawNoise,
        manner: Manner,
        first: int,
    ) -> Iterator[Tensor]:
        """Yield the state (B, C, H, W) after each step, the last one being the images.

        Args:
            predict: the model, called with a state and its level.
            x: (B, C, H, W), the state before step ``first``.
            levels: ascending levels of the chain, without 0.
            schedule: the forward process.
            draw_noise: standard normal noise (B, C, H, W) of the j-th step.
            manner: what covariance and recipe ask for.
            first: step to begin with, counted from 0.
        """

    def prepare(self) -> None:
        """Import what takes time; called before the seconds of a chain are counted."""

    def divisors(self, levels: Sequence[int]) -> Mapping[int, float]:
        """Return by what the predicted noise is divided at each of a chain's ascending levels; 1 where nothing is said.

        The predictor that a chain is given does so, before a covariance is made of the noise.

        Raises:
            ValueError: a divisor is not above 0.
        """
        return {}

    def objection(self, optimal: bool) -> str | None:
        """Return why the sampler can't be run with a covariance (``optimal``), or without one; None if it can."""
        return None

    def objection_to_bound(self) -> str | None:
        """Return why its chains have no bound in bits/dim; None for a :class:`OneStep` of which it can be computed.

        The bound (:mod:`sadpm.diffusion.likelihood`) compares each ``step`` of the chain, which must be a Gaussian
        with a variance, with DDPM's posterior q(x_s | x_t, x_0).
        """
        return (
            f"{self.kind!r} is no chain of DDPM's Gaussian steps, which the variational bound is made of; choose a "
            "sampler of kind 'ddpm'"
        )


SAMPLERS: Axis[Sampler] = Axis(Sampler)  # type: ignore[type-abstract]
SamplerSection = Annotated[SerializeAsAny[Sampler], BeforeValidator(SAMPLERS.parse)]
"""A field of the configuration that holds one of the kinds."""
