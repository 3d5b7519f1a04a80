"""The configuration: the only place that knows the YAML keys and their defaults. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from sadpm.config.datasets import (
    ClassifierConfig,
    DatasetConfig,
    HeadsConfig,
    InceptionWeights,
    NetworkConfig,
    TrainingConfig,
)
from sadpm.config.models import CheckpointConfig, ModelConfig, SequenceConfig
from sadpm.config.outputs import (
    Figure,
    GapFigure,
    Grid,
    IllustrationFigure,
    PartialGrid,
    QualityFigure,
    SamplesFigure,
    TableConfig,
)
from sadpm.config.plan import PlanConfig
from sadpm.config.sampling import (
    PAPER_COVARIANCES,
    PAPER_RECIPES,
    PAPER_SAMPLERS,
    CovarianceConfig,
    RecipeConfig,
    SamplerConfig,
    ScheduleConfig,
)
from sadpm.config.section import (
    ConfigError,
    CovarianceKind,
    Extractor,
    Metric,
    Name,
    SamplerName,
    SamplesPerJob,
    Section,
)
from sadpm.config.sources import ArraySource, CelebASource, CIFAR10Source, EmbeddedSource, FilesSource, Source

__all__ = [
    "PAPER_COVARIANCES",
    "PAPER_RECIPES",
    "PAPER_SAMPLERS",
    "ArraySource",
    "CIFAR10Source",
    "CelebASource",
    "CheckpointConfig",
    "ClassifierConfig",
    "Config",
    "ConfigError",
    "CovarianceConfig",
    "CovarianceKind",
    "DatasetConfig",
    "EmbeddedSource",
    "Extractor",
    "Figure",
    "FilesSource",
    "GapFigure",
    "Grid",
    "HeadsConfig",
    "IllustrationFigure",
    "InceptionWeights",
    "Metric",
    "ModelConfig",
    "Name",
    "NetworkConfig",
    "PartialGrid",
    "PlanConfig",
    "QualityFigure",
    "RecipeConfig",
    "SamplerConfig",
    "SamplerName",
    "SamplesFigure",
    "SamplesPerJob",
    "ScheduleConfig",
    "Section",
    "SequenceConfig",
    "Source",
    "TableConfig",
    "TrainingConfig",
    "extended",
    "load_config",
    "read_config",
]


class Config(Section):
    """An experiment: everything that one run of the workflow depends on."""

    experiment: Name
    results: str = "results"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    samples_per_job: SamplesPerJob = "cell"
    checkpoint_seconds: int = Field(600, ge=0)
    checkpoints: str | None = None
    published: str | None = None
    plan: PlanConfig = PlanConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    datasets: dict[Name, DatasetConfig] = Field(min_length=1)
    models: dict[Name, ModelConfig] = Field(min_length=1)
    samplers: dict[SamplerName, SamplerConfig] = Field(default_factory=dict)
    recipes: dict[Name, RecipeConfig] = Field(default_factory=dict)
    covariances: dict[Name, CovarianceConfig] = Field(default_factory=dict)
    tables: dict[Name, TableConfig] = Field(default_factory=dict)
    figures: dict[Name, Figure] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _add_what_the_paper_uses(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            raise ValueError("the configuration is empty: start from config/config.yaml")
        paper: dict[str, Mapping[str, Any]] = {
            "samplers": PAPER_SAMPLERS,
            "recipes": PAPER_RECIPES,
            "covariances": PAPER_COVARIANCES,
        }
        return {**values, **{key: {**defaults, **(values.get(key) or {})} for key, defaults in paper.items()}}

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        from sadpm.grid import reference_errors

        if errors := reference_errors(self):
            raise ValueError("\n".join(errors))
        return self

    @property
    def root(self) -> Path:
        """The folder of this experiment's results."""
        return Path(self.results) / self.experiment


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file and what it extends.

    Raises:
        ConfigError: a file is missing, is not YAML, or holds no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a configuration; start from config/config.yaml")
    return extended(values, path.parent)


def extended(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Merge a configuration into the one that it ``extends``, whose path is relative to ``folder``.

    Sections are merged key by key, a section set to null is removed, and anything else is replaced.
    """
    own = dict(values)
    base = own.pop("extends", None)
    return own if base is None else _merged(read_config(folder / base), own)


def _merged(base: Any, own: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(own, Mapping):
        return own
    removed = {key for key, value in own.items() if value is None and isinstance(base.get(key), Mapping)}
    merged = {**base, **{key: _merged(base.get(key), value) for key, value in own.items()}}
    return {key: value for key, value in merged.items() if key not in removed}


def load_config(values: Any, source: str = "configuration") -> Config:
    """Check a parsed YAML document.

    Raises:
        ConfigError: with one line for each mistake.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [f"  {line}" for line in _readable(error)]
        raise ConfigError("\n".join([f"{source} has {len(lines)} mistake{'s'[: len(lines) != 1]}:", *lines])) from None


def _readable(error: ValidationError) -> Iterable[str]:
    for detail in error.errors(include_url=False):
        message = detail["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "missing":
            yield f"{place}: this key is required"
        elif detail["type"] == "value_error":
            yield from (f"{place}: {line}" if place else line for line in message.splitlines())
        else:
            yield f"{place}: {message}, not {detail['input']!r}"
