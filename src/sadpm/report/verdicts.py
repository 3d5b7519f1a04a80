"""From differences over training seeds to verdicts: reproduced, contradicted, no effect, or undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sadpm.metrics.uncertainty import OverSeeds, holm

Verdict = Literal["reproduced", "contradicted", "no effect", "undecided"]
LEVEL = 0.05
"""Each side of a contrast is tested at this level, so that intervals of `CONFIDENCE` show what is decided."""
CONFIDENCE = 1 - 2 * LEVEL
ONE_SEED = "one training seed: known for these weights only"
UNKNOWN = "no error is known"


@dataclass(frozen=True)
class Judged:
    """A contrast with what it says of the claim.

    Attributes:
        gain: how much better the row is than its rival, in the direction that is claimed, by seed.
        least: the least gain that matters.
        exact: whether the values are no measurements, so that one seed is enough.
    """

    gain: OverSeeds
    least: float
    exact: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean gain, with `CONFIDENCE`; NaN where no error is known."""
        return (self.gain.mean, self.gain.mean) if self.exact else self.gain.interval(CONFIDENCE)

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies beyond the least effect, on which side, or within it on both."""
        low, high = self.interval
        if self.reason or math.isnan(low):
            return "undecided"
        if low > self.least:
            return "reproduced"
        if high < -self.least:
            return "contradicted"
        return "no effect" if -self.least <= low and high <= self.least else "undecided"

    @property
    def reason(self) -> str:
        """Why the method can't be judged, whatever the difference; nothing where it can."""
        if self.exact:
            return ""
        if self.gain.seeds == 1:
            return ONE_SEED
        return UNKNOWN if math.isnan(self.gain.standard_error) else ""

    @property
    def seeds_needed(self) -> int | None:
        """The least number of seeds that would decide it at this mean and deviation, where it is undecided."""
        return self.gain.seeds_needed(CONFIDENCE, self.least) if self.verdict == "undecided" else None

    def p_value(self, side: Literal[1, -1]) -> float:
        """Of "the gain (1), or the loss (-1), is at most the least effect"; NaN where it can't be judged."""
        if self.reason:
            return math.nan
        gain = self.gain if side == 1 else OverSeeds(tuple(-x for x in self.gain.values), self.gain.errors)
        return gain.p_above(self.least)


def overall(judged: Sequence[Judged], holds: Literal["every", "most", "some"]) -> tuple[Verdict, str]:
    """Return the verdict of all contrasts of a claim together, and in words how it came about.

    ``every``: each contrast is tested by itself, for all must be beyond the least effect (intersection-union).
    ``most`` (at least half) and ``some`` (at least one): Holm's correction for several chances.
    """
    verdicts, count = [one.verdict for one in judged], len(judged)
    if holds == "every":
        held, lost, needed = verdicts.count("reproduced"), verdicts.count("contradicted"), count
        contradicted = lost > 0
    else:
        held, lost = (sum(holm([one.p_value(side) for one in judged], LEVEL)) for side in (1, -1))
        needed = 1 if holds == "some" else math.ceil(count / 2)
        contradicted = lost > count - needed
    found = f"{held} of {count} beyond the least effect as claimed, {lost} on the other side"
    if held >= needed:
        return "reproduced", found
    if contradicted:
        return "contradicted", found
    if verdicts.count("no effect") == count:
        return "no effect", "all within the least effect"
    reasons = dict.fromkeys(one.reason for one in judged if one.reason)
    return "undecided", "; ".join([found, *reasons])


def seeds_needed(judged: Sequence[Judged]) -> int | None:
    """Return the largest number of seeds that an undecided contrast needs; None where that can't be said of one."""
    needed = [one.seeds_needed for one in judged if one.verdict == "undecided"]
    known = [number for number in needed if number is not None]
    return max(known) if known and len(known) == len(needed) else None
