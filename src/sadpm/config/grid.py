"""The cells that tables, figures and claims ask for, each once, and the jobs that share them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from sadpm.config.tuning import tuning_cells, tunings_of
from sadpm.kinds.section import OF_LIKELIHOOD

if TYPE_CHECKING:
    from sadpm.config.experiment import Config
    from sadpm.config.outputs import Grid
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


def parse_run(run: str) -> tuple[str, str, int]:
    """Split ``<dataset>/<model>/seed<k>``."""
    dataset, model, seed = run.split("/")
    return dataset, model, int(seed.removeprefix("seed"))
