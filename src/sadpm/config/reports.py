"""Which reports tell how an experiment's tables and figures were made, and which files lie beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from sadpm.config.experiment import Config
from sadpm.config.grid import (
    Cell,
    cells_by_run,
    figure_cells,
    figure_curves,
    pack_of,
    packs,
    passes,
    table_cells,
)


class Report(NamedTuple):
    """The report of one job. All paths are relative to the folder of the experiment.

    Attributes:
        rule: which job.
        about: the data set, run, table or figure.
        path: the report.
        log: the job's log and benchmark, without folder and suffix.
        name: a pass of covariances, or a pack of samples, among those of the run.
        files: what else the job wrote, as far as it is small.
        reads: what the job read of other jobs, where its report has no hash of it.
        weights: what it wrote of weights.
        samples: what it wrote of samples.
        parts: logs of the jobs that drew parts of the samples, whose reports are gone.
    """

    rule: str
    about: str
    path: str
    log: str
    name: str = ""
    files: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def logs(self) -> tuple[str, ...]:
        """The job's own log and those of its parts."""
        return (self.log, *self.parts)

    @property
    def dataset(self) -> str:
        """The data set that the job is about; nothing for those of tables and figures."""
        return "" if self.rule in ("table", "figure") else self.about.partition("/")[0]

    def contents(self, config: Config) -> Iterator[str]:
        """All files of the job that an archive holds."""
        yield from (self.path, *self.files)
        yield from self.weights if config.archive.weights else ()
        yield from self.samples if config.archive.samples else ()


Made = Callable[[str], Iterable[str]]
"""The passes that have fitted covariances of a run before, by their names."""


def reports(config: Config, made: Made = lambda run: ()) -> list[Report]:
    """Return the reports of all jobs that the tables and figures depend on, in the order of the data flow."""
    shown = [*config.tables, *config.figures]
    curves = dict.fromkeys(curve for name in config.figures for curve in figure_curves(config, name))
    cells = cells_by_run(config)
    runs = sorted({*cells, *(curve.run for curve in curves)})
    scored = dict.fromkeys(_pack(config, cell) for name in shown for cell in _scored_cells(config, name))
    found = [report for name in sorted({run.split("/")[0] for run in runs}) for report in _of_dataset(config, name)]
    needed = {run.split("/")[0] for run, _ in scored}
    found = [report for report in found if report.rule == "prepare_data" or report.about in needed]
    for run in runs:
        found.append(_training(config, run))
        fitted = passes(config, cells[run], made(run)) if run in cells else {}
        found += [_pass(run, name) for name in sorted({*fitted.values()})]
    found += [_samples(config, run, pack) for run, pack in packs(config)]
    found += [Report("score", run, _scores(run, pack), f"{run}/score-{pack}", pack) for run, pack in sorted(scored)]
    for curve in curves:
        name = f"start{curve.start}-images{curve.num_images}"
        place = f"{curve.run}/gap/{name}"
        log = f"{curve.run}/measure_gap-{name}"
        found.append(Report("measure_gap", curve.run, f"{place}.json", log, files=(f"{place}.csv",)))
    return found + [_table(config, name) for name in config.tables] + [_figure(config, name) for name in config.figures]


def _pack(config: Config, cell: Cell) -> tuple[str, str]:
    return cell.run, pack_of(cell, config.samples_per_job)


def _scored_cells(config: Config, name: str) -> list[Cell]:
    if name in config.tables:
        return table_cells(config, name)
    return figure_cells(config, name) if config.figures[name].kind == "quality" else []


def _of_dataset(config: Config, dataset: str) -> Iterator[Report]:
    yield Report("prepare_data", dataset, f"{dataset}/data/dataset.json", f"{dataset}/prepare_data")
    if config.datasets[dataset].extractor == "classifier":
        weights = (f"{dataset}/classifier.safetensors",)
        path, log = f"{dataset}/classifier.json", f"{dataset}/train_classifier"
        yield Report("train_classifier", dataset, path, log, weights=weights)
    yield Report("measure_reference", dataset, f"{dataset}/reference.json", f"{dataset}/measure_reference")


def _training(config: Config, run: str) -> Report:
    dataset, model, _ = run.split("/")
    rule = "import_model" if dataset in config.models[model].checkpoint else "train"
    weights = tuple(f"{run}/model/{name}" for name in ("config.json", "diffusion_pytorch_model.safetensors"))
    return Report(rule, run, f"{run}/training.json", f"{run}/{rule}", files=(f"{run}/log.csv",), weights=weights)


def _pass(run: str, name: str) -> Report:
    place = f"{run}/covariance/{name}"
    weights = (f"{place}.safetensors",)
    return Report("fit_covariances", run, f"{place}.json", f"{run}/fit_covariances-{name}", name, weights=weights)


def _samples(config: Config, run: str, pack: str) -> Report:
    shards, place = config.datasets[run.split("/")[0]].shards, f"{run}/samples/{pack}"
    rule = "join_parts" if shards > 1 else "sample"
    parts = tuple(f"{run}/sample-{pack}.part{i}-of-{shards}" for i in range(shards)) if shards > 1 else ()
    samples = (f"{place}.npy",)
    return Report(rule, run, f"{place}.json", f"{run}/{rule}-{pack}", pack, samples=samples, parts=parts)


def _scores(run: str, pack: str) -> str:
    return f"{run}/scores/{pack}.json"


def _table(config: Config, name: str) -> Report:
    place = f"tables/{name}"
    reads = dict.fromkeys(_scores(*_pack(config, cell)) for cell in table_cells(config, name))
    files = tuple(f"{place}.{form}" for form in ("csv", "md", "tex"))
    return Report("table", name, f"{place}.json", place, files=files, reads=tuple(reads))


def _figure(config: Config, name: str) -> Report:
    place, figure, drawn = f"figures/{name}", config.figures[name], [*figure_cells(config, name)]
    reads = [_scores(*_pack(config, cell)) for cell in _scored_cells(config, name)]
    if figure.kind == "samples":
        reads = ["{}/samples/{}.json".format(*_pack(config, cell)) for cell in drawn]
        reads.append(f"{figure.dataset}/data/dataset.json")
    reads += [f"{c.run}/gap/start{c.start}-images{c.num_images}.csv" for c in figure_curves(config, name)]
    files = tuple(f"{place}.{form}" for form in ("pdf", "png"))
    return Report("figure", name, f"{place}.json", place, files=files, reads=tuple(dict.fromkeys(reads)))
