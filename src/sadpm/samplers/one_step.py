"""What samplers share whose step needs nothing but the state before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from sadpm.kinds.section import Section
from sadpm.samplers import Manner, Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.samplers import DrawNoise, Predict, Step
    from sadpm.diffusion.schedule import NoiseSchedule


class EpsilonScale(Section):
    """k i + b, by which the predicted noise is divided (Ning et al. 2024, arXiv:2308.15321).

    The i counts a chain's steps from its clean end: 0 is the last one that is run, at the lowest level.
    """

    b: float = Field(1.0, gt=0)
    k: float = 0.0


class OneStep(Sampler):
    """A chain of equal steps p(x_s | x_t)."""

    epsilon_scale: EpsilonScale | None = Field(None, exclude_if=lambda scale: scale is None)

    @abstractmethod
    def step(self, manner: Manner) -> Step:
        """Return the step: from schedule, x_t, the model's prediction and the levels s < t to mean and variance."""

    def divisors(self, levels: Sequence[int]) -> Mapping[int, float]:
        """Return k i + b for the i-th of the levels; nothing where all are 1."""
        scale = self.epsilon_scale or EpsilonScale()
        found = {level: scale.k * i + scale.b for i, level in enumerate(levels)}
        if wrong := [level for level, divisor in found.items() if divisor <= 0]:
            raise ValueError(f"epsilon_scale: k i + b is {found[wrong[0]]:g} at level {wrong[0]}, and must be above 0")
        return {} if set(found.values()) == {1.0} else found

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
        """Yield the state after each step."""
        from sadpm.diffusion.samplers import reverse_process

        step, bound = self.step(manner), manner.max_variance
        states = reverse_process(predict, x, levels, schedule, step, draw_noise, max_variance=bound, first=first)
        return (state.x for state in states)
