"""Tables and figures."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from sadpm.config.grid import Cell, GapCurve
from sadpm.diffusion.section import ScheduleConfig
from sadpm.kinds.section import Metric, Name, Once, SamplerName, Section, Seed

NOTHING_LEFT = "level {} of the schedule 'jsd' keeps nothing of the image, so that an error there has no bound"

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

    @cached_property
    def grids(self) -> list[Grid]:
        """The table's rectangles of cells."""
        whole = {key: getattr(self, key) for key in Grid.model_fields}
        return [Grid(**whole), *(Grid(**{**whole, **part.model_dump(exclude_none=True)}) for part in self.also)]


class FigureSection(Section):
    """What a figure says of itself, so that nobody has to know which kinds there are."""

    kind: str
    title: str

    shows: ClassVar[frozenset[Literal["data", "samples", "scores", "details", "curves", "theorems"]]] = frozenset()
    """What it is drawn from: images of its data set, and of its cells or curves; details are those behind scores."""

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
        """The models whose chains it follows, where the experiment has these seeds."""
        return []

    def objections(self, schedule: ScheduleConfig) -> list[str]:
        """What the forward process rules out: lines that go on from the figure's place in the YAML."""
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


class MemorisedFigure(FigureSection):
    """Samples of one cell over the training images nearest to them, those first that are most like copies."""

    kind: Literal["memorised"]
    dataset: Name
    model: Name
    sampler: SamplerName = "ddpm"
    covariance: Name = "fixed"
    steps: int
    columns: int = Field(8, ge=1)

    shows = frozenset({"data", "samples", "scores", "details"})

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The one that finds the training images."""
        return ("memorised",)

    @property
    def images(self) -> dict[str, int]:
        """A column has one of each."""
        return {"columns": self.columns}

    def cells(self, seeds: tuple[Seed, ...]) -> list[Cell]:
        """Of the first seed."""
        return [Cell(self.dataset, self.model, seeds[0], self.sampler, self.covariance, self.steps)]


class ChainFigure(FigureSection):
    """A figure of models along a chain of noise predictions on real images."""

    dataset: Name
    models: Once[Name]
    start: int = Field(300, ge=2)
    num_images: int = Field(256, ge=1)

    @property
    def images(self) -> dict[str, int]:
        """Those whose chains are followed."""
        return {"num_images": self.num_images}

    @property
    def levels(self) -> dict[str, tuple[int, ...]]:
        """Levels and lengths that N bounds, by the key that names them."""
        return {"start": (self.start,)}

    def objections(self, schedule: ScheduleConfig) -> list[str]:
        """Levels above N."""
        total = schedule.num_train_timesteps
        above = [(key, number) for key, numbers in self.levels.items() for number in numbers if number > total]
        return [f".{key}: {number} is above schedule.num_train_timesteps ({total})" for key, number in above]


class GapFigure(ChainFigure):
    """Figure 4: the estimation gap against the step, for several models."""

    kind: Literal["gap"]
    seeds: Once[Seed] | None = None

    shows = frozenset({"curves"})

    def objections(self, schedule: ScheduleConfig) -> list[str]:
        """Further, a chain that starts where nothing is left of the image."""
        if schedule.kind == "jsd" and self.start == schedule.num_train_timesteps:
            return [f": {NOTHING_LEFT.format(self.start)}; start below it"]
        return super().objections(schedule)

    def curves(self, seeds: tuple[Seed, ...]) -> list[GapCurve]:
        """One for each model and seed."""
        pairs = product(self.models, self.seeds or seeds)
        return [GapCurve(self.dataset, model, seed, self.start, self.num_images) for model, seed in pairs]


class TheoryFigure(ChainFigure):
    """The paper's two theorems, and the weights tau, in numbers of trained models."""

    kind: Literal["theory"]
    num_images: int = Field(64, ge=1)
    lengths: Once[Annotated[int, Field(ge=1)]] = (2, 3, 4)

    shows = frozenset({"theorems"})

    @property
    def levels(self) -> dict[str, tuple[int, ...]]:
        """The windows' lengths as well."""
        return {"start": (self.start,), "lengths": self.lengths}

    def objections(self, schedule: ScheduleConfig) -> list[str]:
        """Further, a forward process at whose end nothing is left of the image."""
        if schedule.kind == "jsd":
            return [f": {NOTHING_LEFT.format(schedule.num_train_timesteps)}; choose another schedule"]
        return super().objections(schedule)

    def curves(self, seeds: tuple[Seed, ...]) -> list[GapCurve]:
        """Of the first seed: each model has a panel's worth of lines."""
        return [GapCurve(self.dataset, model, seeds[0], self.start, self.num_images) for model in self.models]


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


Figure = Annotated[
    IllustrationFigure | SamplesFigure | MemorisedFigure | GapFigure | TheoryFigure | QualityFigure,
    Field(discriminator="kind"),
]
