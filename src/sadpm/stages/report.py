"""Show an experiment on one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadpm.config.grid import Cell, pack_of
from sadpm.config.jobs import PageJob
from sadpm.report.costs import by_rule, measured_jobs, read_plan, total
from sadpm.report.flow import draw
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
        {name: job_of(results / kind / f"{name}.json") for name in names}
        for kind, names in (("tables", params.tables), ("figures", params.figures))
    )
    drawn = [job for job in figures.values() if job["figure"]["kind"] == "quality"]
    cells = {Cell(**cell): None for job in [*tables.values(), *drawn] for cell in job["cells"]}
    packs = {cell: results / cell.run / f"scores/{pack_of(cell, params.samples_per_job)}.json" for cell in cells}
    scores, trainings = {path: read_json(path) for path in packs.values()}, {}
    for run in params.runs:
        trainings[run] = read_json(results / run / "training.json")
    places = {path: place for place, path in enumerate(scores)}
    made_by = {cell: places[path] for cell, path in packs.items()}
    jobs = measured_jobs(results / "benchmarks", params.runs, {*params.tables, *params.figures})
    planned = read_plan(plan[0]) if plan else {}
    kinds = [(job["figure"]["kind"], job["figure"].get("dataset", "")) for job in figures.values()]
    return Page(
        experiment=params.experiment,
        version=code_version(),
        verdicts=sheet(results / "claims-verdicts.csv") if params.claims else None,
        contrasts=sheet(results / "claims.csv") if params.claims else None,
        tables=[table_of(results / f"tables/{name}.csv", job, made_by) for name, job in tables.items()],
        figures=[figure_of(results / f"figures/{name}.png", job) for name, job in figures.items()],
        theory=[(Path(name).stem, sheet(results / name)) for name in params.theory],
        costs=[*by_rule(jobs, planned), total(jobs, planned)] if jobs or planned else [],
        device_of_plan=device_of(planned),
        drawing=draw(jobs, kinds) if jobs else None,
        versions=versions(scores.values(), trainings.values()),
        commands=[
            commands(path, score, trainings[Cell(**score["scores"][0]["cell"]).run]) for path, score in scores.items()
        ],
        files=[file_of(path, folder) for path in downloads(params, results, plan)],
    )


def job_of(record: Path) -> dict[str, Any]:
    """Return the job that a table or figure was made by."""
    try:
        return read_json(record)["provenance"]["job"]
    except (KeyError, TypeError):
        raise UserError(f"{record}: does not say how it was made; delete it, and the workflow makes it again") from None


def table_of(path: Path, job: dict[str, Any], made_by: Mapping[Cell, int]) -> TableView:
    """Read a table."""
    markdown = path.with_suffix(".md")
    try:
        return table_view(path.stem, job["title"], read(markdown).decode(), read(path).decode(), made_by)
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
