"""Tables and figures."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sadpm.config.grid import Cell, GapCurve
from sadpm.kinds.section import Metric, Name, Once, SamplerName, Section, Seed


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
    """A table: one metric over a grid, and further cells in ``also``."""

    title: str
    metric: Metric
    also: tuple[PartialGrid, ...] = ()

    @cached_property
    def grids(self) -> list[Grid]:
        """The table's rectangles of cells."""
        whole = {key: getattr(self, key) for key in Grid.model_fields}
        return [Grid(**whole), *(Grid(**{**whole, **part.model_dump(exclude_none=True)}) for part in self.also)]


class FigureSection(Section):
    """What a figure says of itself, so that nobody has to know which kinds there are."""

    kind: str
    title: str

    shows: ClassVar[frozenset[Literal["data", "samples", "scores", "curves"]]] = frozenset()
    """What it is drawn from: images of its data set, and of its cells or curves."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics whose scores it shows."""
        return ()

    @property
    def images(self) -> dict[str, int]:
        """How many images it takes of each set that it shows or measures, by the key that says so."""
        return {}

    def is_about(self, dataset: Name) -> bool:
        """Tell whether it shows or measures anything of a data set."""
        return dataset == getattr(self, "dataset", None)

    def cells(self, seeds: tuple[Seed, ...]) -> list[Cell]:
        """The cells whose samples or scores it shows, where the experiment has these seeds."""
        return []

    def curves(self, seeds: tuple[Seed, ...]) -> list[GapCurve]:
        """The gap curves that it shows, where the experiment has these seeds."""
        return []


class IllustrationFigure(FigureSection):
    """Figure 1: one-dimensional chains whose small errors cancel or add up."""

    kind: Literal["illustration"]
    steps: int = Field(100, ge=2)
    chains: int = Field(2000, ge=2)
    error: float = Field(0.1, gt=0)


class SamplesFigure(FigureSection):
    """Figures 2 and 3: samples of several models from the same noise, with real images beside."""

    kind: Literal["samples"]
    dataset: Name
    models: Once[Name]
    sampler: SamplerName = "ddpm"
    covariance: Name = "fixed"
    steps: Once[int]
    columns: int = Field(8, ge=1)

    shows = frozenset({"data", "samples"})

    @property
    def images(self) -> dict[str, int]:
        """A column has one of each."""
        return {"columns": self.columns}

    def cells(self, seeds: tuple[Seed, ...]) -> list[Cell]:
        """Of the first seed."""
        axes = ((self.dataset,), self.models, seeds[:1], (self.sampler,), (self.covariance,), self.steps)
        return [Cell(*values) for values in product(*axes)]


class GapFigure(FigureSection):
    """Figure 4: the estimation gap against the step, for several models."""

    kind: Literal["gap"]
    dataset: Name
    models: Once[Name]
    start: int = Field(300, ge=2)
    num_images: int = Field(256, ge=1)

    shows = frozenset({"curves"})

    @property
    def images(self) -> dict[str, int]:
        """Those whose chains are followed."""
        return {"num_images": self.num_images}

    def curves(self, seeds: tuple[Seed, ...]) -> list[GapCurve]:
        """One for each model and seed."""
        pairs = product(self.models, seeds)
        return [GapCurve(self.dataset, model, seed, self.start, self.num_images) for model, seed in pairs]


class QualityFigure(FigureSection):
    """A metric against the number of sampling steps, for several models."""

    kind: Literal["quality"]
    metric: Metric
    dataset: Name
    models: Once[Name]
    samplers: Once[SamplerName] = ("ddpm",)
    covariance: Name = "fixed"
    steps: Once[int]

    shows = frozenset({"scores"})

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The one."""
        return (self.metric,)

    def cells(self, seeds: tuple[Seed, ...]) -> list[Cell]:
        """Of all seeds."""
        axes = ((self.dataset,), self.models, seeds, self.samplers, (self.covariance,), self.steps)
        return [Cell(*values) for values in product(*axes)]


Figure = Annotated[IllustrationFigure | SamplesFigure | GapFigure | QualityFigure, Field(discriminator="kind")]
