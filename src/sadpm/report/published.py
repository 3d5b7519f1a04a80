"""Published values that the user fills in, to print beside ours. The project ships none."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sadpm.config.experiment import Config
from sadpm.config.files import read_utf8
from sadpm.config.grid import table_cells
from sadpm.kinds.section import ConfigError, nearest
from sadpm.running.files import UserError

if TYPE_CHECKING:
    from pandas import DataFrame


class Published(NamedTuple):
    """A line of the user's file: the cell of a table, what was published for it, and where."""

    table: str
    dataset: str
    model: str
    sampler: str
    covariance: str
    steps: int
    value: float
    source: str

    @property
    def cell(self) -> tuple[str, str, str, str, str, int]:
        """What the value belongs to."""
        return self[:6]


COLUMNS = Published._fields
KEY = list(COLUMNS[:6])


def load_published(path: Path) -> dict[int, Published]:
    """Read a file of published values; the rest is as of :func:`read_published`.

    Raises:
        UserError: it can't be read, is not in UTF-8, or has mistakes.
    """
    try:
        return read_published(read_utf8(path), str(path))
    except ConfigError as error:
        raise UserError(str(error)) from None


def read_published(text: str, file: str) -> dict[int, Published]:
    """Read a CSV with the columns table, dataset, model, sampler, covariance, steps, value, source, by line number.

    Raises:
        UserError: it is no CSV, a column is missing, unknown or there twice, a number is none, a source is empty, or a
            cell is given twice; with one line for each mistake.
    """
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        header, *rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if row] or [(1, [])]
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not a readable CSV ({error})") from None
    columns = header[1]
    if sorted(columns) != sorted(COLUMNS):
        wrong = sorted({*COLUMNS} ^ {*columns}) or [name for name in COLUMNS if columns.count(name) > 1]
        raise UserError(f"{file}: columns must be {', '.join(COLUMNS)}; missing, unknown or twice: {', '.join(wrong)}")
    values: dict[int, Published] = {}
    lines: dict[tuple[str, str, str, str, str, int], int] = {}
    mistakes = []
    for line, fields in rows:
        try:
            if len(fields) != len(columns):
                raise ValueError(f"{len(fields)} fields in place of {len(columns)}; put text with commas in quotes")
            value = _value(dict(zip(columns, fields, strict=True)))
            if (first := lines.setdefault(value.cell, line)) != line:
                raise ValueError(f"this cell has a published value already, in line {first}")
            values[line] = value
        except ValueError as error:
            mistakes.append(f"{file}, line {line}: {error}")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return values


def name_errors(config: Config, values: Mapping[int, Published], file: str) -> list[str]:
    """Return one line for each name that a value of one of the configuration's tables has, and nobody declares."""
    return [
        f"{file}, line {line}: {axis} {name!r} is not declared under {axis}s; {nearest(name, declared)}"
        for line, value in values.items()
        if value.table in config.tables
        for axis in ("dataset", "model", "sampler", "covariance")
        if (name := getattr(value, axis)) not in (declared := getattr(config, f"{axis}s"))
    ]


def left_out(config: Config, values: Mapping[int, Published], file: str) -> list[str]:
    """Return one line for each table of the file that the configuration lacks, or that lacks some of the cells."""
    told = []
    for table in dict.fromkeys(value.table for value in values.values()):
        mine = {line: value for line, value in values.items() if value.table == table}
        if table not in config.tables:
            told.append(f"{file}, {_lines(mine)}: there is no table {table!r} here; {nearest(table, config.tables)}")
            continue
        cells = {(table, c.dataset, c.model, c.sampler, c.covariance, c.steps) for c in table_cells(config, table)}
        if absent := [line for line, value in mine.items() if value.cell not in cells]:
            told.append(f"{file}, {_lines(absent)}: {table} has no such cell, so the value is not printed")
    return told


def beside(frame: DataFrame, values: Iterable[Published]) -> DataFrame:
    """Return a long table with published value, our difference from it, and its source; empty where there is none."""
    import pandas as pd

    given = pd.DataFrame(values, columns=COLUMNS).astype({"steps": int, "value": float})
    given = given.rename(columns={"value": "published", "source": "published_source"})
    joined = frame.drop(columns=["published", "difference", "published_source"]).merge(given, on=KEY, how="left")
    joined["difference"] = joined["value"] - joined["published"]
    joined["published_source"] = joined["published_source"].fillna("")
    return joined[frame.columns]


def unused(frame: DataFrame, values: Iterable[Published]) -> list[str]:
    """Return the published cells of a long table's table that it does not have."""
    table, ours = str(frame["table"].iloc[0]), set(frame[KEY].itertuples(index=False, name=None))
    return ["/".join(map(str, value.cell)) for value in values if value.table == table and value.cell not in ours]


def _value(row: Mapping[str, Any]) -> Published:
    if not row["steps"].isdecimal() or not _is_finite(row["value"]):
        raise ValueError(f"steps and value must be numbers, not {row['steps']!r}, {row['value']!r}")
    if not row["source"]:
        raise ValueError(f"say in `source` where {row['value']} was published")
    return Published(**{**row, "steps": int(row["steps"]), "value": float(row["value"])})


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _lines(lines: Iterable[int]) -> str:
    numbers = list(map(str, lines))
    return f"line{'s'[: len(numbers) != 1]} {', '.join(numbers)}"
