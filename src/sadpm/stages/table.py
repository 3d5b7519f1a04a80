"""Collect scores into a table: a long CSV, and LaTeX and Markdown rendered from that file's text."""

from pathlib import Path

from sadpm.artifacts import read_json, write_text
from sadpm.jobs import TableJob
from sadpm.stages import command
from sadpm.tables import from_csv, long_table, to_latex, to_markdown


def table(params: TableJob, scores: list[Path], csv: Path, tex: Path, markdown: Path) -> None:
    """Write one table in three forms."""
    text = long_table(params, map(read_json, scores)).to_csv(index=False)
    frame = from_csv(text)
    write_text(csv, text)
    write_text(tex, to_latex(frame, params.title, params.labels))
    write_text(markdown, to_markdown(frame, params.title, params.labels))


if __name__ == "__main__":
    command(table)
