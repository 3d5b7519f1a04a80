"""Collect scores into a table: a long CSV, and LaTeX and Markdown rendered from that file's text."""

import sys
from collections.abc import Sequence
from pathlib import Path

from sadpm.config.jobs import TableJob
from sadpm.report.contrasts import Scored
from sadpm.report.decided import compared
from sadpm.report.long_table import from_csv, long_table
from sadpm.report.published import beside, load_published, unused
from sadpm.report.tables import to_latex, to_markdown
from sadpm.running.files import provenance, write_json, write_text
from sadpm.stages import command


def table(
    params: TableJob,
    scores: Sequence[Path],
    influence: Sequence[Path],
    csv: Path,
    tex: Path,
    markdown: Path,
    report: Path,
    published: Sequence[Path] = (),
) -> None:
    """Write one table in three forms, and a report.

    ``influence`` are the influence values of each file of scores, ``published`` is the user's file of published values,
    if any.
    """
    scored = Scored.load(scores, influence)
    frame = compared(long_table(params, scored.scores.values()), scored)
    for path in published:
        values = load_published(path).values()
        frame = beside(frame, values)
        for cell in unused(frame, values):
            print(f"{path}: {params.name} has no cell {cell}", file=sys.stderr)
    text = frame.to_csv(index=False)
    frame = from_csv(text)
    write_text(csv, text)
    write_text(tex, to_latex(frame, params.title, params.labels, params.costs))
    write_text(markdown, to_markdown(frame, params.title, params.labels, params.costs))
    write_json(report, {"provenance": provenance(params)})


if __name__ == "__main__":
    command(table)
