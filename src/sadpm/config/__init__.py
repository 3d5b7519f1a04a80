"""The configuration: the only place that knows the YAML keys and their defaults. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from sadpm.config.datasets import (
    ClassifierConfig,
    DatasetConfig,
    HeadsConfig,
    InceptionWeights,
    NetworkConfig,
    TrainingConfig,
)
from sadpm.config.files import extended, merged, read_config, read_utf8
from sadpm.config.models import CheckpointConfig, ModelConfig
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
from sadpm.config.sampling import PAPER_RECIPES, RecipeConfig, ScheduleConfig
from sadpm.config.sources import ArraySource, CelebASource, CIFAR10Source, EmbeddedSource, FilesSource, Source
from sadpm.covariances import COVARIANCES, CovarianceSection
from sadpm.kinds import load_file
from sadpm.kinds.section import (
    ConfigError,
    ConfigPath,
    Extractor,
    Metric,
    Name,
    Once,
    SamplerName,
    SamplesPerJob,
    Section,
    Seed,
    nearest,
)
from sadpm.samplers import SAMPLERS, SamplerSection

__all__ = [
    "PAPER_RECIPES",
    "ArraySource",
    "CIFAR10Source",
    "CelebASource",
    "CheckpointConfig",
    "ClassifierConfig",
    "Config",
    "ConfigError",
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
    "SamplerName",
    "SamplesFigure",
    "SamplesPerJob",
    "ScheduleConfig",
    "Section",
    "Source",
    "TableConfig",
    "TrainingConfig",
    "extended",
    "load_config",
    "merged",
    "nearest",
    "read_config",
    "read_utf8",
]


class Config(Section):
    """An experiment: everything that one run of the workflow depends on."""

    experiment: Name
    results: ConfigPath = "results"
    seeds: Once[Seed] = (0,)
    samples_per_job: SamplesPerJob = "cell"
    kinds: tuple[ConfigPath, ...] = ()
    checkpoint_seconds: int = Field(600, ge=0)
    checkpoints: ConfigPath | None = None
    published: ConfigPath | None = None
    plan: PlanConfig = PlanConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    datasets: dict[Name, DatasetConfig] = Field(min_length=1)
    models: dict[Name, ModelConfig] = Field(min_length=1)
    samplers: dict[SamplerName, SamplerSection] = Field(default_factory=dict)
    recipes: dict[Name, RecipeConfig] = Field(default_factory=dict)
    covariances: dict[Name, CovarianceSection] = Field(default_factory=dict)
    tables: dict[Name, TableConfig] = Field(default_factory=dict)
    figures: dict[Name, Figure] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _add_what_the_paper_uses(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            raise ValueError("the configuration is empty: start from config/config.yaml")
        paper: dict[str, Mapping[str, Any]] = {
            "samplers": SAMPLERS.declared,
            "recipes": PAPER_RECIPES,
            "covariances": COVARIANCES.declared,
        }
        own = {key: {} if values.get(key) is None else values[key] for key in paper}
        joined = {key: {**paper[key], **own[key]} for key in paper if isinstance(own[key], Mapping)}
        return {**values, **joined}

    @model_validator(mode="after")
    def _parts_fit_each_other(self) -> Self:
        from sadpm.config.consistency import consistency_errors

        if errors := consistency_errors(self):
            raise ValueError("\n".join(errors))
        return self

    @property
    def root(self) -> Path:
        """The folder of this experiment's results."""
        return Path(self.results) / self.experiment


def load_config(values: Any, source: str = "configuration") -> Config:
    """Check a parsed YAML document.

    Raises:
        ConfigError: with one line for each mistake, or with the place in a user's file of kinds that can't be used.
    """
    files = values.get("kinds") if isinstance(values, Mapping) else None
    names = [file for file in files if isinstance(file, str)] if isinstance(files, list) else []
    users = [kind for name in names for kind in load_file(name)]
    try:
        return Config.model_validate(values, context={"kinds": users})
    except ValidationError as error:
        lines = [f"  {line}" for line in _readable(error, values)]
        raise ConfigError("\n".join([f"{source} has {len(lines)} mistake{'s'[: len(lines) != 1]}:", *lines])) from None


def _readable(error: ValidationError, values: Any) -> Iterable[str]:
    details = error.errors(include_url=False)
    for detail in details:
        place, given = ".".join(_keys(detail["loc"], values)), detail["input"]
        match detail["type"]:
            case "missing":
                yield f"{place}: this key is required"
            case "value_error":
                lines = detail["msg"].removeprefix("Value error, ").splitlines()
                yield from (f"{place}: {line}" if place else line for line in lines)
            case "union_tag_not_found":
                yield f"{place}.kind: this key is required"
            case "union_tag_invalid":
                known = detail["ctx"]["expected_tags"].replace("'", "").split(", ")
                yield f"{place}.kind: there is no {detail['ctx']['tag']!r}; {nearest(detail['ctx']['tag'], known)}"
            case "tuple_type":
                yield f"{place}: this must be a list, such as [{given}], not {given!r}"
            case "too_short" if given:
                pass  # its entries have mistakes of their own
            case "too_short":
                yield f"{place}: this is empty, and needs one entry or more"
            case _:
                yield f"{place}: {detail['msg']}, not {given!r}"


def _keys(location: Iterable[str | int], values: Any) -> Iterable[str]:
    """Return the keys of the YAML that lead to a mistake: pydantic puts the kind of a source or figure in between."""
    for part in location:
        if isinstance(values, Mapping) and part not in values and part == values.get("kind"):
            continue
        yield str(part)
        try:
            values = values[part]
        except (LookupError, TypeError):
            values = None
