"""One comparison from its beginning to its end: as many images at once as time and memory allow, then its rounds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from paired.floors import Rates, waiting_for
from paired.rounds import Side, alternate, compared
from sadpm.networks.section import Precision

OF_BATCH = 0.67
"""A batch is halved until the floor of one round is at most so many times the seconds of a case."""

LONGEST = 4.0
"""A case is left out if even with one image the floor of one round is more than so many times the seconds of a case."""

WARM_UP = 5
"""Times that a GPU does the work before it is timed: work is recorded at the fourth."""

Sides = AbstractContextManager[list[Side]]


@dataclass(frozen=True)
class Case:
    """A comparison.

    Attributes:
        name: kind, data set and what else it is of, with slashes.
        about: what is done once, in words.
        sides: makes the sides for a batch of so many images, the first being the one that others are compared with.
        batch: how many images are shown at once if they fit; None if there is no choice.
        flops: those of one round, all sides together, for one image at once.
        largest: of cases that are to have the same batch, the most flops; 0 if the case is alone.
        precision: of the network.
        clock: what is measured.
        absent: sides that can't be had here, and why.
    """

    name: str
    about: str
    sides: Callable[[int], Sides]
    batch: int | None = None
    flops: int = 0
    largest: int = 0
    precision: Precision = "float32"
    clock: Callable[[], float] = time.perf_counter
    absent: Mapping[str, str] = field(default_factory=dict)


def run(case: Case, rates: Rates, device: torch.device, seconds: float, left: float) -> dict[str, Any]:
    """Return what a case has found, or why it was left out.

    Args:
        case: the comparison.
        rates: what the device can do at most.
        device: what the sides work on.
        seconds: that its rounds may take.
        left: seconds that all cases together may still take.
    """
    facts = {"name": case.name, "about": case.about, "precision": case.precision}
    rate = rates.flops[case.precision]
    a_round = case.flops / rate
    batch = affordable(case.batch or 1, max(case.flops, case.largest) / rate, OF_BATCH * seconds)
    if a_round > LONGEST * seconds:
        return {**facts, "left_out": f"one round of one image takes at least {a_round:.3g} s"}
    if left < 2 * a_round * batch or left <= 0:
        return {**facts, "left_out": "no time was left"}
    while True:
        try:
            return {**facts, "batch": case.batch and batch, **_measured(case, batch, rates, device, seconds)}
        except torch.OutOfMemoryError:
            if batch == 1:
                return {**facts, "left_out": "one image is too much for the GPU's memory"}
        finally:
            _forget(device)
        batch //= 2


def _forget(device: torch.device) -> None:
    """Free what lies in the GPU's memory, and what was compiled: torch compiles one function so many times, no more."""
    if device.type == "cuda":
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()


def affordable(batch: int, a_round: float, seconds: float) -> int:
    """Return a batch, halved until a round, which takes ``a_round`` for one image, is not above so many seconds."""
    while batch > 1 and batch * a_round > seconds:
        batch //= 2
    return batch


def _measured(case: Case, batch: int, rates: Rates, device: torch.device, seconds: float) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    with case.sides(batch) as sides:
        rounds = alternate(
            sides, seconds, clock=case.clock, finish=waiting_for(device), warm_up=WARM_UP if on_gpu else 0
        )
        floors = {side.name: rates.floor(side, case.precision) for side in sides}
        work = {side.name: {"flops": side.flops, "bytes": side.bytes} for side in sides}
    found = []
    for name, result in compared(rounds).items():
        floor = floors[name]
        reached = None if floor is None else floor / result["seconds"]["median"]
        found.append({"side": name, **work[name], **result, "floor": floor, "reached": reached})
    return {"sides": found, "absent": dict(case.absent)}
