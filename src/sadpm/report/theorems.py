"""The numbers of the paper's two theorems, as jobs have measured them for single models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sadpm.config.grid import GapCurve
from sadpm.config.jobs import FigureJob
from sadpm.running.files import UserError, read_json


class _Numbers(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class AlongTheChain(_Numbers):
    """Theorem 1 by level, from the start of the chain to 1: root mean squares over images and pixels.

    Attributes:
        level: s.
        gap: of D_s = y_s - x_s, the distance of two chains.
        by_errors: of the same by the theorem, from the errors of the levels above.
        residual: of the difference of both.
    """

    level: tuple[int, ...]
    gap: tuple[float, ...]
    by_errors: tuple[float, ...]
    residual: tuple[float, ...]

    @property
    def largest_residual(self) -> float:
        """The largest difference, relative to the gap at its level."""
        pairs = zip(self.residual, self.gap, strict=True)
        return max(residual / gap if gap else residual for residual, gap in pairs)


class Levels(_Numbers):
    """Levels 2..N: tau, and the root mean square of the network's error on noisy images."""

    level: tuple[int, ...]
    tau: tuple[float, ...]
    error: tuple[float, ...]


class Sides(_Numbers):
    """Theorem 2 for one K and one kind of weights: upper >= sequence >= lower."""

    weights: Literal["theory", "unit"]
    K: int
    upper: float
    sequence: float
    lower: float


class Source(_Numbers):
    """Where numbers come from: the part of a provenance that a table tells."""

    code: str
    inputs: dict[str, str]


class Theorems(_Numbers):
    """What a ``measure_theory`` job writes, besides what nobody reads."""

    chain: AlongTheChain
    levels: Levels
    sides: tuple[Sides, ...] = Field(min_length=1)
    device: str
    provenance: Source


def load_theorems(job: FigureJob, paths: Sequence[Path]) -> list[tuple[GapCurve, Theorems]]:
    """Read the files of a job's curves, in their order.

    Raises:
        UserError: there is not one for each, or one can't be read.
    """
    if len(paths) != len(job.curves):
        raise UserError(f"{job.name}: {len(paths)} files of the theorems' numbers given, {len(job.curves)} needed")
    return [(curve, _load(path)) for curve, path in zip(job.curves, paths, strict=True)]


def _load(path: Path) -> Theorems:
    try:
        return Theorems.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {place}: {first['msg']}; delete it to have it measured again") from None
