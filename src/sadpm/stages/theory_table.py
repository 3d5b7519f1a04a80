"""Tabulate the numbers that a figure of the theorems draws, as CSV, LaTeX and Markdown."""

from collections.abc import Sequence
from pathlib import Path

from sadpm.config.jobs import FigureJob
from sadpm.report.theorems import load_theorems
from sadpm.report.theory_table import to_csv, to_latex, to_markdown
from sadpm.running.files import provenance, write_json, write_text
from sadpm.stages import command


def theory_table(
    params: FigureJob, theorems: Sequence[Path], csv: Path, tex: Path, markdown: Path, report: Path
) -> None:
    """Write one table in three forms, and a report; the theorems' numbers are in the order of the job's curves."""
    measured, title = load_theorems(params, theorems), params.figure.title
    write_text(csv, to_csv(params.name, measured))
    write_text(tex, to_latex(params.name, title, measured, params.labels))
    write_text(markdown, to_markdown(title, measured, params.labels))
    write_json(report, {"provenance": provenance(params)})


if __name__ == "__main__":
    command(theory_table)
