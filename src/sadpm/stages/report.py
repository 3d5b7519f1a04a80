"""Show an experiment on one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from sadpm.config.grid import Cell, folder_of, pack_of
from sadpm.config.jobs import FigureJob, PageJob
from sadpm.kinds.section import Metric
from sadpm.report.costs import by_rule, measured_jobs, read_plan, total
from sadpm.report.flow import MAKERS, draw
from sadpm.report.page import (
    FigureView,
    File,
    Page,
    commands,
    figure_view,
    render,
    versions,
)
from sadpm.report.page_tables import Sheet, TableView, table_view
from sadpm.running.files import UserError, code_version, provenance, read_json, write_json, write_text
from sadpm.stages import command

JOB = "provenance.job"


def report(params: PageJob, results: Path, page: Path, report: Path, plan: Sequence[Path] = ()) -> None:
    """Write the page of the experiment whose files lie in the folder ``results``, and print where it is.

    Costs are those of the benchmark files that are there; ``plan`` is the plan's CSV, if it was made.

    Raises:
        UserError: a file is missing, or is not what its name says.
    """
    write_text(page, render(gather(params, results, page.parent, plan)))
    write_json(report, {"provenance": provenance(params)})
    print(f"Open {page}")


def gather(params: PageJob, results: Path, folder: Path, plan: Sequence[Path]) -> Page:
    """Read all that is shown; links are seen from ``folder``."""
    tables, figures = (
        {name: record(results / kind / f"{name}.json", JOB)["provenance"]["job"] for name in names}
        for kind, names in (("tables", params.tables), ("figures", params.figures))
    )
    drawn = [(job, metric) for job in figures.values() for metric in FigureJob.model_validate(job).figure.metrics]
    shown = [*((job, job["metric"]) for job in tables.values()), *drawn]
    cells = {(folder_of(metric), Cell(**cell)): None for job, metric in shown for cell in job["cells"]}
    names = {
        (folder, cell): f"{cell.run}/{folder}/{pack_of(cell, params.samples_per_job)}.json" for folder, cell in cells
    }
    runs = {name: cell.run for (_, cell), name in names.items()}
    needed = {"scores": (JOB, "scores", "provenance.sampling.job"), "likelihood": (JOB, "scores")}
    scores = {name: record(results / name, *needed[Path(name).parent.name]) for name in runs}
    trainings = {run: record(results / run / "training.json", JOB) for run in params.runs}
    places = {name: place for place, name in enumerate(scores)}
    made_by = {place: places[name] for place, name in names.items()}
    jobs = measured_jobs(results / "benchmarks", params.runs, params.tables, params.figures)
    planned = read_plan(plan[0]) if plan else {}
    verdicts, contrasts = (sheet(results / f"claims{end}.csv") if params.claims else None for end in ("-verdicts", ""))
    metrics = {"table": [job["metric"] for job in tables.values()], "figure": [metric for _, metric in drawn]}
    metrics["claims"] = contrasts.column("metric") if contrasts else []
    edges = {
        (MAKERS[folder_of(metric)], rule)
        for rule, asked in metrics.items()
        for metric in asked
        if metric in get_args(Metric)  # and not a gap, or what training saw
    }
    kinds = [(job["figure"]["kind"], job["figure"].get("dataset", "")) for job in figures.values()]
    return Page(
        experiment=params.experiment,
        version=code_version(),
        verdicts=verdicts,
        contrasts=contrasts,
        tables=[table_of(results / f"tables/{name}.csv", job, made_by) for name, job in tables.items()],
        figures=[figure_of(results / f"figures/{name}.png", job) for name, job in figures.items()],
        theory=[(Path(name).stem, sheet(results / name)) for name in params.theory],
        costs=[*by_rule(jobs, planned), total(jobs, planned)] if jobs or planned else [],
        device_of_plan=device_of(planned),
        drawing=draw(jobs, kinds, edges) if jobs else None,
        versions=versions(scores.values(), trainings.values()),
        commands=[commands(f"{params.root}/{name}", scores[name], trainings[run]) for name, run in runs.items()],
        files=[file_of(path, folder) for path in downloads(params, results, plan)],
    )


def record(path: Path, *needed: str) -> dict[str, Any]:
    """Read what a job said of itself; ``needed`` are keys that must be there, each with those that lead to it.

    Raises:
        UserError: the file can't be read, or says less.
    """
    content = read_json(path)
    for keys in needed:
        found = content
        for key in keys.split("."):
            if not isinstance(found, dict) or key not in found:
                raise UserError(f"{path}: does not say {keys}; delete it, and the workflow makes it again")
            found = found[key]
    return content


def table_of(path: Path, job: dict[str, Any], made_by: Mapping[tuple[str, Cell], int]) -> TableView:
    """Read a table; ``made_by`` is the place of the commands by the folder of its metric and the cell."""
    markdown, own = path.with_suffix(".md"), folder_of(job["metric"])
    commands = {cell: place for (folder, cell), place in made_by.items() if folder == own}
    try:
        return table_view(path.stem, job["title"], read(markdown).decode(), read(path).decode(), commands)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{path}: not the table that {markdown} shows ({error}); delete both to have them made again"
        ) from error


def figure_of(path: Path, job: dict[str, Any]) -> FigureView:
    """Read a figure."""
    try:
        return figure_view(path.stem, job, read(path))
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: can't be shown ({error}); delete it, and the workflow makes it again") from error


def sheet(path: Path) -> Sheet:
    """Read a CSV file."""
    try:
        return Sheet.of(read(path).decode())
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error}); delete it, and the workflow makes it again") from error


def read(path: Path) -> bytes:
    """Read a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); the workflow makes it again") from error


def device_of(planned: Mapping[str, Mapping[str, str]]) -> str:
    """Return in words which device the plan's hours are of."""
    for row in planned.values():
        return f"{row['device']}, {'measured' if row['measured'] == 'True' else 'assumed, not measured'}"
    return ""


def downloads(params: PageJob, results: Path, plan: Sequence[Path]) -> list[Path]:
    """Return the files that the page links to."""
    claims = [results / f"claims{end}" for end in ("-verdicts.csv", ".csv", ".tex", ".md")] if params.claims else []
    tables = [results / f"tables/{name}.{form}" for name in params.tables for form in ("csv", "tex", "md")]
    figures = [results / f"figures/{name}.{form}" for name in params.figures for form in ("pdf", "png")]
    return [*claims, *tables, *figures, *(results / name for name in params.theory), *plan]


def file_of(path: Path, folder: Path) -> File:
    """Return a file as the page names it."""
    content = read(path)
    return File(os.path.relpath(path, folder), len(content), hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    command(report)
