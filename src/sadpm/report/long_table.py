"""The long table: one row for each cell and training seed, with all that is printed. Its CSV is the truth."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from pandas import DataFrame

from sadpm.config.grid import Cell
from sadpm.config.jobs import TableJob
from sadpm.running.files import UserError

BLOCK = ["dataset", "sampler"]
AXES = [*BLOCK, "model", "covariance"]
BETTER = {metric: ("lower", "min") for metric in ("fd", "kid", "memorised", "bpd")} | {
    metric: ("higher", "max") for metric in ("is", "precision", "recall")
}
COMPARISON: dict[str, Any] = {
    "from_best": float, "from_best_low": float, "from_best_high": float, "from_best_seeds": "Int64", "bold": bool,
}  # fmt: skip
"""What `sadpm.report.decided` says of a cell; the same in the rows of all its seeds."""
COLUMNS: dict[str, Any] = {
    "table": str, "dataset": str, "model": str, "sampler": str, "covariance": str, "recipe": str, "timesteps": str,
    "clip_sample": bool, "max_variance_pixels": float, "steps": int, "seed": int, "metric": str, "label": str,
    "value": float, "standard_error": float, "no_error": str, "n": int, "reference_n": "Int64", **COMPARISON,
    "images_seen": "Int64", "network_calls": int, "seconds": float, "device": str, "sha256_samples": str,
    "sha256_model": str, "sha256_reference": str, "code": str, "notes": str,
    "published": float, "difference": float, "published_source": str,
}  # fmt: skip


TUNED: dict[str, Any] = {"tuned": str, "tuned_value": float, "tuned_by": str, "tuned_notes": str}
"""Further columns of a table in which something was tuned: which option, its value, and by which metric."""


def long_table(job: TableJob, scores: Iterable[Mapping[str, Any]]) -> DataFrame:
    """Return one row for each of the job's cells, in its order, from the contents of score files in any order.

    Cells are not compared with the best yet, see :func:`sadpm.report.decided.compared`.

    Raises:
        UserError: a cell has no score, its score lacks the metric or is not finite, or two of a data set are of
            different numbers of images.
    """
    by_cell = {Cell(**score["cell"]): score for score in scores}
    if missing := [_path(cell) for cell in job.cells if cell not in by_cell]:
        raise UserError(f"{job.name}: {len(missing)} of {len(job.cells)} scores are missing, first {missing[0]}")
    rows = [_long_row(job, cell, by_cell[cell]) for cell in job.cells]
    first: dict[str, int] = {}
    for cell, row in zip(job.cells, rows, strict=True):
        if (n := first.setdefault(cell.dataset, row["n"])) != row["n"]:
            raise UserError(
                f"{job.name}: {_path(cell)} was scored by {row['n']:,} images, others of {cell.dataset} by {n:,}: "
                "they can't be compared; delete the score files of this data set, and the workflow makes them again"
            )
    columns = COLUMNS | (TUNED if any(row.get("tuned") for row in rows) else {})
    return DataFrame(rows, columns=list(columns)).fillna(dict.fromkeys(_texts(TUNED), "")).astype(columns)


def from_csv(text: str) -> DataFrame:
    """Read a long table; names that look like numbers or gaps (``007``, ``NA``) stay names."""
    columns = COLUMNS | TUNED
    gaps = {column: [""] for column in columns if column not in _texts(columns)}
    exact: dict[str, Any] = {"keep_default_na": False, "na_values": gaps, "float_precision": "round_trip"}
    return pd.read_csv(io.StringIO(text), dtype=columns, **exact)


def _long_row(job: TableJob, cell: Cell, score: Mapping[str, Any]) -> dict[str, Any]:
    metric = score["metrics"].get(job.metric)
    if metric is None:
        raise UserError(
            f"{job.name}: {_path(cell)} was scored without {job.metric!r}, by {', '.join(score['metrics'])}"
        )
    if not math.isfinite(metric["value"]):
        raise UserError(f"{job.name}: {job.metric!r} of {_path(cell)} is {metric['value']}; look at its samples")
    recipe, source = dict(score["recipe"]), score["provenance"]
    if choice := recipe.pop("tuned", None):
        recipe |= {"tuned": choice["option"], "tuned_value": choice["value"], "tuned_by": choice["metric"]}
        recipe["tuned_notes"] = "; ".join(choice["notes"])
    return {
        "table": job.name, **cell.as_dict(), "recipe": recipe.pop("name"), **recipe, "metric": job.metric,
        "label": metric["label"], "value": metric["value"], "standard_error": metric.get("standard_error"),
        "no_error": metric.get("no_error") or "", "n": metric["n"], "reference_n": metric.get("reference_n"),
        "bold": False, "images_seen": job.images_seen.get(cell.dataset, {}).get(cell.model),
        **{key: score[key] for key in ("network_calls", "seconds", "device")},
        **{f"sha256_{key}": source["inputs"].get(key, "") for key in ("samples", "model", "reference")},
        "code": source["code"], "notes": "; ".join(metric.get("notes", ())), "published_source": "",
    }  # fmt: skip


def _texts(columns: Mapping[str, Any]) -> list[str]:
    return [column for column, dtype in columns.items() if dtype is str]


def _path(cell: Cell) -> str:
    return f"{cell.run}/{cell.draw}"
