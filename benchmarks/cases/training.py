"""A step of training, and what of it comes after the gradients, beside the way that most programs go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from cases.subject import Subject
from paired.rounds import Side
from paired.running import Case
from sadpm.cost.plan import TRAINING
from sadpm.networks.execution import Cast
from sadpm.objectives import Objective
from sadpm.objectives.ddpm import DDPM
from sadpm.objectives.sequence_aware import SequenceAware
from sadpm.training.state import TrainingState
from sadpm.training.step import add_gradients, draws_at, loss_of

OURS, USUAL = "sadpm", "usual"
LENGTHS = (1, 2, 3, 4)
"""K; 1 is the baseline."""

FLOATS = 9
"""Read and written at least for each parameter: weight, average and two moments both, the gradient read."""

Step = Callable[[], None]


def cases(subject: Subject) -> Iterator[Case]:
    """Yield a step of each K, all with the same batch, and the update of the weights."""
    dataset = subject.dataset
    per_image = TRAINING * subject.flops
    for length in LENGTHS:
        yield Case(
            f"training/{subject.name}/K{length}",
            f"a training step, K = {length}",
            partial(_steps, subject, objective_of(length)),
            batch=dataset.training.batch_size,
            flops=2 * length * per_image,
            largest=2 * LENGTHS[-1] * per_image,
            precision=subject.precision,
        )
    yield Case(f"update/{subject.name}", "clipping, Adam and average of the weights", partial(_updates, subject))


def objective_of(length: int) -> Objective:
    """Return the objective that shows the network ``length`` levels of each image."""
    return DDPM() if length == 1 else SequenceAware(K=length, lam=1.0)


@contextmanager
def _steps(subject: Subject, objective: Objective, batch: int) -> Iterator[list[Side]]:
    x0 = subject.images(batch)
    flops = TRAINING * subject.flops * batch * objective.images_per_training_image()
    ours, _ = trained(subject, objective, x0)
    usual, _ = trained_as_usual(subject, objective, x0)
    yield [Side(OURS, ours, flops), Side(USUAL, usual, flops)]


def trained(subject: Subject, objective: Objective, x0: Tensor) -> tuple[Step, TrainingState]:
    """Return a step of the stage `train` on images x0 (B, C, H, W), and what it changes."""
    executed = subject.executed(dropout=subject.dataset.network.dropout)
    job, schedule = subject.job(objective), subject.noises()
    state = state_of(subject, executed.graphs)
    at_once = len(x0) // executed.parts * objective.images_per_training_image()
    network = executed.training(state.module, (at_once, *subject.image))
    names: list[str] = []

    def work(x0: Tensor, *drawn: Tensor) -> None:
        state.optimizer.zero_grad()
        draws = dict(zip(names, drawn, strict=True))
        state.learn(add_gradients(job, schedule, network, x0, draws, executed.parts))

    work_of_device = executed.replayed(work)

    def step() -> None:
        mine, draws = draws_at(state.step, job, schedule, x0)
        names[:] = draws
        state.begin()
        work_of_device(mine, *draws.values())
        state.end()

    return step, state


def state_of(subject: Subject, replayed: bool = False) -> TrainingState:
    """Return the state of a training at a constant rate."""
    options = subject.dataset.training.model_dump(include={"learning_rate", "ema_decay", "max_grad_norm", "log_every"})
    return TrainingState(subject.network(), **options, replayed=replayed)


class Usual:
    """torch.optim.Adam as it is by default, and an average of the weights by a loop over the parameters."""

    def __init__(self, subject: Subject) -> None:
        self.training = subject.dataset.training
        self.network = subject.network()
        self.ema = deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.training.learning_rate)
        self.steps = 0

    @torch.no_grad()
    def learn(self) -> None:
        """Take one step by the gradients that are there."""
        if self.training.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.training.max_grad_norm)
        self.optimizer.step()
        decay = self.training.ema_decay if self.steps else 0.0
        for average, parameter in zip(self.ema.parameters(), self.network.parameters(), strict=True):
            average.mul_(decay).add_(parameter, alpha=1 - decay)
        self.steps += 1


def trained_as_usual(subject: Subject, objective: Objective, x0: Tensor) -> tuple[Step, Usual]:
    """Return a step that learns the same, with a forward pass for each level in place of one for all of them."""
    executed, job, schedule = subject.executed(plain=True), subject.job(objective), subject.noises()
    usual = Usual(subject)
    network = Cast(usual.network, executed.autocast)

    def one_by_one(x: Tensor, t: Tensor) -> Tensor:
        parts = zip(x.split(len(x0)), t.split(len(x0)), strict=True)
        return torch.cat([network(*part) for part in parts])

    def step() -> None:
        mine, draws = draws_at(usual.steps, job, schedule, x0)
        usual.optimizer.zero_grad()
        loss_of(job, schedule, one_by_one, mine, draws).total.backward()  # type: ignore[arg-type] (called, no more)
        usual.learn()

    return step, usual


@contextmanager
def _updates(subject: Subject, _: int) -> Iterator[list[Side]]:
    state, usual = state_of(subject), Usual(subject)
    for parameter in [*state.module.parameters(), *usual.network.parameters()]:
        parameter.grad = torch.full_like(parameter, 1e-3)
    losses = torch.zeros(1, device=subject.device)

    def ours() -> None:
        state.begin()
        state.learn(losses)
        state.step += 1

    ours()  # The average begins as a copy.
    usual.learn()
    floats = FLOATS + (subject.dataset.training.max_grad_norm is not None)  # whose norm is known when all are read
    moved = 4 * floats * subject.parameters
    yield [Side(OURS, ours, bytes=moved), Side(USUAL, usual.learn, bytes=moved)]
