"""Adam (Kingma and Ba 2015) by torch's fused kernel alone.

`torch.optim.Adam` calls the same kernel, to the same bits, and does more that nothing here needs: its wrappers import
torch's compiler, a second of every job, and it counts the steps of each parameter apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """The moments of some parameters, all of which get a gradient in each step."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._means = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        self._squares = [torch.zeros_like(mean) for mean in self._means]
        self._step = torch.zeros((), device=self._parameters[0].device)

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """Take one step; a rate that is a 0-dimensional tensor lies on the parameters' device."""
        self._step += 1
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        kernel: Callable[..., None] = torch._fused_adam_
        kernel(
            self._parameters, gradients, self._means, self._squares, [], [self._step] * len(self._parameters),
            lr=learning_rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON, weight_decay=0.0, amsgrad=False,
            maximize=False,
        )  # fmt: skip

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next ones are not added to them."""
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and the number of steps, as `torch.optim.Adam` lays them out."""
        moments = zip(self._means, self._squares, strict=True)
        return {
            "state": {
                place: {"step": self._step, "exp_avg": mean, "exp_avg_sq": square}
                for place, (mean, square) in enumerate(moments)
            }
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, to the bit."""
        moments = state["state"]
        self._step.copy_(moments[0]["step"])
        for place, (mean, square) in enumerate(zip(self._means, self._squares, strict=True)):
            mean.copy_(moments[place]["exp_avg"])
            square.copy_(moments[place]["exp_avg_sq"])
