"""Whether what tables, figures and claims name exists, and whether their cells can be had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from sadpm.config.grid import Cell, table_cells
from sadpm.config.tuning import tunings_of
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.kinds.section import OF_LIKELIHOOD

if TYPE_CHECKING:
    from sadpm.config.claims import ClaimConfig
    from sadpm.config.experiment import Config
    from sadpm.config.outputs import Figure
    from sadpm.kinds.section import Metric

FEWEST_IMAGES = {"fd": 2, "is": 2, "kid": 2, "precision": 4, "recall": 4, "memorised": 2}
"""Of each kind, samples and real ones: a covariance, a kernel and a neighbour need two, third neighbours four."""


def reference_errors(config: Config) -> list[str]:
    """One line for each name, number of steps or metric that the rest of the configuration rules out."""
    errors = [
        f"covariances.{name}.recipe: {covariance.recipe!r} is not declared under recipes ({_names(config.recipes)})"
        for name, covariance in config.covariances.items()
        if covariance.recipe not in config.recipes
    ]
    errors += [
        f"models.{name}.checkpoint: {dataset!r} is not declared under datasets ({_names(config.datasets)})"
        for name, model in config.models.items()
        for dataset in model.checkpoint
        if dataset not in config.datasets
    ]
    for name, table in config.tables.items():
        if missing := _undeclared(config, f"tables.{name}", table, table.also):
            errors += missing
        else:
            errors += cell_errors(config, f"tables.{name}", table_cells(config, name), table.metric)
    for name, figure in config.figures.items():
        errors += _figure_errors(config, f"figures.{name}", figure)
    for name, claim in config.claims.items():
        errors += _claim_errors(config, f"claims.{name}", claim)
    return list(dict.fromkeys(errors))


def _figure_errors(config: Config, place: str, figure: Figure) -> list[str]:
    if missing := _undeclared(config, place, figure):
        return missing
    lines = [f"{place}{line}" for line in figure.objections(config.schedule)]
    return lines or cell_errors(config, place, figure.cells(config.seeds), *figure.metrics)


def _claim_errors(config: Config, place: str, claim: ClaimConfig) -> list[str]:
    if missing := _undeclared(config, place, claim):
        return missing
    if unknown := [name for name in claim.against.values() if name not in config.models]:
        return [f"{place}.against: {name!r} is not declared under models ({_names(config.models)})" for name in unknown]
    if claim.figure is not None:
        figure = config.figures.get(claim.figure)
        if figure is None or "curves" not in figure.shows:
            gaps = {name: other for name, other in config.figures.items() if "curves" in other.shows}
            return [f"{place}.figure: {claim.figure!r} is no gap figure under figures ({_names(gaps)})"]
        drawn = {curve.run for curve in figure.curves(config.seeds)}
        runs = {cell.run for one in claim.contrasts(config.seeds) for pair in one.pairs for cell in pair}
        return [f"{place}.figure: {claim.figure!r} has no curve of {run}" for run in sorted(runs - drawn)]
    imported = {
        f"{place}: {cell.model!r} is imported on {cell.dataset!r}, so how many images it has seen is not known": None
        for one in claim.contrasts(config.seeds)
        for pair in one.pairs
        for cell in pair
        if claim.metric == "images_seen" and cell.dataset in config.models[cell.model].checkpoint
    }
    return [*imported, *cell_errors(config, place, claim.cells(config.seeds), *claim.metrics)]


def _undeclared(config: Config, place: str, *sections: Any) -> list[str]:
    """Names that a table or figure uses and nobody declares. Keys are plural with a list, singular with one name."""
    sections = tuple(part for section in sections for part in (section if isinstance(section, tuple) else (section,)))
    errors: list[str] = []
    for section, plural in product(sections, ("datasets", "models", "samplers", "covariances")):
        declared = getattr(config, plural)
        for key in (plural, plural[:-1]):
            value = getattr(section, key, None) or ()
            missing = [name for name in ((value,) if isinstance(value, str) else value) if name not in declared]
            errors += [
                f"{place}.{key}: {name!r} is not declared under {plural} ({_names(declared)})" for name in missing
            ]
    return errors


def cell_errors(config: Config, place: str, cells: Iterable[Cell], *metrics: Metric) -> list[str]:
    """One line for each of a section's metrics, samplers and numbers of steps that can't be had for its cells."""
    total = config.schedule.num_train_timesteps
    errors: dict[str, None] = {}
    for cell in cells:
        recipe_name = config.covariances[cell.covariance].recipe
        recipe = config.recipes.get(recipe_name)
        extractor = config.datasets[cell.dataset].extractor
        for metric in [metric for metric in metrics if metric not in {*extractor.labels, *OF_LIKELIHOOD}]:
            where = f"datasets.{cell.dataset}.extractor is {extractor.kind!r}"
            possible = ", ".join(extractor.labels)
            where = f"{where}, which gives {possible}"
            errors[f"{place}.metric: {metric!r} is not to be had: {where}"] = None
        if objection := config.samplers[cell.sampler].objection(config.covariances[cell.covariance].is_fitted):
            errors[f"{place}: sampler {cell.sampler!r}, covariance {cell.covariance!r}: {objection}"] = None
        objection = config.samplers[cell.sampler].objection_to_bound()
        if not objection and (tuned := tunings_of(config, cell)):
            objection = f"{tuned[0].name!r} is tuned by samples, for a metric of theirs; use one that is not"
        for metric in OF_LIKELIHOOD.intersection(metrics) if objection else ():
            errors[f"{place}.metric: {metric!r} is not to be had of sampler {cell.sampler!r}: {objection}"] = None
        if not 1 <= cell.steps <= total:
            errors[f"{place}.steps: {cell.steps} is not from 1 to schedule.num_train_timesteps ({total})"] = None
        elif recipe is not None:
            try:
                levels = exact_timesteps(recipe.timesteps, total, cell.steps)
            except ValueError as error:
                errors[f"{place}.steps: recipe {recipe_name!r}: {error}"] = None
                continue
            try:
                config.samplers[cell.sampler].divisors(levels)
            except ValueError as error:
                errors[f"{place}: sampler {cell.sampler!r}, {cell.steps} steps: {error}"] = None
            if OF_LIKELIHOOD.intersection(metrics) and config.schedule.kind == "jsd" and levels[-1] == total:
                nothing = f"level {total} of the schedule 'jsd' keeps nothing of the image"
                errors[f"{place}.steps: recipe {recipe_name!r}: {nothing}, so that there is no bound"] = None
    return list(errors)


def _names(declared: Mapping[str, Any]) -> str:
    return ", ".join(declared) or "there are none"
