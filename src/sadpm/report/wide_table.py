"""The table that is printed, from the long one: rows of methods by columns of sampling steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from pandas import DataFrame

from sadpm.config.outputs import Cost
from sadpm.report.long_table import AXES


@dataclass(frozen=True)
class WideTable:
    """Rows (dataset, sampler, model, covariance) by columns of sampling steps.

    Attributes:
        mean: over seeds; NaN where the table asks for no cell.
        error: sample standard deviation over seeds, or for one seed the sampling error; NaN where it is not known.
        bold: see :func:`sadpm.report.decided.compared`.
        published: the published value, NaN where the user gave none.
        costs: with a column for each cost; NaN where it is not known.
        digits: decimals printed for each data set.
    """

    mean: DataFrame
    error: DataFrame
    bold: DataFrame
    published: DataFrame
    costs: DataFrame
    digits: Mapping[str, int]


def wide_table(frame: DataFrame, costs: Sequence[Cost] = ()) -> WideTable:
    """Average a long table over seeds; names keep their order, so that the baseline, listed first, comes first.

    Costs are those of one training and of drawing all columns of a row once, averaged over seeds.
    """
    in_order = {axis: pd.CategoricalDtype(list(frame[axis].unique()), ordered=True) for axis in AXES}
    numbers = {"images_seen": float, "bold": float}
    cells = frame.astype({**in_order, **numbers}).groupby([*AXES, "steps"], observed=True)
    mean = cells["value"].mean().unstack("steps")
    error = cells["value"].std(ddof=1).where(cells.size() > 1, cells["standard_error"].first()).unstack("steps")
    bold = cells["bold"].max().unstack("steps").eq(1)
    published = cells["published"].mean().unstack("steps")
    of_cells = cells[["images_seen", "network_calls", "seconds"]].mean().groupby(level=AXES, observed=True)
    total = of_cells.sum().assign(images_seen=of_cells["images_seen"].max()).reindex(mean.index)
    digits = {str(dataset): _digits(rows) for dataset, rows in mean.groupby(level="dataset", observed=True)}
    return WideTable(mean, error, bold, published, total[list(costs)], digits)


def _digits(means: DataFrame) -> int:
    """Two decimals, or more where the means of some column would hardly differ in print."""
    spreads = [spread for spread in means.max() - means.min() if spread > 0]
    smallest = min(spreads, default=0.1 * means.abs().max().min())
    return min(max(2, math.ceil(1 - math.log10(smallest))), 6) if smallest > 0 else 2
