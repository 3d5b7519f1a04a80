"""What each job is told, by value: exactly the part of the configuration on which its result depends.

The workflow passes a job as one JSON argument, and the stage parses it with the same class. So a changed value re-runs
the jobs whose argument changed and what follows from them, and a logged command can be run again by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from sadpm.config.claims import ClaimConfig
from sadpm.config.datasets import HeadsConfig, NetworkConfig, TrainingConfig
from sadpm.config.experiment import Config
from sadpm.config.grid import Cell, GapCurve, all_cells, fit_of, metrics_of, table_cells
from sadpm.config.models import CheckpointConfig
from sadpm.config.outputs import Cost, Figure
from sadpm.config.sampling import RecipeConfig
from sadpm.covariances import CovarianceSection
from sadpm.diffusion.section import ScheduleConfig
from sadpm.extractors import ExtractorSection
from sadpm.kinds.section import Metric, Name, SamplesPerJob, Section
from sadpm.networks.section import ExecutionConfig, JobPrecision
from sadpm.objectives import ObjectiveSection
from sadpm.samplers import SamplerSection
from sadpm.sources import SourceSection


class DataJob(Section):
    """Make the one uint8 array of a data set."""

    source: SourceSection


class ExtractorJob(Section):
    """Train what looks at the samples."""

    extractor: ExtractorSection


class ReferenceJob(Section):
    """Measure the feature statistics of the real images, or import published ones."""

    extractor: ExtractorSection
    metrics: tuple[Metric, ...] = ("fd",)
    published: str | None = None


class TrainJob(Section):
    """Train one noise predictor. ``training`` already contains the model's multipliers."""

    schedule: ScheduleConfig
    network: NetworkConfig
    training: TrainingConfig
    objective: ObjectiveSection
    seed: int
    precision: JobPrecision = "float32"

    @property
    def images_seen(self) -> int:
        """How many noisy images the network sees: what a training costs, whatever the machine."""
        return self.training.steps * self.training.batch_size * self.objective.images_per_training_image()


class ImportJob(Section):
    """Read one noise predictor from a released checkpoint, which must agree with the forward process."""

    schedule: ScheduleConfig
    checkpoint: CheckpointConfig
    network: NetworkConfig


class CovarianceJob(Section):
    """Fit covariances to one noise predictor in one pass; their names are those under which they are kept."""

    schedule: ScheduleConfig
    heads: HeadsConfig
    covariances: dict[Name, CovarianceSection]
    seed: int
    precision: JobPrecision = "float32"


class Chain(Section):
    """How the samples of one cell are drawn; ``fit`` is the name under which the covariance's estimate is kept."""

    cell: Cell
    sampler: SamplerSection
    covariance: CovarianceSection
    fit: Name | None = None
    recipe: RecipeConfig

    @property
    def steps(self) -> int:
        """How many sampling steps."""
        return self.cell.steps


class SampleJob(Section):
    """Draw the samples of several cells of one model, or the i-th of n parts of each cell's: ``shard`` is (i, n)."""

    schedule: ScheduleConfig
    chains: tuple[Chain, ...]
    num_samples: int
    batch_size: int
    seed: int
    shard: tuple[int, int] = (0, 1)
    precision: JobPrecision = "float32"

    def batches(self) -> list[range]:
        """Return which images are drawn at once, the same whatever n, because rounding depends on the company."""
        starts = range(0, self.num_samples, self.batch_size)
        shard, shards = self.shard
        mine = starts[len(starts) * shard // shards : len(starts) * (shard + 1) // shards]
        return [range(start, min(start + self.batch_size, self.num_samples)) for start in mine]


class ScoreJob(Section):
    """Score the samples of a :class:`SampleJob`; ``recipes`` are the names of the cells' recipes."""

    cells: tuple[Cell, ...]
    recipes: tuple[str, ...]
    extractor: ExtractorSection
    metrics: tuple[Metric, ...] = ("fd",)


class GapJob(Section):
    """Measure the estimation gap of one model."""

    schedule: ScheduleConfig
    start: int
    num_images: int
    seed: int


class TheoryJob(GapJob):
    """Measure the paper's two theorems for one model: the chain of a gap curve, and windows of some lengths K."""

    lengths: tuple[int, ...]


class TableJob(Section):
    """Collect scores into a table.

    ``labels[axis][name]`` is what is printed for a model, sampler or covariance. ``images_seen[dataset][model]`` is
    what training cost, absent where the model is read from a checkpoint.
    """

    name: str
    title: str
    metric: Metric
    cells: tuple[Cell, ...]
    labels: dict[str, dict[str, str]]
    published: str | None = None
    costs: tuple[Cost, ...] = ()
    images_seen: dict[str, dict[str, int]] = Field(default_factory=dict)


class FigureJob(Section):
    """Draw a figure from samples, scores, gap curves or the theorems' numbers, or tabulate the latter."""

    name: str
    figure: Figure
    cells: tuple[Cell, ...]
    curves: tuple[GapCurve, ...]
    labels: dict[str, dict[str, str]]


class PageJob(Section):
    """Show an experiment on one page.

    ``root`` is the folder of results as Snakemake sees it, ``theory`` names CSV files in it, and ``runs`` are models as
    ``<dataset>/<model>/seed<k>``.
    """

    experiment: Name
    root: str
    tables: tuple[Name, ...]
    figures: tuple[Name, ...]
    runs: tuple[str, ...]
    samples_per_job: SamplesPerJob
    claims: bool = False
    theory: tuple[str, ...] = ()


class ClaimsJob(Section):
    """Judge claims.

    ``curves`` are those of gap figures, ``images_seen[dataset][model]`` the costs of training, ``imported`` the data
    sets and models that are not trained here.
    """

    claims: dict[Name, ClaimConfig]
    seeds: tuple[int, ...]
    curves: dict[Name, tuple[GapCurve, ...]]
    images_seen: dict[str, dict[str, int]]
    imported: tuple[tuple[str, str], ...] = ()


class ArchiveJob(Section):
    """Pack the tables and figures with all that says how they were made."""

    config: Config


RULES: dict[str, type[Section]] = {
    "prepare_data": DataJob,
    "train_extractor": ExtractorJob,
    "measure_reference": ReferenceJob,
    "import_model": ImportJob,
    "train": TrainJob,
    "fit_covariances": CovarianceJob,
    "sample": SampleJob,
    "sample_part": SampleJob,
    "join_parts": SampleJob,
    "score": ScoreJob,
    "measure_gap": GapJob,
    "measure_theory": TheoryJob,
    "table": TableJob,
    "theory_table": FigureJob,
    "figure": FigureJob,
    "claims": ClaimsJob,
    "report": PageJob,
    "archive": ArchiveJob,
}
"""What the jobs of each rule are told, in the order of the data flow."""


def train_job(config: Config, dataset: str, model: str, seed: int) -> TrainJob:
    """The training of one model of the grid."""
    entry, training = config.models[model], config.datasets[dataset].training
    scaled = {
        "batch_size": training.batch_size * entry.batch_multiplier,
        "steps": training.steps * entry.steps_multiplier,
    }
    return TrainJob(
        schedule=config.schedule,
        network=config.datasets[dataset].network,
        training=training.model_copy(update=scaled),
        objective=entry.objective,
        seed=seed,
        precision=execution_of(config, dataset).precision,
    )


def execution_of(config: Config, dataset: str) -> ExecutionConfig:
    """How the networks of a data set are run: as the experiment says, and the data set where it says more."""
    return config.execution.changed_by(config.datasets[dataset].execution)


def import_job(config: Config, dataset: str, model: str) -> ImportJob:
    """The import of a model that the grid takes from a checkpoint, the same for all seeds."""
    return ImportJob(
        schedule=config.schedule,
        checkpoint=config.models[model].checkpoint[dataset],
        network=config.datasets[dataset].network,
    )


def covariance_job(config: Config, dataset: str, seed: int, fits: Iterable[str]) -> CovarianceJob:
    """The fitting of some covariances, which are named, in one pass."""
    return CovarianceJob(
        schedule=config.schedule,
        heads=config.datasets[dataset].heads,
        covariances={name: config.covariances[name].as_fitted() for name in fits},
        seed=seed,
        precision=execution_of(config, dataset).precision,
    )


def sample_job(config: Config, cells: Sequence[Cell], shard: tuple[int, int] = (0, 1)) -> SampleJob:
    """The sampling of several cells of one run, or of the i-th of n parts of each."""
    dataset = config.datasets[cells[0].dataset]
    return SampleJob(
        schedule=config.schedule,
        chains=tuple(_chain(config, cell) for cell in cells),
        num_samples=dataset.num_samples,
        batch_size=dataset.sampling_batch_size,
        seed=cells[0].seed,
        shard=shard,
        precision=execution_of(config, cells[0].dataset).precision,
    )


def score_job(config: Config, cells: Sequence[Cell]) -> ScoreJob:
    """The scoring of several cells of one run."""
    dataset = config.datasets[cells[0].dataset]
    return ScoreJob(
        cells=tuple(cells),
        recipes=tuple(config.covariances[cell.covariance].recipe for cell in cells),
        extractor=dataset.extractor,
        metrics=metrics_of(config, cells[0].dataset),
    )


def reference_job(config: Config, dataset: str) -> ReferenceJob:
    """The statistics of a data set's real images."""
    entry = config.datasets[dataset]
    return ReferenceJob(
        extractor=entry.extractor,
        metrics=metrics_of(config, dataset),
        published=entry.reference,
    )


def theory_job(config: Config, figure: str, seed: int) -> TheoryJob:
    """The measuring of one model for a theory figure."""
    asked = config.figures[figure].model_dump(include={"start", "num_images", "lengths"})
    return TheoryJob(schedule=config.schedule, seed=seed, **asked)


def parse_run(run: str) -> tuple[str, str, int]:
    """Split ``<dataset>/<model>/seed<k>``."""
    dataset, model, seed = run.split("/")
    return dataset, model, int(seed.removeprefix("seed"))


def _chain(config: Config, cell: Cell) -> Chain:
    covariance = config.covariances[cell.covariance]
    return Chain(
        cell=cell,
        sampler=config.samplers[cell.sampler],
        covariance=covariance,
        fit=fit_of(config, cell.covariance),
        recipe=config.recipes[covariance.recipe],
    )


def table_job(config: Config, name: str) -> TableJob:
    """A table with all that is printed in it besides the scores."""
    table, cells = config.tables[name], tuple(table_cells(config, name))
    images_seen: dict[str, dict[str, int]] = {}
    for cell in cells:
        if cell.dataset not in config.models[cell.model].checkpoint:
            seen = train_job(config, cell.dataset, cell.model, cell.seed).images_seen
            images_seen.setdefault(cell.dataset, {})[cell.model] = seen
    return TableJob(
        name=name,
        title=table.title,
        metric=table.metric,
        cells=cells,
        labels=_labels(config),
        published=config.published,
        costs=table.costs or (),
        images_seen=images_seen,
    )


def figure_job(config: Config, name: str) -> FigureJob:
    """A figure with all that is drawn in it besides data."""
    figure = config.figures[name]
    return FigureJob(
        name=name,
        figure=figure,
        cells=tuple(figure.cells(config.seeds)),
        curves=tuple(figure.curves(config.seeds)),
        labels=_labels(config),
    )


def claims_job(config: Config) -> ClaimsJob:
    """All claims, with what they compare besides scores."""
    images_seen: dict[str, dict[str, int]] = {}
    imported: set[tuple[str, str]] = set()
    for claim in config.claims.values():
        for cell in (cell for one in claim.contrasts(config.seeds) for pair in one.pairs for cell in pair):
            if claim.metric == "images_seen":
                seen = train_job(config, cell.dataset, cell.model, cell.seed).images_seen
                images_seen.setdefault(cell.dataset, {})[cell.model] = seen
            if cell.dataset in config.models[cell.model].checkpoint:
                imported.add((cell.dataset, cell.model))
    figures = dict.fromkeys(claim.figure for claim in config.claims.values() if claim.figure)
    curves = {name: tuple(config.figures[name].curves(config.seeds)) for name in figures}
    return ClaimsJob(
        claims=config.claims,
        seeds=config.seeds,
        curves=curves,
        images_seen=images_seen,
        imported=tuple(sorted(imported)),
    )


def page_job(config: Config) -> PageJob:
    """The page, with the names of all that it shows."""
    runs = {cell.run for cell in all_cells(config)}
    runs |= {curve.run for figure in config.figures.values() for curve in figure.curves(config.seeds)}
    return PageJob(
        experiment=config.experiment,
        root=config.root.as_posix(),
        tables=tuple(config.tables),
        figures=tuple(config.figures),
        runs=tuple(sorted(runs)),
        samples_per_job=config.samples_per_job,
        claims=bool(config.claims),
        theory=tuple(f"tables/{name}.csv" for name, figure in config.figures.items() if "theorems" in figure.shows),
    )


def _labels(config: Config) -> dict[str, dict[str, str]]:
    axes: dict[str, Mapping[str, Any]] = {
        "model": config.models,
        "sampler": config.samplers,
        "covariance": config.covariances,
    }
    return {axis: {name: entry.label or name for name, entry in declared.items()} for axis, declared in axes.items()}
