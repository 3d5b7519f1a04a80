"""Whether the parts of a configuration fit each other: what would end in a mix-up, or fail in some later job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadpm.config.cell_errors import FEWEST_IMAGES, reference_errors
from sadpm.config.grid import all_cells, measured_cells, metrics_of
from sadpm.config.jobs import RULES
from sadpm.config.telling import execution_of
from sadpm.config.tune_errors import tune_errors
from sadpm.extractors import BY_FEATURES

if TYPE_CHECKING:
    from sadpm.config.experiment import Config
    from sadpm.sources import ImageShape

TARGETS = ("all", "everything", "tables", "figures", "plan")
"""Rules beside those of the jobs; each table and figure is one more."""
FOLDER_OF_RESULTS = (
    "archive.json",
    "archive.zip",
    "benchmarks",
    "claims-verdicts.csv",
    "claims.csv",
    "claims.json",
    "claims.md",
    "claims.tex",
    "figures",
    "logs",
    "plan.csv",
    "plan.json",
    "plan.md",
    "report.html",
    "report.json",
    "tables",
)
"""What lies beside the folders of the data sets."""
FOLDER_OF_DATASET = ("data", "extractor.json", "extractor.safetensors", "reference.json", "reference.npz")
"""What lies beside the folders of a data set's models."""


def consistency_errors(config: Config) -> list[str]:
    """Return one line for each mistake that only shows when several parts of the configuration are seen together."""
    if errors := [*_name_errors(config), *reference_errors(config)] or tune_errors(config):
        return errors
    for name, dataset in config.datasets.items():
        errors += _execution_errors(config, name)
        known = None if dataset.source.is_read_for_its_shape else dataset.source.shape()
        errors += _sample_errors(config, name) or (shape_errors(config, name, known) if known else [])
    return errors


def shape_errors(config: Config, dataset: str, shape: ImageShape) -> list[str]:
    """Return one line for everything that does not fit the images of a data set, as far as their shape is known."""
    errors = []
    try:
        config.datasets[dataset].network.check_size(shape.size)
    except ValueError as error:
        errors.append(f"datasets.{dataset}.network: {error}")
    if shape.number is None:
        return errors
    for name, figure in config.figures.items():
        if figure.is_about(dataset):
            errors += [
                f"figures.{name}.{key}: {asked} is above the {shape.number} images of {dataset!r}"
                for key, asked in figure.images.items()
                if asked > shape.number
            ]
    errors += _likelihood_errors(config, dataset, shape)
    if config.datasets[dataset].reference is None and (reason := _too_few(config, dataset, shape.number)):
        errors.append(f"datasets.{dataset}.source: {reason}")
    return errors


def _likelihood_errors(config: Config, dataset: str, shape: ImageShape | None) -> list[str]:
    """A bound is the mean over no more images than there are; ``shape`` is that of the images to be trained on."""
    asked = config.datasets[dataset].likelihood
    if asked.split == "test":
        others = config.datasets[dataset].source.held_out()
        shape = None if others is None or others.is_read_for_its_shape else others.shape()
    if shape is None or shape.number is None or asked.num_images <= shape.number:
        return []
    if all(cell.dataset != dataset for cell in measured_cells(config, "likelihood")):
        return []
    there = f"the {shape.number} images of the {asked.split} split of {dataset!r}"
    return [f"datasets.{dataset}.likelihood.num_images: {asked.num_images} is above {there}"]


def _execution_errors(config: Config, dataset: str) -> list[str]:
    entry, parts = config.datasets[dataset], execution_of(config, dataset).gradient_accumulation
    trained = [model for name, model in config.models.items() if dataset not in model.checkpoint]
    sizes = [entry.training.batch_size * model.batch_multiplier for model in trained]
    if not (unequal := [size for size in sizes if size % (parts * max(1, entry.gpus))]):
        return []
    shared = f"datasets.{dataset}: execution.gradient_accumulation ({parts})"
    by_gpus = f" times gpus ({entry.gpus})" if entry.gpus > 1 else ""
    return [f"{shared}{by_gpus} must divide each batch of training, and there is one of {unequal[0]} images"]


def _sample_errors(config: Config, dataset: str) -> list[str]:
    entry, errors = config.datasets[dataset], []
    by_features = sorted(BY_FEATURES.intersection(metrics_of(config, dataset)))
    if entry.reference is not None and by_features:
        errors.append(
            f"datasets.{dataset}.reference: {', '.join(by_features)} need the features of real images, and published "
            "statistics have none; leave out the reference to have them measured, or these metrics"
        )
    if reason := _too_few(config, dataset, entry.num_samples):
        errors.append(f"datasets.{dataset}.num_samples: {reason}")
    errors += _level_errors(config, dataset)
    errors += [
        f"figures.{name}.{key}: {asked} is above datasets.{dataset}.num_samples ({entry.num_samples})"
        for name, figure in config.figures.items()
        for key, asked in figure.images.items()
        if "samples" in figure.shows and figure.is_about(dataset) and asked > entry.num_samples
    ]
    return errors


def _level_errors(config: Config, dataset: str) -> list[str]:
    """An estimate by level can't be used before each level was seen at least once."""
    heads, levels = config.datasets[dataset].heads, config.schedule.num_train_timesteps
    used = dict.fromkeys(cell.covariance for cell in all_cells(config) if cell.dataset == dataset)
    by_level = [name for name in used if config.covariances[name].is_by_level]
    if not by_level or heads.steps * heads.batch_size >= levels:
        return []
    seen = f"{heads.steps} steps of {heads.batch_size} images"
    return [
        f"datasets.{dataset}.heads: {seen} leave some of {levels} noise levels unseen, and {by_level[0]!r} needs all"
    ]


def _too_few(config: Config, dataset: str, count: int) -> str:
    """Say which metrics so many images don't suffice for, if any."""
    metrics = [metric for metric in metrics_of(config, dataset) if count < FEWEST_IMAGES[metric]]
    fewest = max((FEWEST_IMAGES[metric] for metric in metrics), default=0)
    return f"{count} are too few for {', '.join(metrics)}: {fewest} or more" if metrics else ""


def _name_errors(config: Config) -> list[str]:
    errors = [
        f"{key}.{name}: the workflow has a rule of this name; choose another one"
        for key in ("tables", "figures")
        for name in getattr(config, key)
        if name in {*RULES, *TARGETS}
    ]
    errors += [
        f"figures.{name}: there is a table of this name, and names are targets; choose another one"
        for name in config.figures
        if name in config.tables
    ]
    errors += [
        f"{key}.{name}: a file or folder of the results has this name; choose another one"
        for key, taken in {"datasets": FOLDER_OF_RESULTS, "models": FOLDER_OF_DATASET}.items()
        for name in getattr(config, key)
        if name in taken
    ]
    if not config.tables and not config.figures:
        errors.append("tables: there is neither a table nor a figure, so nothing would be made")
    return errors
