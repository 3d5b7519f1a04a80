"""What samplers share whose step needs nothing but the state before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sadpm.samplers import Manner, Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from sadpm.diffusion.samplers import DrawNoise, Predict, Step
    from sadpm.diffusion.schedule import NoiseSchedule


class OneStep(Sampler):
    """A chain of equal steps p(x_s | x_t)."""

    @abstractmethod
    def step(self, manner: Manner) -> Step:
        """Return the step: from schedule, x_t, the model's prediction and the levels s < t to mean and variance."""

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
