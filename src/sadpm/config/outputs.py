"""Tables and figures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sadpm.kinds.section import Metric, Name, Once, SamplerName, Section, Seed

Cost = Literal["images_seen", "network_calls", "seconds"]


class Grid(Section):
    """A rectangle of cells: the product of its lists."""

    datasets: Once[Name]
    models: Once[Name]
    samplers: Once[SamplerName]
    covariances: Once[Name] = ("fixed",)
    steps: Once[int]
    seeds: Once[Seed] | None = None


class PartialGrid(Section):
    """Further cells of a table; what is not said is as in the table."""

    datasets: Once[Name] | None = None
    models: Once[Name] | None = None
    samplers: Once[SamplerName] | None = None
    covariances: Once[Name] | None = None
    steps: Once[int] | None = None
    seeds: Once[Seed] | None = None


class TableConfig(Grid):
    """A table: one metric over a grid, and further cells in ``also``; ``costs`` are columns beside the names."""

    title: str
    metric: Metric
    also: tuple[PartialGrid, ...] = ()
    costs: Once[Cost] | None = None

    @property
    def grids(self) -> list[Grid]:
        """The table's rectangles of cells."""
        whole = {key: getattr(self, key) for key in Grid.model_fields}
        return [Grid(**whole), *(Grid(**{**whole, **part.model_dump(exclude_none=True)}) for part in self.also)]


class IllustrationFigure(Section):
    """Figure 1: one-dimensional chains whose small errors cancel or add up."""

    kind: Literal["illustration"]
    title: str
    steps: int = Field(100, ge=2)
    chains: int = Field(2000, ge=2)
    error: float = Field(0.1, gt=0)


class SamplesFigure(Section):
    """Figures 2 and 3: samples of several models from the same noise, with real images beside."""

    kind: Literal["samples"]
    title: str
    dataset: Name
    models: Once[Name]
    sampler: SamplerName = "ddpm"
    covariance: Name = "fixed"
    steps: Once[int]
    columns: int = Field(8, ge=1)


class GapFigure(Section):
    """Figure 4: the estimation gap against the step, for several models."""

    kind: Literal["gap"]
    title: str
    dataset: Name
    models: Once[Name]
    start: int = Field(300, ge=2)
    num_images: int = Field(256, ge=1)


class TheoryFigure(Section):
    """The paper's two theorems, and the weights tau, in numbers of trained models (of the first seed)."""

    kind: Literal["theory"]
    title: str
    dataset: Name
    models: Once[Name]
    start: int = Field(300, ge=2)
    num_images: int = Field(64, ge=1)
    lengths: Once[Annotated[int, Field(ge=1)]] = (2, 3, 4)


class QualityFigure(Section):
    """A metric against the number of sampling steps, for several models."""

    kind: Literal["quality"]
    title: str
    metric: Metric
    dataset: Name
    models: Once[Name]
    samplers: Once[SamplerName] = ("ddpm",)
    covariance: Name = "fixed"
    steps: Once[int]


Figure = Annotated[
    IllustrationFigure | SamplesFigure | GapFigure | TheoryFigure | QualityFigure, Field(discriminator="kind")
]
