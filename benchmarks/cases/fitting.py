"""A step of fitting covariances: NPR alone, all that share its pass, and each that needs a pass of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from cases.subject import Subject
from paired.rounds import Side
from paired.running import Case
from sadpm.cost.flops import head_cost
from sadpm.cost.plan import TRAINING
from sadpm.covariances import COVARIANCES, Covariance, Fitting
from sadpm.stages.fit_covariances import fit_step

FIRST = "npr"

Fit = dict[str, Covariance]


def cases(subject: Subject) -> Iterator[Case]:
    """Yield one case: a step of each fit."""
    yield Case(
        f"fitting/{subject.name}",
        "a step of fitting",
        partial(_fits, subject),
        batch=subject.dataset.heads.batch_size,
        flops=sum(flops_of(subject, fit) for fit in fits()),
        precision=subject.precision,
    )


def fits() -> list[Fit]:
    """Return what is fitted together: NPR alone first."""
    kinds = {name: kind() for name, kind in COVARIANCES.built_in.items() if kind.is_fitted}
    together = {name: kind for name, kind in kinds.items() if kind.shares_a_pass}
    return [{FIRST: kinds[FIRST]}, together, *({name: kind} for name, kind in kinds.items() if name not in together)]


def flops_of(subject: Subject, fit: Fit) -> int:
    """Return the operations of a step for one image, as the plan reckons them."""
    channels, size, _ = subject.image
    head = head_cost(subject.dataset.network, size, channels, subject.dataset.heads.kind).flops
    passes = 1 + any(kind.needs_hessian for kind in fit.values())
    return passes * subject.flops + TRAINING * head * sum(kind.heads for kind in fit.values())


@contextmanager
def _fits(subject: Subject, batch: int) -> Iterator[list[Side]]:
    yield [Side("+".join(fit), fitted(subject, fit, batch), batch * flops_of(subject, fit)) for fit in fits()]


def fitted(subject: Subject, fit: Fit, batch: int) -> Callable[[], object]:
    """Return a step of the stage `fit_covariances`."""
    unet, heads = subject.frozen(), subject.dataset.heads
    unet.train(heads.backbone_dropout)
    needs_hessian = any(kind.needs_hessian for kind in fit.values())
    fitting = Fitting(unet, subject.noises(), heads, 0, subject.device, needs_hessian)
    estimates = {name: kind.estimate(fitting) for name, kind in fit.items()}
    within = torch.enable_grad if needs_hessian else torch.no_grad
    see = subject.executed().seeing(unet, batch, within, gradients=needs_hessian, times=batch)
    x0, done = subject.images(batch), 0

    def step() -> None:
        nonlocal done
        fit_step(done, fitting, estimates, x0, see)
        done += 1

    return step
