"""Adam (Kingma and Ba 2015) by torch's fused kernel alone.

`torch.optim.Adam` calls the same kernel, to the same bits, and does more that nothing here needs: its wrappers import
torch's compiler, a second of every job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """The moments of some parameters; one without a gradient is left out of a step, and of the count of its steps."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._means = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        self._squares = [torch.zeros_like(mean) for mean in self._means]
        self._steps = [torch.zeros((), device=parameter.device) for parameter in parameters]

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """Take one step; a rate that is a 0-dimensional tensor lies on the parameters' device."""
        used = [place for place, parameter in enumerate(self._parameters) if parameter.grad is not None]
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        parameters, means, squares, steps = (
            [values[place] for place in used] for values in (self._parameters, self._means, self._squares, self._steps)
        )
        torch._foreach_add_(steps, 1)
        kernel: Callable[..., None] = torch._fused_adam_
        kernel(
            parameters, gradients, means, squares, [], steps,
            lr=learning_rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON, weight_decay=0.0, amsgrad=False,
            maximize=False,
        )  # fmt: skip

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next ones are not added to them."""
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and the number of steps, as `torch.optim.Adam` lays them out."""
        moments = zip(self._steps, self._means, self._squares, strict=True)
        return {
            "state": {
                place: {"step": step, "exp_avg": mean, "exp_avg_sq": square}
                for place, (step, mean, square) in enumerate(moments)
            }
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, to the bit."""
        moments = state["state"]
        for place, (step, mean, square) in enumerate(zip(self._steps, self._means, self._squares, strict=True)):
            step.copy_(moments[place]["step"])
            mean.copy_(moments[place]["exp_avg"])
            square.copy_(moments[place]["exp_avg_sq"])
