"""The cells that tables and figures ask for, each once, and whether what they name exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from sadpm.config.tuning import tuning_cells, tunings_of
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.kinds.section import OF_LIKELIHOOD

if TYPE_CHECKING:
    from sadpm.config.claims import ClaimConfig
    from sadpm.config.experiment import Config
    from sadpm.config.outputs import Figure, Grid
    from sadpm.kinds.section import Metric, SamplesPerJob


@dataclass(frozen=True, order=True)
class Cell:
    """One number of a table before averaging over seeds: a model's samples by one sampler in so many steps."""

    dataset: str
    model: str
    seed: int
    sampler: str
    covariance: str
    steps: int

    def as_dict(self) -> dict[str, Any]:
        """Return the cell as it is written into reports."""
        return asdict(self)

    @property
    def run(self) -> str:
        """The model whose samples these are: ``<dataset>/<model>/seed<k>``."""
        return f"{self.dataset}/{self.model}/seed{self.seed}"

    @property
    def draw(self) -> str:
        """The cell's name among those of its run; only a covariance's name may contain hyphens."""
        return f"{self.sampler}-{self.covariance}-{self.steps}"


@dataclass(frozen=True, order=True)
class GapCurve:
    """One model of a gap or theory figure: its estimation gap along a chain."""

    dataset: str
    model: str
    seed: int
    start: int
    num_images: int

    @property
    def run(self) -> str:
        """The model: ``<dataset>/<model>/seed<k>``."""
        return f"{self.dataset}/{self.model}/seed{self.seed}"


def grid_cells(grid: Grid, seeds: Iterable[int]) -> Iterator[Cell]:
    """All cells of one rectangle."""
    axes = (grid.datasets, grid.models, grid.seeds or seeds, grid.samplers, grid.covariances, grid.steps)
    return (Cell(*values) for values in product(*axes))


def table_cells(config: Config, table: str) -> list[Cell]:
    """The cells of a table in the order of its rectangles, each once."""
    return list(dict.fromkeys(c for grid in config.tables[table].grids for c in grid_cells(grid, config.seeds)))


def all_cells(config: Config) -> list[Cell]:
    """The union of the cells of all tables, figures and claims, sorted."""
    others = [section.cells(config.seeds) for section in (*config.figures.values(), *config.claims.values())]
    return sorted({cell for name in config.tables for cell in table_cells(config, name)}.union(*others))


def asked(config: Config) -> Iterator[tuple[Metric, list[Cell]]]:
    """The metric of each table, figure and claim, with the cells of which it shows or compares it."""
    for name, table in config.tables.items():
        yield table.metric, table_cells(config, name)
    for section in (*config.figures.values(), *config.claims.values()):
        for metric in section.metrics:
            yield metric, section.cells(config.seeds)


def folder_of(metric: Metric) -> str:
    """The folder of a run in which the numbers of a metric lie, by packs."""
    return "likelihood" if metric in OF_LIKELIHOOD else "scores"


def measured_cells(config: Config, folder: str) -> list[Cell]:
    """The cells whose numbers are asked for in one of the folders of :func:`folder_of`, each once."""
    lists = (cells for metric, cells in asked(config) if folder_of(metric) == folder)
    return list(dict.fromkeys(cell for cells in lists for cell in cells))


def sampled_cells(config: Config) -> list[Cell]:
    """The cells that are drawn, sorted: those with scores of samples, and those of which a figure shows samples."""
    shown = [figure.cells(config.seeds) for figure in config.figures.values() if "samples" in figure.shows]
    return sorted({*measured_cells(config, "scores")}.union(*shown))


def metrics_of(config: Config, dataset: str) -> tuple[Metric, ...]:
    """The metrics of samples that a table, figure, claim or tuning asks for on a data set, and those that come free."""
    free = set(config.datasets[dataset].extractor.free)
    tables = [table.metric for table in config.tables.values() if any(dataset in grid.datasets for grid in table.grids)]
    drawn = [figure.metrics for figure in config.figures.values() if figure.is_about(dataset)]
    claimed = [claim.metrics for claim in config.claims.values() if dataset in claim.datasets]
    found = free.union(tables, *drawn, *claimed) - OF_LIKELIHOOD
    if {entry.metric for entry in config.tune.values()} - found:
        here = (cell for cell in sampled_cells(config) if cell.dataset == dataset)
        found |= {tuning.entry.metric for cell in here for tuning in tunings_of(config, cell)}
    return tuple(sorted(found))


def pack_of(cell: Cell, samples_per_job: SamplesPerJob) -> str:
    """The name of the job that draws a cell's samples, among the jobs of its run.

    A function of the cell alone, so that further cells leave other jobs as they are.
    """
    match samples_per_job:
        case "cell":
            return cell.draw
        case "row":
            return f"{cell.sampler}-{cell.covariance}"
        case "covariance":
            return cell.covariance
        case "model":
            return "all"


def cells_by_run(config: Config) -> dict[str, list[Cell]]:
    """The sorted cells of each run, with those that are there for tuning alone."""
    found: dict[str, list[Cell]] = {}
    for cell in sorted({*all_cells(config), *tuning_cells(config, sampled_cells(config))}):
        found.setdefault(cell.run, []).append(cell)
    return found


def packs(config: Config) -> dict[tuple[str, str], tuple[Cell, ...]]:
    """The sorted cells of each sampling job, by run and the job's name."""
    return _packed(config, sampled_cells(config))


def tuning_packs(config: Config) -> dict[tuple[str, str], tuple[Cell, ...]]:
    """The sorted cells of each tuning job, by run and the job's name, which is that of a job that would draw them."""
    return _packed(config, tuning_cells(config, sampled_cells(config)))


def likelihood_packs(config: Config) -> dict[tuple[str, str], tuple[Cell, ...]]:
    """The sorted cells of each job that measures bounds, by run and the job's name; jobs are cut as for sampling."""
    return _packed(config, measured_cells(config, "likelihood"))


def _packed(config: Config, cells: Iterable[Cell]) -> dict[tuple[str, str], tuple[Cell, ...]]:
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells):
        found.setdefault((cell.run, pack_of(cell, config.samples_per_job)), []).append(cell)
    return {place: tuple(packed) for place, packed in found.items()}


def fit_of(config: Config, covariance: str) -> str | None:
    """The name under which a covariance's estimate is kept, that of the first one which shares its fit, or None."""
    wanted = config.covariances[covariance]
    if not wanted.is_fitted:
        return None
    alike = (name for name, other in config.covariances.items() if other.as_fitted() == wanted.as_fitted())
    return next(alike)


def passes(config: Config, cells: Iterable[Cell], present: Iterable[str] = ()) -> dict[str, str]:
    """The pass over the data that makes each estimate which the cells of one run need, by the estimate's name.

    A pass is named by its estimates, joined by "+". What a finished pass of an earlier configuration has made
    (``present``, names of passes) stays with it, and all that is missing shares one new pass, but for kinds that need
    one of their own.
    """
    needed = {fit_of(config, covariance) for covariance in {cell.covariance for cell in cells}}
    missing = [name for name in config.covariances if name in needed]
    found: dict[str, str] = {}
    for made in sorted(present):
        names = made.split("+")
        if all(name in config.covariances and fit_of(config, name) == name for name in names):
            found |= {name: made for name in names if name in missing}
    missing = [name for name in missing if name not in found]
    shared = [name for name in missing if config.covariances[name].shares_a_pass]
    found |= dict.fromkeys(shared, "+".join(shared))
    return found | {name: name for name in missing if name not in shared}


def reference_errors(config: Config) -> list[str]:
    """One line for each name, number of steps or metric that the rest of the configuration rules out."""
    errors = [
        f"covariances.{name}.recipe: {covariance.recipe!r} is not declared under recipes ({_names(config.recipes)})"
        for name, covariance in config.covariances.items()
        if covariance.recipe not in config.recipes
    ]
    errors += [
        f"models.{name}.checkpoint: {dataset!r} is not declared under datasets ({_names(config.datasets)})"
        for name, model in config.models.items()
        for dataset in model.checkpoint
        if dataset not in config.datasets
    ]
    for name, table in config.tables.items():
        if missing := _undeclared(config, f"tables.{name}", table, table.also):
            errors += missing
        else:
            errors += cell_errors(config, f"tables.{name}", table_cells(config, name), table.metric)
    for name, figure in config.figures.items():
        errors += _figure_errors(config, f"figures.{name}", figure)
    for name, claim in config.claims.items():
        errors += _claim_errors(config, f"claims.{name}", claim)
    return list(dict.fromkeys(errors))


def _figure_errors(config: Config, place: str, figure: Figure) -> list[str]:
    if missing := _undeclared(config, place, figure):
        return missing
    lines = [f"{place}{line}" for line in figure.objections(config.schedule)]
    return lines or cell_errors(config, place, figure.cells(config.seeds), *figure.metrics)


def _claim_errors(config: Config, place: str, claim: ClaimConfig) -> list[str]:
    if missing := _undeclared(config, place, claim):
        return missing
    if unknown := [name for name in claim.against.values() if name not in config.models]:
        return [f"{place}.against: {name!r} is not declared under models ({_names(config.models)})" for name in unknown]
    if claim.figure is not None:
        figure = config.figures.get(claim.figure)
        if figure is None or "curves" not in figure.shows:
            gaps = {name: other for name, other in config.figures.items() if "curves" in other.shows}
            return [f"{place}.figure: {claim.figure!r} is no gap figure under figures ({_names(gaps)})"]
        drawn = {curve.run for curve in figure.curves(config.seeds)}
        runs = {cell.run for one in claim.contrasts(config.seeds) for pair in one.pairs for cell in pair}
        return [f"{place}.figure: {claim.figure!r} has no curve of {run}" for run in sorted(runs - drawn)]
    imported = {
        f"{place}: {cell.model!r} is imported on {cell.dataset!r}, so how many images it has seen is not known": None
        for one in claim.contrasts(config.seeds)
        for pair in one.pairs
        for cell in pair
        if claim.metric == "images_seen" and cell.dataset in config.models[cell.model].checkpoint
    }
    return [*imported, *cell_errors(config, place, claim.cells(config.seeds), *claim.metrics)]


def _undeclared(config: Config, place: str, *sections: Any) -> list[str]:
    """Names that a table or figure uses and nobody declares. Keys are plural with a list, singular with one name."""
    sections = tuple(part for section in sections for part in (section if isinstance(section, tuple) else (section,)))
    errors: list[str] = []
    for section, plural in product(sections, ("datasets", "models", "samplers", "covariances")):
        declared = getattr(config, plural)
        for key in (plural, plural[:-1]):
            value = getattr(section, key, None) or ()
            missing = [name for name in ((value,) if isinstance(value, str) else value) if name not in declared]
            errors += [
                f"{place}.{key}: {name!r} is not declared under {plural} ({_names(declared)})" for name in missing
            ]
    return errors


def cell_errors(config: Config, place: str, cells: Iterable[Cell], *metrics: Metric) -> list[str]:
    """One line for each of a section's metrics, samplers and numbers of steps that can't be had for its cells."""
    total = config.schedule.num_train_timesteps
    errors: dict[str, None] = {}
    for cell in cells:
        recipe_name = config.covariances[cell.covariance].recipe
        recipe = config.recipes.get(recipe_name)
        extractor = config.datasets[cell.dataset].extractor
        for metric in [metric for metric in metrics if metric not in {*extractor.labels, *OF_LIKELIHOOD}]:
            where = f"datasets.{cell.dataset}.extractor is {extractor.kind!r}"
            possible = ", ".join(extractor.labels)
            where = f"{where}, which gives {possible}"
            errors[f"{place}.metric: {metric!r} is not to be had: {where}"] = None
        if objection := config.samplers[cell.sampler].objection(config.covariances[cell.covariance].is_fitted):
            errors[f"{place}: sampler {cell.sampler!r}, covariance {cell.covariance!r}: {objection}"] = None
        objection = config.samplers[cell.sampler].objection_to_bound()
        if not objection and (tuned := tunings_of(config, cell)):
            objection = f"{tuned[0].name!r} is tuned by samples, for a metric of theirs; use one that is not"
        for metric in OF_LIKELIHOOD.intersection(metrics) if objection else ():
            errors[f"{place}.metric: {metric!r} is not to be had of sampler {cell.sampler!r}: {objection}"] = None
        if not 1 <= cell.steps <= total:
            errors[f"{place}.steps: {cell.steps} is not from 1 to schedule.num_train_timesteps ({total})"] = None
        elif recipe is not None:
            try:
                levels = exact_timesteps(recipe.timesteps, total, cell.steps)
            except ValueError as error:
                errors[f"{place}.steps: recipe {recipe_name!r}: {error}"] = None
                continue
            try:
                config.samplers[cell.sampler].divisors(levels)
            except ValueError as error:
                errors[f"{place}: sampler {cell.sampler!r}, {cell.steps} steps: {error}"] = None
            if OF_LIKELIHOOD.intersection(metrics) and config.schedule.kind == "jsd" and levels[-1] == total:
                nothing = f"level {total} of the schedule 'jsd' keeps nothing of the image"
                errors[f"{place}.steps: recipe {recipe_name!r}: {nothing}, so that there is no bound"] = None
    return list(errors)


def _names(declared: Mapping[str, Any]) -> str:
    return ", ".join(declared) or "there are none"
