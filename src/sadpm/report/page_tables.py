"""The page's tables: each as it is printed, and the long table's rows behind every number."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sadpm.config.grid import Cell
from sadpm.metrics.uncertainty import OverSeeds
from sadpm.report.long_table import AXES


@dataclass(frozen=True)
class Sheet:
    """A CSV file as it is: names of columns, and the texts of each row."""

    columns: list[str]
    rows: list[list[str]]

    @classmethod
    def of(cls, text: str) -> Sheet:
        """Read the text of a CSV file, whose first line has the names.

        Raises:
            ValueError: a row is longer or shorter than the first.
        """
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
        if any(len(row) != len(header) for row in rows):
            raise ValueError("its rows differ in length")
        return cls(header, rows)

    def column(self, name: str) -> list[str]:
        """Return the texts of a column; none where there is no such column."""
        return [row[self.columns.index(name)] for row in self.rows if name in self.columns]


class Number(NamedTuple):
    """A number of a table as printed, the rows of the long table behind it, and how sure it is, in words."""

    text: str
    best: bool
    rows: list[int]
    about: str

    @property
    def value(self) -> str:
        """What it is sorted by; nothing where it is none."""
        return self.text.split(" ")[0] if self.rows else ""


@dataclass(frozen=True)
class TableView:
    """A table as printed, and the long one behind it; ``jobs`` has the place of each long row's commands."""

    name: str
    title: str
    caption: str
    heads: list[str]
    rows: list[tuple[list[str], list[Number]]]
    long: Sheet
    jobs: list[int | None]


def table_view(name: str, title: str, markdown: str, text: str, jobs: Mapping[Cell, int]) -> TableView:
    """Return a table from its two files; ``jobs`` is the place of each cell's commands.

    Raises:
        ValueError: the files are not of the same table.
    """
    above, heads, printed = read_markdown(markdown)
    long = Sheet.of(text)
    records = [dict(zip(long.columns, row, strict=True)) for row in long.rows]
    steps = sorted({int(record["steps"]) for record in records})
    rows: list[tuple[list[str], list[Number]]] = []
    for place, cells in zip(_in_order(records), printed, strict=True):
        numbers = []
        for count, cell in zip(steps, cells[-len(steps) :], strict=True):
            at = [i for i, record in enumerate(records) if _place(record) == place and int(record["steps"]) == count]
            shown = cell.replace("**", "")
            about = how_sure([_value_and_error(records[i]) for i in at], len(shown.split(" ")[0].partition(".")[2]))
            numbers.append(Number(shown, cell.startswith("**"), at, about))
        rows.append((list(map(unescape_markdown, cells[: -len(steps)])), numbers))
    return TableView(name, title, above, heads, rows, long, [jobs.get(_cell(record)) for record in records])


def read_markdown(text: str) -> tuple[str, list[str], list[list[str]]]:
    """Return what stands above the table of a Markdown file, the table's heads, and its rows as they are written."""
    above, _, below = text.partition("\n\n")
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in below.splitlines()]
    heads, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return unescape_markdown(above), heads, rows


def unescape_markdown(text: str) -> str:
    """Return what :func:`sadpm.report.tables.escape_markdown` was given."""
    return re.sub(r"\\([\\`*_\[\]<>|~#$&])", r"\1", text)


def how_sure(seeds: Sequence[tuple[float, float]], digits: int) -> str:
    """Return in words how sure the mean of some seeds is, each given by its value and sampling error (NaN: unknown)."""
    if not seeds:
        return ""
    over = OverSeeds(*(tuple(numbers) for numbers in zip(*seeds, strict=True)))
    low, high = (f"{end:.{digits}f}" for end in over.interval())
    if over.seeds > 1:
        return f"mean of {over.seeds} training seeds; 95 % interval {low} to {high} (Student's t over seeds)"
    if math.isnan(over.standard_error):
        return "one training seed, sampling error not known: no interval"
    return f"one training seed; 95 % interval {low} to {high} from sampling alone, other seeds may differ by more"


def _place(record: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(record[axis] for axis in AXES)


def _in_order(records: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """The rows of the printed table: names of each axis in the order in which the long one has them first."""
    ranks = [
        {name: rank for rank, name in enumerate(dict.fromkeys(record[axis] for record in records))} for axis in AXES
    ]
    return sorted(
        {_place(record) for record in records},
        key=lambda place: [rank[name] for rank, name in zip(ranks, place, strict=True)],
    )


def _cell(record: Mapping[str, str]) -> Cell:
    names = {key: record[key] for key in ("dataset", "model", "sampler", "covariance")}
    return Cell(**names, seed=int(record["seed"]), steps=int(record["steps"]))


def _value_and_error(record: Mapping[str, str]) -> tuple[float, float]:
    """Value and sampling error of a row; NaN where it has none."""
    return float(record["value"]), float(record.get("standard_error") or math.nan)
