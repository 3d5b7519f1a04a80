"""Published values that the user fills in, to print beside ours. The project ships none."""

from __future__ import annotations

import io
import math

import pandas as pd
from pandas import DataFrame

from sadpm.artifacts import UserError

KEY = ["table", "dataset", "model", "sampler", "covariance", "steps"]
COLUMNS = [*KEY, "value", "source"]


def read_published(text: str, file: str) -> DataFrame:
    """Read a CSV with the columns table, dataset, model, sampler, covariance, steps, value, source.

    Raises:
        UserError: a column is missing or unknown, a number is none, a source is empty, or a cell is given twice.
    """
    values = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    if wrong := set(COLUMNS).symmetric_difference(values.columns):
        raise UserError(f"{file}: columns must be {', '.join(COLUMNS)}; missing or unknown: {', '.join(sorted(wrong))}")
    for number, row in enumerate(values.to_dict("records"), 2):
        if not str(row["steps"]).isdigit() or not _is_finite(str(row["value"])):
            raise UserError(
                f"{file}, line {number}: steps and value must be numbers, not {row['steps']!r}, {row['value']!r}"
            )
        if not str(row["source"]).strip():
            raise UserError(f"{file}, line {number}: say in `source` where {row['value']} was published")
    values = values.astype({"steps": int, "value": float})
    if (twice := values.duplicated(KEY)).any():
        raise UserError(f"{file}, line {int(twice.to_numpy().argmax()) + 2}: this cell has a published value already")
    return values


def beside(frame: DataFrame, published: DataFrame) -> DataFrame:
    """Return a long table with published value, our difference from it, and its source; empty where there is none."""
    given = published.rename(columns={"value": "published", "source": "published_source"})
    joined = frame.drop(columns=["published", "difference", "published_source"]).merge(given, on=KEY, how="left")
    joined["difference"] = joined["value"] - joined["published"]
    joined["published_source"] = joined["published_source"].fillna("")
    return joined[frame.columns]


def unused(frame: DataFrame, published: DataFrame) -> list[str]:
    """Return the published cells of this table that the grid does not have: perhaps a name was mistyped."""
    table = str(frame["table"].iloc[0])
    ours = set(frame[KEY].itertuples(index=False, name=None))
    rows = published.loc[published["table"] == table, KEY].itertuples(index=False, name=None)
    return ["/".join(map(str, row)) for row in rows if row not in ours]


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
