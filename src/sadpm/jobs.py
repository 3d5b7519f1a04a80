"""What each job is told, by value: exactly the part of the configuration on which its result depends.

The workflow passes a job as one JSON argument, and the stage parses it with the same class. So a changed value re-runs
the jobs whose argument changed and what follows from them, and a logged command can be run again by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sadpm.config import (
    ClassifierConfig,
    Config,
    CovarianceConfig,
    Figure,
    HeadsConfig,
    Metric,
    NetworkConfig,
    RecipeConfig,
    SamplerConfig,
    ScheduleConfig,
    Section,
    SequenceConfig,
    TrainingConfig,
)
from sadpm.grid import Cell, Draw, GapCurve, figure_cells, figure_curves, table_cells

Extractor = Literal["classifier", "pixels"]


class DataJob(Section):
    """Make the one uint8 array of a data set."""

    source: str


class ClassifierJob(Section):
    """Train the classifier whose features score the samples."""

    classifier: ClassifierConfig


class ReferenceJob(Section):
    """Measure the feature statistics of the real images."""

    extractor: Extractor


class TrainJob(Section):
    """Train one noise predictor. ``training`` already contains the model's multipliers."""

    schedule: ScheduleConfig
    network: NetworkConfig
    training: TrainingConfig
    sequence: SequenceConfig | None
    seed: int


class CovarianceJob(Section):
    """Fit ms_eps and the NPR and SN heads to one noise predictor."""

    schedule: ScheduleConfig
    heads: HeadsConfig
    seed: int


class Chain(Section):
    """How one set of samples is drawn."""

    sampler: SamplerConfig
    covariance: CovarianceConfig
    recipe: RecipeConfig
    steps: int


class SampleJob(Section):
    """Draw several sets of samples of one model."""

    schedule: ScheduleConfig
    chains: tuple[Chain, ...]
    num_samples: int
    seed: int


class ScoreJob(Section):
    """Score the samples of a :class:`SampleJob`; the names of things go into the tables."""

    dataset: str
    model: str
    seed: int
    draws: tuple[Draw, ...]
    recipes: tuple[str, ...]
    extractor: Extractor


class GapJob(Section):
    """Measure the estimation gap of one model."""

    schedule: ScheduleConfig
    start: int
    num_images: int
    seed: int


class TableJob(Section):
    """Collect scores into a table. ``labels[axis][name]`` is what is printed for a model, sampler or covariance."""

    name: str
    title: str
    metric: Metric
    cells: tuple[Cell, ...]
    labels: dict[str, dict[str, str]]


class FigureJob(Section):
    """Draw a figure from samples, scores or gap curves."""

    name: str
    figure: Figure
    cells: tuple[Cell, ...]
    curves: tuple[GapCurve, ...]
    labels: dict[str, dict[str, str]]


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
        sequence=entry.sequence,
        seed=seed,
    )


def sample_job(config: Config, run: str, draws: tuple[Draw, ...]) -> SampleJob:
    """The sampling of several of a run's cells."""
    dataset, _, seed = parse_run(run)
    return SampleJob(
        schedule=config.schedule,
        chains=tuple(_chain(config, draw) for draw in draws),
        num_samples=config.datasets[dataset].num_samples,
        seed=seed,
    )


def score_job(config: Config, run: str, draws: tuple[Draw, ...]) -> ScoreJob:
    """The scoring of several of a run's cells."""
    dataset, model, seed = parse_run(run)
    return ScoreJob(
        dataset=dataset,
        model=model,
        seed=seed,
        draws=draws,
        recipes=tuple(config.covariances[draw.covariance].recipe for draw in draws),
        extractor=config.datasets[dataset].extractor,
    )


def parse_run(run: str) -> tuple[str, str, int]:
    """Split ``<dataset>/<model>/seed<k>``."""
    dataset, model, seed = run.split("/")
    return dataset, model, int(seed.removeprefix("seed"))


def _chain(config: Config, draw: Draw) -> Chain:
    covariance = config.covariances[draw.covariance]
    return Chain(
        sampler=config.samplers[draw.sampler],
        covariance=covariance,
        recipe=config.recipes[covariance.recipe],
        steps=draw.steps,
    )


def table_job(config: Config, name: str) -> TableJob:
    """A table with all that is printed in it besides the scores."""
    table, cells = config.tables[name], tuple(table_cells(config, name))
    return TableJob(name=name, title=table.title, metric=table.metric, cells=cells, labels=_labels(config))


def figure_job(config: Config, name: str) -> FigureJob:
    """A figure with all that is drawn in it besides data."""
    return FigureJob(
        name=name,
        figure=config.figures[name],
        cells=tuple(figure_cells(config, name)),
        curves=tuple(figure_curves(config, name)),
        labels=_labels(config),
    )


def _labels(config: Config) -> dict[str, dict[str, str]]:
    axes: dict[str, Mapping[str, Any]] = {
        "model": config.models,
        "sampler": config.samplers,
        "covariance": config.covariances,
    }
    return {axis: {name: entry.label or name for name, entry in declared.items()} for axis, declared in axes.items()}
