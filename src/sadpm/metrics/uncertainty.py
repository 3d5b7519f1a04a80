"""How sure a number is: sampling errors from influence values, and what several training seeds say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

MOST_SEEDS = 1000
"""Where more seeds than these would be needed, no number of them is named."""
MOST_SAMPLES = 1000
"""Where more than so many times the samples would be needed, no number of them is named."""


def standard_error(influence: ArrayLike) -> float:
    """Return the sampling error of a metric from the influence values (n,) of its n samples (delta method).

    For the difference of two metrics whose i-th samples share their noise, give the difference of the two vectors:
    what the pair has in common cancels.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    values = np.asarray(influence, dtype=np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"a standard error needs two or more finite influence values, not shape {values.shape}")
    return float(values.std(ddof=1) / math.sqrt(values.size))


@dataclass(frozen=True)
class OverSeeds:
    """A number, often a paired difference, measured for several training seeds.

    Attributes:
        values: one for each seed.
        errors: the sampling error of each, NaN where it is not known.
    """

    values: tuple[float, ...]
    errors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.errors) or not all(map(math.isfinite, self.values)):
            raise ValueError("give one finite value and one sampling error for each of one or more seeds")

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Sample standard deviation over seeds (divisor S - 1), sampling errors included; NaN for one seed."""
        return float(np.std(self.values, ddof=1)) if self.seeds > 1 else math.nan

    @property
    def sampling(self) -> float:
        """Root mean square of the sampling errors; NaN where one is not known."""
        return float(np.sqrt(np.mean(np.square(self.errors))))

    @property
    def between(self) -> float:
        """The part of the deviation that sampling does not explain (component of variance), 0 where it explains all.

        NaN for one seed, and where a sampling error is not known.
        """
        rest = self.deviation**2 - self.sampling**2
        return rest if math.isnan(rest) else math.sqrt(max(0.0, rest))

    @property
    def standard_error(self) -> float:
        """Error of the mean: over seeds, or for one seed that of these weights alone."""
        return self.deviation / math.sqrt(self.seeds) if self.seeds > 1 else self.errors[0]

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the two-sided interval of the mean: Student's t over seeds, normal for the sampling error of one."""
        half = _quantile(0.5 + confidence / 2, self.seeds - 1) * self.standard_error
        return self.mean - half, self.mean + half

    def seeds_needed(self, confidence: float = 0.95, bound: float = 0.0) -> int | None:
        """Return the least number of seeds whose interval of this mean and deviation would hold neither ± bound.

        None where the deviation is not known (one seed), the mean lies at a bound, or more than `MOST_SEEDS` would be
        needed.
        """
        distance = abs(abs(self.mean) - bound)
        if self.seeds < 2 or distance == 0:
            return None
        tail = 0.5 + confidence / 2
        enough = (
            seeds
            for seeds in range(2, MOST_SEEDS + 1)
            if _quantile(tail, seeds - 1) * self.deviation < distance * math.sqrt(seeds)
        )
        return next(enough, None)

    def more_samples(self, confidence: float = 0.95, bound: float = 0.0) -> float | None:
        """Return how many times as many samples would do, in place of seeds: the interval would hold neither ± bound.

        None where the split of the deviation is not known, what lies between seeds is too much by itself, or more than
        `MOST_SAMPLES` times as many would be needed.
        """
        if math.isnan(self.between):
            return None
        quantile = _quantile(0.5 + confidence / 2, self.seeds - 1)
        allowed = self.seeds * (abs(abs(self.mean) - bound) / quantile) ** 2 - self.between**2
        by_sampling = self.deviation**2 - self.between**2
        return by_sampling / allowed if by_sampling < MOST_SAMPLES * allowed else None

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value of "the true mean is at most the bound", small where it lies clearly above."""
        from scipy.special import ndtr, stdtr  # type: ignore[import-untyped]

        if not self.standard_error > 0:
            return math.nan if math.isnan(self.standard_error) else float(self.mean <= bound)
        score = (self.mean - bound) / self.standard_error
        return float(1.0 - (stdtr(self.seeds - 1, score) if self.seeds > 1 else ndtr(score)))


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Return which of several hypotheses can be rejected together at a level (Holm 1979); NaN never is."""
    order = sorted(range(len(p_values)), key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])
    rejected = [False] * len(p_values)
    for rank, index in enumerate(order):
        if not p_values[index] <= level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _quantile(probability: float, degrees_of_freedom: int) -> float:
    """Student's t, or the normal where there is no degree of freedom."""
    from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(degrees_of_freedom, probability) if degrees_of_freedom else ndtri(probability))
