"""Claims: what the paper, or a user, says of the numbers, as data that can be judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, Self, cast

from pydantic import Field, model_validator

from sadpm.config.grid import Cell
from sadpm.kinds.section import Metric, Name, Once, SamplerName, Section, Seed

GAPS = ("gap", "official_gap")
SEEN = "images_seen"
Measured = Metric | Literal["gap", "official_gap", "images_seen"]


@dataclass(frozen=True)
class Contrast:
    """One row of a table against another: a model against its rival, over the training seeds that both have.

    ``pairs`` are their cells, one pair for each seed. Where no samples are compared, the cells say no more than which
    models, and sampler, covariance and steps are empty.
    """

    comparison: str
    pairs: tuple[tuple[Cell, Cell], ...]

    @property
    def row(self) -> Cell:
        """What the claim is about, of the first seed."""
        return self.pairs[0][0]

    @property
    def rival(self) -> Cell:
        """What it is compared with, of the first seed."""
        return self.pairs[0][1]


class ClaimConfig(Section):
    """Some models are better (or worse) than their rivals by more than an effect that nobody cares about.

    Or, if said so, by more than a share of the rival's mean, or as good as their rivals but for that effect. A claim
    is judged once for each rival: the paper compares at equal optimiser steps, a fair comparison is at equal compute.
    """

    words: str
    metric: Measured
    datasets: Once[Name]
    models: Once[Name]
    against: Annotated[dict[str, Name], Field(min_length=1)]
    samplers: Once[SamplerName] = ("ddpm",)
    covariances: Once[Name] = ("fixed",)
    steps: Once[int] | None = None
    against_steps: int | None = None
    seeds: Once[Seed] | None = None
    figure: Name | None = None
    expect: Literal["better", "worse", "as good"] = "better"
    by: float | None = Field(None, gt=0)
    holds: Literal["every", "most", "some"] = "every"
    least_effect: float = Field(0.01, ge=0)

    @property
    def is_about_samples(self) -> bool:
        """Whether scores of samples are compared, and not gaps or costs of training."""
        return self.metric != SEEN and self.metric not in GAPS

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics whose scores it compares."""
        return (cast(Metric, self.metric),) if self.is_about_samples else ()

    @model_validator(mode="after")
    def _keys_fit_the_metric(self) -> Self:
        if self.is_about_samples and self.steps is None:
            raise ValueError(f"steps: say at which numbers of sampling steps {self.metric!r} is compared")
        if (self.metric in GAPS) != (self.figure is not None):
            raise ValueError("figure: names the gap figure of which gap and official_gap compare the curves")
        if self.by is not None and self.expect == "as good":
            raise ValueError("by: says how much better or worse, which 'as good' is not; leave one of them out")
        if rivals := [rival for rival in self.against.values() if rival in self.models and self.against_steps is None]:
            raise ValueError(f"against: {rivals[0]!r} would be compared with itself")
        return self

    def bounds(self, rival: float) -> tuple[float, float]:
        """Return below which gain it is contradicted, and above which it holds, where the rivals' mean is this."""
        least = self.least_effect * abs(rival)
        if self.by is not None:
            return (self.by * abs(rival),) * 2
        return (-least, -least if self.expect == "as good" else least)

    def contrasts(self, seeds: tuple[Seed, ...]) -> Iterator[Contrast]:
        """Yield all that is compared, where the experiment has these seeds."""
        seeds, steps = self.seeds or seeds, self.steps or ()
        settings = [*product(self.samplers, self.covariances, steps)] if self.is_about_samples else [("", "", 0)]
        for (comparison, rival), dataset, model in product(self.against.items(), self.datasets, self.models):
            for sampler, covariance, number in settings:
                others = self.against_steps or number
                pairs = [
                    (
                        Cell(dataset, model, seed, sampler, covariance, number),
                        Cell(dataset, rival, seed, sampler, covariance, others),
                    )
                    for seed in seeds
                ]
                yield Contrast(comparison, tuple(pairs))

    def cells(self, seeds: tuple[Seed, ...]) -> list[Cell]:
        """The cells whose scores it compares, each once."""
        if not self.is_about_samples:
            return []
        pairs = (pair for contrast in self.contrasts(seeds) for pair in contrast.pairs)
        return list(dict.fromkeys(cell for pair in pairs for cell in pair))
