"""What is tuned: an option of a sampler or covariance, over a grid, for each model alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from pydantic import Field

from sadpm.kinds import Kind
from sadpm.kinds.section import Metric, Once, Section, nearest

if TYPE_CHECKING:
    from sadpm.config.experiment import Config
    from sadpm.config.grid import Cell

K = TypeVar("K", bound=Kind)

Part = Literal["sampler", "covariance"]
"""Whose option it is."""


class TuneConfig(Section):
    """An option of the sampler or covariance of this name, and how its value is chosen.

    ``num_samples`` None stands for as many as are scored. With ``seeds: first`` all seeds use the value of the
    experiment's first one, with ``at_steps`` all numbers of steps that of one.
    """

    option: str
    grid: Once[float]
    metric: Metric
    num_samples: int | None = Field(None, ge=2)
    seeds: Literal["each", "first"] = "each"
    at_steps: int | None = Field(None, ge=1)


class Tuning(NamedTuple):
    """What of a cell is tuned: whose option it is, the name of that, and how."""

    part: Part
    name: str
    entry: TuneConfig


def tunings_of(config: Config, cell: Cell) -> list[Tuning]:
    """Return what is tuned of a cell: its sampler, its covariance, or nothing; not both in a checked configuration."""
    names: dict[Part, str] = {"sampler": cell.sampler, "covariance": cell.covariance}
    return [Tuning(part, name, config.tune[name]) for part, name in names.items() if name in config.tune]


def tuned_at(config: Config, cell: Cell) -> Cell | None:
    """Return the cell whose tuning a cell uses, often itself; None where nothing of it is tuned."""
    for _, _, entry in tunings_of(config, cell):
        seed = config.seeds[0] if entry.seeds == "first" else cell.seed
        return replace(cell, seed=seed, steps=entry.at_steps or cell.steps)
    return None


def tuning_cells(config: Config, cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells at which options are tuned that some cells use, each once, sorted."""
    return sorted({at for cell in cells if (at := tuned_at(config, cell)) is not None})


def option_of(kind: Kind, option: str) -> float:
    """Return the declared value of an option, a number; keys of a section within are joined by dots.

    Raises:
        ValueError: there is no such option, or it is no number.
    """
    found: Any = kind.model_dump(mode="json", by_alias=True)
    *sections, key = option.split(".")
    for name in sections:
        found = _entry(found, name, option)
    found = _entry(found, key, option)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{option!r} is {found!r}, and only a number can be tuned")
    return float(found)


def with_option(kind: K, option: str, value: float) -> K:
    """Return a kind with another value of an option that it has.

    Raises:
        ValueError: the kind does not allow this value.
    """
    content = kind.model_dump(mode="json", by_alias=True)
    *sections, key = option.split(".")
    inner = content
    for name in sections:
        inner = inner[name]
    inner[key] = value
    return type(kind).model_validate(content)


def _entry(content: Any, key: str, option: str) -> Any:
    if not isinstance(content, Mapping) or key not in content:
        known = nearest(key, content) if isinstance(content, Mapping) else "there is no section"
        raise ValueError(f"no number {option!r} is declared, with which others could be compared; {known}")
    return content[key]
