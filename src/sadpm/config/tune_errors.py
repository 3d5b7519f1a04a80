"""Whether what is to be tuned can be: its option, its grid, and the cells at which it is tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sadpm.config.cell_errors import FEWEST_IMAGES, cell_errors
from sadpm.config.grid import Cell, all_cells
from sadpm.config.tuning import TuneConfig, option_of, tuned_at, tunings_of, with_option

if TYPE_CHECKING:
    from sadpm.config.experiment import Config
    from sadpm.covariances import Covariance
    from sadpm.samplers import Sampler


def tune_errors(config: Config) -> list[str]:
    """Return one line for each mistake below ``tune``; names of cells must have been checked before."""
    if not config.tune:
        return []
    cells = all_cells(config)
    errors = [line for name, entry in config.tune.items() for line in _entry_errors(config, name, entry, cells)]
    twice = dict.fromkeys((c.sampler, c.covariance) for c in cells if len(tunings_of(config, c)) > 1)
    errors += [
        f"tune: sampler {sampler!r} and covariance {covariance!r} are both tuned, and there are cells of both;"
        " tune one of them, or let the cells be of others"
        for sampler, covariance in twice
    ]
    return errors


def _entry_errors(config: Config, name: str, entry: TuneConfig, cells: list[Cell]) -> list[str]:
    place = f"tune.{name}"
    if (name in config.samplers) == (name in config.covariances):
        samplers, covariances = ", ".join(config.samplers), ", ".join(config.covariances)
        if name in config.samplers:
            return [f"{place}: a sampler and a covariance have this name; rename one of them"]
        return [f"{place}: {name!r} is declared neither under samplers ({samplers}) nor covariances ({covariances})"]
    kind: Sampler | Covariance = config.samplers[name] if name in config.samplers else config.covariances[name]
    try:
        declared = option_of(kind, entry.option)
    except ValueError as error:
        return [f"{place}.option: {error}"]
    if not {*entry.grid} - {declared}:
        return [f"{place}.grid: has only {declared:g}, the declared value of {entry.option!r}; name others"]
    at = dict.fromkeys(
        found
        for cell in cells
        if any(tuning.name == name for tuning in tunings_of(config, cell)) and (found := tuned_at(config, cell))
    )
    return list(dict.fromkeys(_grid_errors(config, name, kind, entry, list(at))))


def _grid_errors(
    config: Config, name: str, kind: Sampler | Covariance, entry: TuneConfig, at: list[Cell]
) -> Iterator[str]:
    place, axis = f"tune.{name}", "samplers" if name in config.samplers else "covariances"
    for value in entry.grid:
        try:
            other = with_option(kind, entry.option, value)
        except ValidationError as error:
            mistakes = (detail["msg"].removeprefix("Value error, ") for detail in error.errors())
            yield from (f"{place}.grid: {value:g}: {mistake}" for mistake in mistakes)
            continue
        if axis == "covariances" and other.as_fitted() != kind.as_fitted():  # type: ignore[union-attr]
            yield f"{place}.option: what is fitted of {name!r} depends on {entry.option!r}, so it can't be tuned"
        declared = {**getattr(config, axis), name: other}
        changed = config.model_copy(update={axis: declared})
        yield from (
            line.replace(f"{place}: ", f"{place}.grid: {value:g}: ")
            for line in cell_errors(changed, place, at, entry.metric)
        )
    fewest = FEWEST_IMAGES.get(entry.metric, 2)
    if entry.num_samples is not None and entry.num_samples < fewest:
        yield f"{place}.num_samples: {entry.num_samples} are too few for {entry.metric}: {fewest} or more"
