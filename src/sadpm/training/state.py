"""One object for all that changes while a module is trained: what a checkpoint must hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from sadpm.running.distributed import ALONE, Group
from sadpm.running.files import UserError
from sadpm.running.finite import first_not_finite
from sadpm.training.adam import Adam

LOSS_COLUMNS = ("step", "loss")
"""Of the log of a noise predictor's training; the parts of its objective's loss follow."""

EXPLODED = 1000
"""A loss so many times that of a module which always answers 0 is no spike: the module is lost."""

LEARNED = 0.5
"""A loss so small a part of that of a module which always answers 0 is one of a module that has learned."""

FORGOTTEN = 1000
"""Steps over which a module that had learned is worse than one which always answers 0, and then lost."""


class TrainingState:
    """A module, the exponential moving average (EMA) of its weights, Adam, the step number, and the history of losses.

    Random numbers are functions of the step, so that no generator's state belongs here. Several processes of
    a group hold the same state, but for the losses, each of which has seen its part of a batch.

    Where values are not finite, or the loss explodes, a UserError says at which step. That is seen when losses are
    fetched for the history, and before weights go into a checkpoint or an output: no step waits for it.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        learning_rate: float | Callable[[int], float],
        ema_decay: float,
        max_grad_norm: float | None,
        log_every: int,
        loss_of_zero: float = math.inf,
        group: Group = ALONE,
        replayed: bool = False,
    ) -> None:
        """Start with step 0.

        Args:
            module: what is trained.
            learning_rate: Adam's: a constant, or a function of the step from 0.
            ema_decay: share of the average that stays, at each step.
            max_grad_norm: bound of the gradient's norm, None for none.
            log_every: steps whose mean losses are one row of the history.
            loss_of_zero: the loss of a module that always answers 0, to recognise an explosion by.
            group: the processes that train together.
            replayed: what :meth:`learn` does is recorded and replayed, so that numbers which change lie in tensors.
        """
        self.module, self.step = module, 0
        self.ema = deepcopy(module).eval().requires_grad_(False)
        self._parameters: list[Tensor] = list(module.parameters())
        self._averages: list[Tensor] = list(self.ema.parameters())
        self._learning_rate = learning_rate if callable(learning_rate) else lambda step: learning_rate
        self.optimizer = Adam(self._parameters)
        self.ema_decay, self.max_grad_norm = ema_decay, max_grad_norm
        self.log_every, self._group = log_every, group
        self._loss_of_zero = loss_of_zero
        self.history: list[list[float]] = []
        self._sums: Tensor | None = None
        self._rate: float | Tensor = torch.zeros((), device=self._parameters[0].device) if replayed else 0.0
        self._learned = False
        self.gradient_norm: Tensor | None = None
        """Of the last step, before clipping; None where nothing is clipped."""

    def update(self, loss: Tensor, *terms: Tensor) -> None:
        """Take one optimiser step on ``loss``; its value and those of ``terms`` enter the history."""
        self.begin()
        self.optimizer.zero_grad()
        loss.backward()
        self.learn(torch.stack([loss, *terms]).detach())
        self.end()

    def begin(self) -> None:
        """Before the device works on a step: tell it the learning rate."""
        rate = self._learning_rate(self.step)
        self._rate = self._rate.fill_(rate) if isinstance(self._rate, Tensor) else rate

    def learn(self, losses: Tensor) -> None:
        """Take one optimiser step by the gradients that are there: all that a step does on the device after them.

        ``losses`` are the values of the loss and its terms. Nothing here waits for the device, nor depends on the step,
        but for the first one of all.
        """
        if self.max_grad_norm is not None:
            self.gradient_norm = nn.utils.clip_grad_norm_(self._parameters, self.max_grad_norm)
        self.optimizer.step(self._rate)
        self._average_weights()
        self._sums = torch.zeros_like(losses) if self._sums is None else self._sums
        self._sums += losses

    def end(self) -> None:
        """Count the step; once in ``log_every`` fetch the mean losses, for which the host waits."""
        self.step += 1
        if self.step % self.log_every == 0:
            assert self._sums is not None
            means = (self._group.mean(self._sums) / self.log_every).tolist()
            self._check_loss(means[0], self.log_every)
            self.history.append([self.step, *means])
            self._sums.zero_()
            self._check_memory()

    @torch.no_grad()
    def _average_weights(self) -> None:
        """Move the average towards the weights; it starts as the weights after the first step."""
        if self.step == 0:
            torch._foreach_copy_(self._averages, self._parameters)
        else:
            torch._foreach_lerp_(self._averages, self._parameters, 1 - self.ema_decay)

    def _check_loss(self, mean: float, steps: int) -> None:
        """Raise UserError if the mean loss of the last steps is that of a lost module."""
        if not math.isfinite(mean):
            self._refuse(f"the loss is {mean} in steps {self.step - steps + 1} to {self.step}")
        if abs(mean) > EXPLODED * self._loss_of_zero:
            self._refuse(
                f"the loss of steps {self.step - steps + 1} to {self.step} is {mean:.3g}, more than {EXPLODED:,} times"
                f" the {self._loss_of_zero:.3g} of a network that always answers 0"
            )

    @property
    def last_rate(self) -> float:
        """The learning rate of the last step."""
        return self._learning_rate(self.step - 1)

    @property
    def sound(self) -> bool:
        """Whether the module has not, since it learned, become worse than one that always answers 0.

        Such a state is not worth the place of a checkpoint from before. The same in all processes of a group.
        """
        return not (self.history and self._is_lost(self.history[-1][1]))

    def _is_lost(self, mean: float) -> bool:
        self._learned = self._learned or any(row[1] < LEARNED * self._loss_of_zero for row in self.history)
        return self._learned and mean > self._loss_of_zero < math.inf

    def _check_memory(self) -> None:
        """Raise UserError if the module has long been worse than one that always answers 0, and once was better."""
        if self.sound:
            return
        better = [step for step, mean, *_ in self.history if not self._is_lost(mean)]
        if better and self.step - better[-1] >= FORGOTTEN:
            self._refuse(
                f"the loss of steps {better[-1] + 1} to {self.step} is {self.history[-1][1]:.3g}, more than the"
                f" {self._loss_of_zero:.3g} of a network that always answers 0, and was less before"
            )

    def _refuse(self, what: str) -> NoReturn:
        clipping = "" if self.max_grad_norm is not None else ", or set max_grad_norm, such as 1.0"
        raise UserError(
            f"training has diverged: {what}. Lower learning_rate (now {self._learning_rate(self.step):g}){clipping};"
            " nothing was written, and the last checkpoint from before is kept"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that :meth:`load_state_dict` needs, in types that load without unpickling code.

        All processes of a group call this at the same step.

        Raises:
            UserError: a weight, or a loss that is not in the history yet, is that of a lost module.
        """
        steps = self.step % self.log_every
        sums = self._group.mean(self._sums) if steps and self._sums is not None else None
        if sums is not None:
            self._check_loss(sums[0].item() / steps, steps)
        weights, averages = self.module.state_dict(), self.ema.state_dict()
        if (name := first_not_finite(weights) or first_not_finite(averages)) is not None:
            self._refuse(f"after step {self.step}, {name} holds values that are not finite")
        optimizer = self.optimizer.state_dict()
        return {
            "step": self.step, "module": weights, "ema": averages, "optimizer": optimizer, "history": self.history,
            "sums": sums,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, to the bit."""
        self.module.load_state_dict(state["module"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history, self._sums = state["step"], state["history"], state["sums"]
