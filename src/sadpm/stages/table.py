"""Collect scores into a table: a long CSV, and LaTeX and Markdown rendered from that file's text."""

import sys
from collections.abc import Sequence
from pathlib import Path

from sadpm.artifacts import read_json, write_text
from sadpm.jobs import TableJob
from sadpm.published import beside, load_published, unused
from sadpm.stages import command
from sadpm.tables import from_csv, long_table, to_latex, to_markdown


def table(
    params: TableJob, scores: Sequence[Path], csv: Path, tex: Path, markdown: Path, published: Sequence[Path] = ()
) -> None:
    """Write one table in three forms; ``published`` is the user's file of published values, if there is one."""
    frame = long_table(params, map(read_json, scores))
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


if __name__ == "__main__":
    command(table)
