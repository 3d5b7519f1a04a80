"""Scores with their sampling errors, and paired differences of cells: what verdicts and marks in tables are made of."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sadpm.config.grid import Cell
from sadpm.metrics.uncertainty import OverSeeds, standard_error
from sadpm.running.files import UserError, read_json, sha256
from sadpm.running.records import entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGAIN = "delete it, and the workflow makes it again"


@dataclass(frozen=True)
class Scored:
    """Scores by cell, each with the file of the influence values behind it.

    Attributes:
        scores: what score files say of each cell; where two measured it by different metrics, the latter of both.
        influence: by cell and metric, files with float32 arrays (n,) named ``<cell.draw>/<metric>``. They are read when
            they are needed: those of a large grid don't fit into the memory of a small job. A metric without a file
            has none.
    """

    scores: Mapping[Cell, Mapping[str, Any]]
    influence: Mapping[tuple[Cell, str], Path]

    @classmethod
    def load(cls, scores: Sequence[Path], influence: Sequence[Path]) -> Scored:
        """Read score files, and check the files of influence values that belong to them, given in the same order.

        Raises:
            UserError: a file is missing or damaged, or influence values are not those of the scores.
        """
        if len(scores) != len(influence):
            raise UserError(f"{len(influence)} files of influence values given for {len(scores)} files of scores")
        found: dict[Cell, Mapping[str, Any]] = {}
        files: dict[tuple[Cell, str], Path] = {}
        for path, beside in zip(scores, influence, strict=True):
            cells = {Cell(**score["cell"]): score for score in entries(path, "scores")}
            try:
                expected = read_json(path)["influence"]["sha256"]
            except (KeyError, TypeError):
                raise UserError(f"{path}: does not say which influence values belong to it; {AGAIN}") from None
            if sha256(beside) != expected:
                raise UserError(f"{beside}: not the influence values that {path} was written with; {AGAIN}")
            for cell, score in cells.items():
                before = found.get(cell, {}).get("metrics", {})
                found[cell] = {**score, "metrics": {**before, **score["metrics"]}}
                files |= dict.fromkeys(((cell, metric) for metric in score["metrics"]), beside)
        return cls(found, files)

    def value(self, cell: Cell, metric: str) -> float:
        """Return the score of a cell."""
        return float(self._entry(cell, metric)["value"])

    def error(self, cell: Cell, metric: str) -> float:
        """Return the sampling error of the score, NaN where it is not known."""
        found = self._entry(cell, metric).get("standard_error")
        return math.nan if found is None else float(found)

    def n(self, cell: Cell, metric: str) -> int:
        """Return how many samples are behind the score."""
        return int(self._entry(cell, metric)["n"])

    def difference(self, a: Cell, b: Cell, metric: str, ratio: bool = False) -> tuple[float, float]:
        """Return the score of a minus that of b and the sampling error of this, or both of log a - log b.

        Where both have influence values of equally many samples, they are paired: sample i of each started from the
        same noise, and what they have in common cancels. Else the errors add up as if they were independent. The error
        is NaN where it is not known.

        Raises:
            UserError: a score is missing, influence values are damaged, or there is no logarithm.
        """
        values = {cell: self.value(cell, metric) for cell in (a, b)}
        if ratio and (wrong := [cell for cell, value in values.items() if value <= 0]):
            place = _place(wrong[0])
            raise UserError(f"{metric!r} of {place} is {values[wrong[0]]:g}: only positive values have ratios")
        scales = {cell: value if ratio else 1.0 for cell, value in values.items()}
        change = math.log(values[a] / values[b]) if ratio else values[a] - values[b]
        if self.n(a, metric) == self.n(b, metric):
            influence = {cell: self._kept(cell, metric, f"{cell.draw}/{metric}") for cell in (a, b)}
            first, second = influence[a], influence[b]
            if first is not None and second is not None:
                return change, standard_error(first / scales[a] - second / scales[b])
        return change, math.hypot(*(self.error(cell, metric) / scales[cell] for cell in (a, b)))

    def detail(self, cell: Cell, metric: str, name: str) -> NDArray[np.float64]:
        """Return what else is known of each sample of a cell, (n,), by the name under which scoring has kept it.

        Raises:
            UserError: there is no such score, or its file has no such numbers or is damaged.
        """
        found = self._kept(cell, metric, f"{cell.draw}/{metric}/{name}")
        if found is None:
            raise UserError(f"{self.influence[cell, metric]}: has no {cell.draw}/{metric}/{name}; {AGAIN}")
        return found

    def _entry(self, cell: Cell, metric: str) -> Mapping[str, Any]:
        if cell not in self.scores:
            raise UserError(f"there is no score of {_place(cell)}")
        metrics: Mapping[str, Mapping[str, Any]] = self.scores[cell]["metrics"]
        if metric not in metrics:
            raise UserError(f"{_place(cell)} was scored without {metric!r}, by {', '.join(metrics)}")
        return metrics[metric]

    def _kept(self, cell: Cell, metric: str, name: str) -> NDArray[np.float64] | None:
        """What is kept of each sample beside a score, (n,), None where nothing is."""
        n, path = self.n(cell, metric), self.influence.get((cell, metric))
        if path is None:
            return None
        try:
            with np.load(path) as arrays:
                if name not in arrays:
                    return None
                values: NDArray[np.float64] = arrays[name].astype(np.float64)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: can't be read ({error}); {AGAIN}") from error
        if values.shape != (n,) or not np.isfinite(values).all():
            raise UserError(f"{path}: {name} is not one finite number for each of the samples; {AGAIN}")
        return values


def contrast(scored: Scored, pairs: Sequence[tuple[Cell, Cell]], metric: str, ratio: bool = False) -> OverSeeds:
    """Return the difference of two rows over training seeds, given one pair of cells for each seed that both have.

    Raises:
        UserError: as of :meth:`Scored.difference`.
        ValueError: there is no pair.
    """
    values, errors = [], []
    for a, b in pairs:
        value, error = scored.difference(a, b, metric, ratio)
        values.append(value)
        errors.append(error)
    return OverSeeds(tuple(values), tuple(errors))


def _place(cell: Cell) -> str:
    return f"{cell.run}/{cell.draw}"
