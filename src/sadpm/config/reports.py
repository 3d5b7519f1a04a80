"""Which reports tell how an experiment's tables and figures were made, and which files lie beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from sadpm.config.experiment import Config
from sadpm.config.grid import (
    Cell,
    GapCurve,
    cells_by_run,
    folder_of,
    likelihood_packs,
    measured_cells,
    pack_of,
    packs,
    passes,
    table_cells,
    tuning_packs,
)
from sadpm.kinds.section import Metric


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
        return "" if self.rule in ("table", "figure", "theory_table") else self.about.partition("/")[0]

    def contents(self, config: Config) -> Iterator[str]:
        """All files of the job that an archive holds."""
        yield from (self.path, *self.files)
        yield from self.weights if config.archive.weights else ()
        yield from self.samples if config.archive.samples else ()


Made = Callable[[str], Iterable[str]]
"""The passes that have fitted covariances of a run before, by their names."""


def reports(config: Config, made: Made = lambda run: ()) -> list[Report]:
    """Return the reports of all jobs that the tables and figures depend on, in the order of the data flow."""
    curves, theorems = _curves(config, "curves"), _curves(config, "theorems")
    cells = cells_by_run(config)
    runs = sorted({*cells, *(curve.run for curve in (*curves, *theorems))})
    scored = dict.fromkeys(_pack(config, cell) for cell in measured_cells(config, "scores"))
    found = [report for name in sorted({run.split("/")[0] for run in runs}) for report in _of_dataset(config, name)]
    tunings, bounded = tuning_packs(config), likelihood_packs(config)
    needed = {run.split("/")[0] for run, _ in (*scored, *tunings)}
    held_out = {run.split("/")[0] for run, _ in bounded if _is_held_out(config, run)}
    needed_by = {"prepare_data": {report.about for report in found}, "prepare_held_out": held_out}
    found = [report for report in found if report.about in needed_by.get(report.rule, needed)]
    for run in runs:
        found.append(_training(config, run))
        fitted = passes(config, cells[run], made(run)) if run in cells else {}
        found += [_pass(run, name) for name in sorted({*fitted.values()})]
    found += [Report("tune", run, f"{run}/tuned/{pack}.json", f"{run}/tune-{pack}", pack) for run, pack in tunings]
    found += [_samples(config, run, pack) for run, pack in packs(config)]
    found += [Report("score", run, _scores(run, pack), f"{run}/score-{pack}", pack) for run, pack in sorted(scored)]
    found += [_bounds(run, pack) for run, pack in bounded]
    for curve in curves:
        log = f"{curve.run}/measure_gap-start{curve.start}-images{curve.num_images}"
        found.append(Report("measure_gap", curve.run, f"{_gap(curve)}.json", log, files=(f"{_gap(curve)}.csv",)))
    for curve, names in theorems.items():
        for name in names:
            path, log = _theory(curve, name), f"{curve.run}/measure_theory-{name}"
            found.append(Report("measure_theory", curve.run, path, log, name))
    found += [_table(config, name) for name in config.tables]
    found += [_theory_table(config, name) for name, figure in config.figures.items() if "theorems" in figure.shows]
    return found + [_figure(config, name) for name in config.figures]


def _curves(config: Config, what: str) -> dict[GapCurve, list[str]]:
    """The chains that figures show as curves or theorems, and which figures."""
    found: dict[GapCurve, list[str]] = {}
    for name, figure in config.figures.items():
        for curve in figure.curves(config.seeds) if what in figure.shows else ():
            found.setdefault(curve, []).append(name)
    return found


def _gap(curve: GapCurve) -> str:
    return f"{curve.run}/gap/start{curve.start}-images{curve.num_images}"


def _theory(curve: GapCurve, figure: str) -> str:
    return f"{curve.run}/theory/{figure}.json"


def _pack(config: Config, cell: Cell) -> tuple[str, str]:
    return cell.run, pack_of(cell, config.samples_per_job)


def _of_dataset(config: Config, dataset: str) -> Iterator[Report]:
    yield Report("prepare_data", dataset, f"{dataset}/data/dataset.json", f"{dataset}/prepare_data")
    yield Report("prepare_held_out", dataset, f"{dataset}/data/held-out/dataset.json", f"{dataset}/prepare_held_out")
    if config.datasets[dataset].extractor.is_trained:
        weights = (f"{dataset}/extractor.safetensors",)
        path, log = f"{dataset}/extractor.json", f"{dataset}/train_extractor"
        yield Report("train_extractor", dataset, path, log, weights=weights)
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


def _bounds(run: str, pack: str) -> Report:
    return Report("measure_likelihood", run, f"{run}/likelihood/{pack}.json", f"{run}/measure_likelihood-{pack}", pack)


def _is_held_out(config: Config, run: str) -> bool:
    return config.datasets[run.split("/")[0]].likelihood.split == "test"


def _numbers(config: Config, metric: Metric, cell: Cell) -> str:
    """The file that has a metric's number of a cell."""
    run, pack = _pack(config, cell)
    return f"{run}/{folder_of(metric)}/{pack}.json"


def _table(config: Config, name: str) -> Report:
    place = f"tables/{name}"
    metric = config.tables[name].metric
    reads = dict.fromkeys(_numbers(config, metric, cell) for cell in table_cells(config, name))
    files = tuple(f"{place}.{form}" for form in ("csv", "md", "tex"))
    return Report("table", name, f"{place}.json", place, files=files, reads=tuple(reads))


def _theory_table(config: Config, name: str) -> Report:
    place = f"tables/{name}"
    reads = tuple(_theory(curve, name) for curve in config.figures[name].curves(config.seeds))
    files = tuple(f"{place}.{form}" for form in ("csv", "md", "tex"))
    return Report("theory_table", name, f"{place}.json", place, files=files, reads=reads)


def _figure(config: Config, name: str) -> Report:
    place, figure = f"figures/{name}", config.figures[name]
    cells, curves = figure.cells(config.seeds), figure.curves(config.seeds)
    reads = [_numbers(config, metric, cell) for metric in figure.metrics for cell in cells]
    if "samples" in figure.shows:
        reads += ["{}/samples/{}.json".format(*_pack(config, cell)) for cell in cells]
    if "data" in figure.shows:
        reads += [f"{dataset}/data/dataset.json" for dataset in config.datasets if figure.is_about(dataset)]
    if "curves" in figure.shows:
        reads += [f"{_gap(curve)}.csv" for curve in curves]
    if "theorems" in figure.shows:
        reads += [_theory(curve, name) for curve in curves]
    files = tuple(f"{place}.{form}" for form in ("pdf", "png"))
    return Report("figure", name, f"{place}.json", place, files=files, reads=tuple(dict.fromkeys(reads)))
