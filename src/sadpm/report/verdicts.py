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
IMPORTED = "weights read from a checkpoint: known for these weights only"
UNKNOWN = "no error is known"


@dataclass(frozen=True)
class Judged:
    """A contrast with what it says of the claim.

    Attributes:
        gain: how much better the row is than its rival, in the direction that is claimed, by seed.
        bounds: below the first the claim is contradicted, above the second it holds.
        exact: whether the values are no measurements, so that one seed is enough.
        imported: whether a model was not trained here: its seeds are those of the same weights' samples.
    """

    gain: OverSeeds
    bounds: tuple[float, float]
    exact: bool = False
    imported: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean gain, with `CONFIDENCE`; NaN where no error is known."""
        return (self.gain.mean, self.gain.mean) if self.exact else self.gain.interval(CONFIDENCE)

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies above both bounds, below both, or within them."""
        (low, high), (lost, held) = self.interval, self.bounds
        if self.reason or math.isnan(low):
            return "undecided"
        if low > held:
            return "reproduced"
        if high < lost:
            return "contradicted"
        return "no effect" if lost <= low and high <= held and lost < held else "undecided"

    @property
    def reason(self) -> str:
        """Why the method can't be judged, whatever the difference; nothing where it can."""
        if self.exact:
            return ""
        if self.imported:
            return IMPORTED
        if self.gain.seeds == 1:
            return ONE_SEED
        return UNKNOWN if math.isnan(self.gain.standard_error) else ""

    @property
    def seeds_needed(self) -> int | None:
        """The least number of seeds that would decide it at this mean and deviation, where it is undecided."""
        return self._centred[0].seeds_needed(CONFIDENCE, self._centred[1]) if self._is_open else None

    @property
    def more_samples(self) -> float | None:
        """How many times as many samples would decide it with as many seeds; None where seeds alone can."""
        return self._centred[0].more_samples(CONFIDENCE, self._centred[1]) if self._is_open else None

    @property
    def _is_open(self) -> bool:
        """Whether it is undecided, and more of the same would decide it."""
        return self.verdict == "undecided" and not self.reason

    @property
    def _centred(self) -> tuple[OverSeeds, float]:
        """The gain seen from the middle of the bounds, and how far they lie from there."""
        lost, held = self.bounds
        centred = tuple(value - (lost + held) / 2 for value in self.gain.values)
        return OverSeeds(centred, self.gain.errors), (held - lost) / 2

    def p_value(self, side: Literal[1, -1]) -> float:
        """Of "the gain does not lie above both bounds (1), or below both (-1)"; NaN where it can't be judged."""
        if self.reason:
            return math.nan
        if self.exact:
            return float(self.verdict != ("reproduced" if side == 1 else "contradicted"))
        gain = OverSeeds(tuple(side * value for value in self.gain.values), self.gain.errors)
        return gain.p_above(self.bounds[1] if side == 1 else -self.bounds[0])


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
    found = f"{held} of {count} as claimed, {lost} the other way"
    if within := verdicts.count("no effect"):
        found += f", {within} within the least effect"
    if held >= needed:
        return "reproduced", found
    if contradicted:
        return "contradicted", found
    if verdicts.count("no effect") == count:
        return "no effect", "all within the least effect"
    reasons = dict.fromkeys(one.reason for one in judged if one.reason)
    return "undecided", "; ".join([found, *reasons])


def most_needed(needed: Sequence[int | None]) -> int | None:
    """Return the largest of what each undecided contrast needs; None where that can't be said of one."""
    known = [number for number in needed if number is not None]
    return max(known) if known and len(known) == len(needed) else None
