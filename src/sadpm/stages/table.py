"""Collect scores into a table: a long CSV, and LaTeX and Markdown rendered from that file's text."""

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from sadpm.config.jobs import TableJob
from sadpm.report.published import beside, load_published, unused
from sadpm.report.tables import from_csv, long_table, to_latex, to_markdown
from sadpm.running.files import provenance, write_json, write_text
from sadpm.running.records import entries
from sadpm.stages import command


def table(
    params: TableJob,
    scores: Sequence[Path],
    csv: Path,
    tex: Path,
    markdown: Path,
    report: Path,
    published: Sequence[Path] = (),
) -> None:
    """Write one table in three forms, and a report; ``published`` is the user's file of published values, if any."""
    frame = long_table(params, chain.from_iterable(entries(path, "scores") for path in scores))
    for path in published:
        values = load_published(path).values()
        frame = beside(frame, values)
        for cell in unused(frame, values):
            print(f"{path}: {params.name} has no cell {cell}", file=sys.stderr)
    text = frame.to_csv(index=False)
    frame = from_csv(text)
    write_text(csv, text)
    write_text(tex, to_latex(frame, params.title, params.labels))
    write_text(markdown, to_markdown(frame, params.title, params.labels))
    write_json(report, {"provenance": provenance(params)})


if __name__ == "__main__":
    command(table)
