"""Which numbers of a table are bold: the best of each column, and all that nobody can tell from it yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pandas import DataFrame

from sadpm.config.grid import Cell
from sadpm.report.contrasts import Scored, contrast
from sadpm.report.long_table import BETTER, BLOCK, COLUMNS, COMPARISON

Seeds = Mapping[int, Cell]
"""A number of a table: its cells by training seed."""


def compared(frame: DataFrame, scored: Scored) -> DataFrame:
    """Return a long table that says of each number how far it is from the best of its column, and whether it is bold.

    A column is that of a number of steps within a block of data set and sampler. ``from_best`` is the mean difference
    over the ``from_best_seeds`` training seeds that a number shares with the best mean, paired; the 95 % interval is
    Student's t over them, or for one seed that of the sampling error. It is empty where there is no such seed or
    error, and such a number is never bold. The best itself is at 0, and has nothing to be compared with.

    Bold are the best, and whatever is not decidedly worse, but only where something else is: else nothing is decided.

    Raises:
        UserError: a file of influence values is damaged.
    """
    said: dict[Any, dict[str, Any]] = {}
    for _, rows in frame.groupby([*BLOCK, "steps"], sort=False):
        numbers = {name: group for name, group in rows.groupby(["model", "covariance"], sort=False)}
        means = {name: float(group["value"].mean()) for name, group in numbers.items()}
        better = BETTER[frame["metric"].iloc[0]][1]
        best = (min if better == "min" else max)(means, key=means.__getitem__)
        found = {name: _from(numbers[best], group, scored) for name, group in numbers.items() if name != best}
        decided = any(_is_worse(comparison, better) for comparison in found.values())
        found[best] = {"from_best": 0.0, "from_best_low": 0.0, "from_best_high": 0.0}
        for name, comparison in found.items():
            known = not math.isnan(comparison["from_best_low"])
            comparison["bold"] = decided and known and not _is_worse(comparison, better)
            said |= dict.fromkeys(numbers[name].index, comparison)
    columns = DataFrame.from_dict(said, orient="index").reindex(index=frame.index, columns=list(COMPARISON))
    return frame.assign(**columns).astype(COLUMNS)


def _from(best: DataFrame, number: DataFrame, scored: Scored) -> dict[str, Any]:
    """The difference of a number from the best over the training seeds that both have; NaN where it is not known."""
    ours, theirs = _cells(number), _cells(best)
    pairs = [(cell, theirs[seed]) for seed, cell in ours.items() if seed in theirs]
    if not pairs:
        return {
            "from_best": math.nan, "from_best_low": math.nan, "from_best_high": math.nan, "from_best_seeds": 0
        }  # fmt: skip
    found = contrast(scored, pairs, number["metric"].iloc[0])
    low, high = found.interval()
    return {
        "from_best": found.mean, "from_best_low": low, "from_best_high": high, "from_best_seeds": found.seeds
    }  # fmt: skip


def _is_worse(comparison: Mapping[str, Any], better: str) -> bool:
    """Whether the whole interval lies on the worse side; where seeds differ, it may lie on the other one."""
    return bool(comparison["from_best_low"] > 0 if better == "min" else comparison["from_best_high"] < 0)


def _cells(number: DataFrame) -> Seeds:
    columns = number[["dataset", "model", "seed", "sampler", "covariance", "steps"]]
    return {int(cell[2]): Cell(*cell) for cell in columns.itertuples(index=False, name=None)}
