"""The sides of a comparison, timed in turn, and what the rounds say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST = 0.05
"""Seconds: what is faster is done several times for one measurement."""

MOST = 20
"""Rounds after which no more are needed."""

Round = Mapping[str, float]
"""Seconds of one time doing the work, by side."""


@dataclass(frozen=True)
class Side:
    """One way of doing the work.

    Attributes:
        name: of the side.
        work: does it once.
        flops: operations of the matrix products in it; 0 where they are not what it takes.
        bytes: that have to be read and written at least; 0 where that is not what it takes.
    """

    name: str
    work: Callable[[], object]
    flops: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return them for one value or more."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high)


def alternate(
    sides: Sequence[Side],
    seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    wall: Callable[[], float] = time.perf_counter,
    finish: Callable[[], object] = lambda: None,
    warm_up: int = 0,
) -> list[Round]:
    """Time the sides round after round, every second round in the opposite order.

    The first round says how often a side must be done to be timed, and is left out of the result if there is time for
    another one.

    Args:
        sides: one or more.
        seconds: by the wall, after which no other round is begun.
        clock: what is measured.
        wall: what the budget is measured by.
        finish: waits for what the device was asked to do.
        warm_up: how often each side is done before anything is timed.
    """
    for side in sides:
        for _ in range(warm_up):
            side.work()

    def timed(side: Side, calls: int) -> float:
        finish()
        begun = clock()
        for _ in range(calls):
            side.work()
        finish()
        return (clock() - begun) / calls

    begun = wall()
    first = {side.name: timed(side, 1) for side in sides}
    fastest = min(first.values())
    calls = math.ceil(LEAST / fastest) if 0 < fastest < LEAST else 1
    rounds: list[Round] = []
    while len(rounds) < MOST and wall() - begun < seconds:
        in_turn = sides if len(rounds) % 2 == 0 else sides[::-1]
        found = {side.name: timed(side, calls) for side in in_turn}
        rounds.append({side.name: found[side.name] for side in sides})
    return rounds or [first]


def compared(rounds: Sequence[Round]) -> dict[str, dict[str, Any]]:
    """Return by side its seconds, and how many times those of the first side they are, round by round."""
    first = next(iter(rounds[0]))
    result = {}
    for name in rounds[0]:
        result[name] = {
            "seconds": vars(Spread.of([times[name] for times in rounds])),
            "times_the_first": vars(Spread.of([times[name] / times[first] for times in rounds])),
            "rounds": [times[name] for times in rounds],
        }
    return result
