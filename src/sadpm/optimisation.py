"""One object for all that changes while a module is trained: what a checkpoint must hold."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sadpm.distributed import ALONE, Group

# Of the log of a noise predictor's training: the step, and what enters the history there.
LOSS_COLUMNS = ("step", "loss", "simple", "sequence")


class TrainingState:
    """A module, the exponential moving average (EMA) of its weights, Adam, the step number, and the history of losses.

    Random numbers are functions of the step, so that no generator's state belongs here. Several processes of
    a group hold the same state, but for the losses, each of which has seen its part of a batch.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        learning_rate: float,
        ema_decay: float,
        max_grad_norm: float | None,
        log_every: int,
        group: Group = ALONE,
    ) -> None:
        self.module, self.step = module, 0
        self.ema = deepcopy(module).eval().requires_grad_(False)
        self._parameters: list[Tensor] = list(module.parameters())
        self._averages: list[Tensor] = list(self.ema.parameters())
        self.optimizer = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True)
        self.ema_decay, self.max_grad_norm = ema_decay, max_grad_norm
        self.log_every, self._group = log_every, group
        self.history: list[list[float]] = []
        self._sums: Tensor | None = None

    def update(self, loss: Tensor, *terms: Tensor) -> None:
        """Take one optimiser step on ``loss``; its value and those of ``terms`` enter the history."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.max_grad_norm)
        self.optimizer.step()
        self._average_weights()
        self.step += 1
        self._record(torch.stack([loss, *terms]).detach())

    @torch.no_grad()
    def _average_weights(self) -> None:
        """Move the average towards the weights; it starts as the weights after the first step."""
        if self.step == 0:
            torch._foreach_copy_(self._averages, self._parameters)
        else:
            torch._foreach_lerp_(self._averages, self._parameters, 1 - self.ema_decay)

    def _record(self, values: Tensor) -> None:
        """Sum on the device, and fetch the mean once in ``log_every`` steps."""
        self._sums = values if self._sums is None else self._sums + values
        if self.step % self.log_every == 0:
            self.history.append([self.step, *(self._group.mean(self._sums) / self.log_every).tolist()])
            self._sums = None

    def state_dict(self) -> dict[str, Any]:
        """Return all that :meth:`load_state_dict` needs, in types that load without unpickling code.

        All processes of a group call this at the same step.
        """
        return {
            "step": self.step,
            "module": self.module.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "sums": None if self._sums is None else self._group.mean(self._sums),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, to the bit."""
        self.module.load_state_dict(state["module"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history, self._sums = state["step"], state["history"], state["sums"]
