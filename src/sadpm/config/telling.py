"""What a configuration tells each job: the values of the classes in :mod:`sadpm.config.jobs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sadpm.config.experiment import Config
from sadpm.config.grid import Cell, all_cells, cells_by_run, fit_of, metrics_of, table_cells
from sadpm.config.jobs import (
    Chain,
    ClaimsJob,
    CovarianceJob,
    FigureJob,
    ImportJob,
    LikelihoodJob,
    PageJob,
    ReferenceJob,
    SampleJob,
    ScoreJob,
    Search,
    TableJob,
    TheoryJob,
    TrainJob,
    Tuned,
    TuneJob,
)
from sadpm.config.tuning import option_of, tuned_at, tunings_of
from sadpm.networks.section import ExecutionConfig


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


def tune_job(config: Config, cells: Sequence[Cell]) -> TuneJob:
    """The tuning at several cells of one run."""
    dataset = config.datasets[cells[0].dataset]
    searches = []
    for cell in cells:
        chain = _chain(config, cell).model_copy(update={"tuned": None})
        for part, _, entry in tunings_of(config, cell):
            declared = option_of(getattr(chain, part), entry.option)
            search = Search(
                chain=chain,
                part=part,
                option=entry.option,
                grid=tuple(sorted({declared, *entry.grid})),
                metric=entry.metric,
                num_samples=entry.num_samples or dataset.num_samples,
            )
            searches.append(search)
    return TuneJob(
        schedule=config.schedule,
        searches=tuple(searches),
        extractor=dataset.extractor,
        batch_size=dataset.sampling_batch_size,
        seed=cells[0].seed,
        precision=execution_of(config, cells[0].dataset).precision,
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


def likelihood_job(config: Config, cells: Sequence[Cell]) -> LikelihoodJob:
    """The measuring of the bounds of several cells of one run."""
    dataset = config.datasets[cells[0].dataset]
    chains = [_chain(config, cell) for cell in cells]
    recipes = [chain.recipe.model_copy(update={"max_variance_pixels": {}}) for chain in chains]
    pairs = zip(chains, recipes, strict=True)
    return LikelihoodJob(
        schedule=config.schedule,
        chains=tuple(chain.model_copy(update={"recipe": recipe}) for chain, recipe in pairs),
        recipes=tuple(config.covariances[cell.covariance].recipe for cell in cells),
        split=dataset.likelihood.split,
        num_images=dataset.likelihood.num_images,
        batch_size=dataset.sampling_batch_size,
        seed=cells[0].seed,
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
    runs = {*cells_by_run(config)}
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
    """Names in print; what every experiment has and this one does not ask for changes none of its jobs."""
    cells = all_cells(config)
    samplers, covariances = {cell.sampler for cell in cells}, {cell.covariance for cell in cells}
    axes: dict[str, Mapping[str, Any]] = {
        "model": config.models,
        "sampler": {name: entry for name, entry in config.samplers.items() if name in samplers},
        "covariance": {name: entry for name, entry in config.covariances.items() if name in covariances},
    }
    return {axis: {name: entry.label or name for name, entry in declared.items()} for axis, declared in axes.items()}


def _chain(config: Config, cell: Cell) -> Chain:
    covariance, at = config.covariances[cell.covariance], tuned_at(config, cell)
    tuned = [Tuned(part=part, option=entry.option, at=at) for part, _, entry in tunings_of(config, cell) if at]
    return Chain(
        cell=cell,
        sampler=config.samplers[cell.sampler],
        covariance=covariance,
        fit=fit_of(config, cell.covariance),
        recipe=config.recipes[covariance.recipe],
        tuned=next(iter(tuned), None),
    )
