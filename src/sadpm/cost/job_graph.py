"""Which jobs the workflow runs for a table or figure: what the rules' inputs say, without Snakemake.

The tests hold it against Snakemake's own dry run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sadpm.config.experiment import Config
from sadpm.config.grid import (
    Cell,
    cells_by_run,
    figure_cells,
    figure_curves,
    fit_of,
    pack_of,
    packs,
    passes,
    table_cells,
)


class Job(NamedTuple):
    """One job of the workflow.

    ``cells`` are those whose samples it draws, joins or scores; ``name`` is that of a table, figure or fitting pass,
    or of the figure that theorems are measured for; ``start`` and ``num_images`` are a gap curve's; ``shard`` says
    which part of the samples a ``sample_part`` draws.
    """

    rule: str
    dataset: str = ""
    model: str = ""
    seed: int = 0
    cells: tuple[Cell, ...] = ()
    start: int = 0
    num_images: int = 0
    name: str = ""
    shard: int = 0


class JobGraph:
    """The jobs of an experiment, found from what needs them."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._packs = packs(config)
        self._passes = {run: passes(config, cells) for run, cells in cells_by_run(config).items()}

    def outputs(self) -> list[Job]:
        """Return the jobs that make the tables and figures."""
        tables, figures = self._config.tables, self._config.figures
        jobs = [*(Job("table", name=name) for name in tables), *(Job("figure", name=name) for name in figures)]
        return jobs + [Job("theory_table", name=name) for name in figures if figures[name].kind == "theory"]

    def closure(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs and all that they need, each once."""
        found: dict[Job, None] = {}
        waiting = list(jobs)
        while waiting:
            job = waiting.pop()
            if job not in found:
                found[job] = None
                waiting += self._needs(job)
        return list(found)

    def _needs(self, job: Job) -> Iterator[Job]:
        match job.rule:
            case "table":
                yield from self._of_cells("score", table_cells(self._config, job.name))
            case "figure" | "theory_table":
                yield from self._of_figure(job.name)
            case "score":
                yield job._replace(rule=self._sampling(job.dataset))
                yield Job("measure_reference", job.dataset)
            case "join_parts":
                shards = self._config.datasets[job.dataset].shards
                yield from (job._replace(rule="sample_part", shard=shard) for shard in range(shards))
            case "sample" | "sample_part":
                yield self._model(job)
                names = {fit_of(self._config, cell.covariance) for cell in job.cells} - {None}
                for made in {self._passes[job.cells[0].run][name] for name in names if name}:
                    yield Job("fit_covariances", job.dataset, job.model, job.seed, name=made)
            case "fit_covariances" | "measure_gap" | "measure_theory":
                yield self._model(job)
                yield Job("prepare_data", job.dataset)
            case "measure_reference":
                yield Job("prepare_data", job.dataset)
                if self._config.datasets[job.dataset].extractor.is_trained:
                    yield Job("train_extractor", job.dataset)
            case "train" | "import_model" | "train_extractor":
                yield Job("prepare_data", job.dataset)

    def _of_cells(self, rule: str, cells: Iterable[Cell]) -> Iterator[Job]:
        for cell in cells:
            pack = self._packs[cell.run, pack_of(cell, self._config.samples_per_job)]
            yield Job(rule, cell.dataset, cell.model, cell.seed, pack)

    def _of_figure(self, name: str) -> Iterator[Job]:
        figure = self._config.figures[name]
        if figure.kind == "samples":
            yield Job("prepare_data", figure.dataset)
        rule = self._sampling(figure.dataset) if figure.kind == "samples" else "score"
        yield from self._of_cells(rule, figure_cells(self._config, name))
        measuring = Job("measure_theory", name=name) if figure.kind == "theory" else Job("measure_gap")
        yield from (measuring._replace(**vars(curve)) for curve in figure_curves(self._config, name))

    def _sampling(self, dataset: str) -> str:
        """Return the rule whose output is a set of samples."""
        return "join_parts" if self._config.datasets[dataset].shards > 1 else "sample"

    def _model(self, job: Job) -> Job:
        imported = job.dataset in self._config.models[job.model].checkpoint
        return Job("import_model" if imported else "train", job.dataset, job.model, job.seed)
