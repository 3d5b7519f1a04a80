"""The configuration: the only place that knows the YAML keys and their defaults. Imports neither torch nor pandas."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
SamplerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._]*$")]
Metric = Literal["fd", "is"]
CovarianceKind = Literal["fixed", "analytic", "npr", "sn"]


class ConfigError(ValueError):
    """The user's configuration is wrong; the message names each key and what would be right."""


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors that name the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            return values
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in values:
            if key not in known and key not in cls.model_fields:
                nearest = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys are {', '.join(known)}"
                raise ValueError(f"unknown key {key!r}; {hint}")
        return values


class ScheduleConfig(Section):
    """The forward process."""

    kind: Literal["linear", "quadratic", "constant", "sigmoid", "jsd", "cosine"] = "linear"
    num_train_timesteps: int = Field(1000, ge=2)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)


class NetworkConfig(Section):
    """The U-Net of Ho et al. (2020) as in SA-DPM's programs; image size and channels come from the data."""

    block_out_channels: tuple[int, ...] = (128, 256, 256, 256)
    layers_per_block: int = Field(2, ge=1)
    attention_resolutions: tuple[int, ...] = (16,)
    dropout: float = Field(0.1, ge=0, lt=1)
    norm_num_groups: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> Self:
        if not self.block_out_channels:
            raise ValueError("block_out_channels needs at least one level, such as [128, 256]")
        for channels in self.block_out_channels:
            if channels < 1 or channels % self.norm_num_groups:
                raise ValueError(
                    f"block_out_channels: {channels} is not a multiple of norm_num_groups ({self.norm_num_groups})"
                )
        return self


class TrainingConfig(Section):
    """Optimisation of the noise predictor: Adam with a constant learning rate and an average of the weights."""

    steps: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    max_grad_norm: float | None = Field(1.0, gt=0)
    flip: bool = False
    log_every: int = Field(100, ge=1)
    checkpoint_every: int = Field(5000, ge=1)


class HeadsConfig(Section):
    """The NPR and SN heads on the frozen noise predictor, and the Analytic estimate that the same pass yields."""

    steps: int = Field(500_000, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    ema_decay: float = Field(0.9999, ge=0, lt=1)
    kind: Literal["simple", "complex"] = "simple"
    backbone_dropout: bool = False
    ms_eps: Literal["controlled", "plain"] = "controlled"
    log_every: int = Field(100, ge=1)
    checkpoint_every: int = Field(5000, ge=1)


class ClassifierConfig(Section):
    """The small classifier whose features and logits score the samples of small data sets."""

    steps: int = Field(600, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)


class DatasetConfig(Section):
    """A data set with all that is fixed for it: network, training, heads, and how samples are scored."""

    source: Literal["digits", "photographs"]
    extractor: Literal["classifier", "pixels"]
    network: NetworkConfig
    training: TrainingConfig
    heads: HeadsConfig = HeadsConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    num_samples: int = Field(50_000, ge=2)

    @model_validator(mode="after")
    def _labels_for_the_classifier(self) -> Self:
        if self.extractor == "classifier" and self.source != "digits":
            raise ValueError(f"extractor: the source {self.source!r} has no labels to train a classifier; use 'pixels'")
        return self


class SequenceConfig(Section):
    """The sequence-aware term lambda L_sa over K consecutive steps."""

    K: int = Field(ge=2)
    lam: float = Field(alias="lambda", ge=0)
    weights: Literal["unit", "theory"] = "unit"
    window: Literal["anchored", "sliding"] = "anchored"


class ModelConfig(Section):
    """A model of the grid: the baseline (no ``sequence``) or SA-K; multipliers make baselines of equal compute."""

    sequence: SequenceConfig | None = None
    batch_multiplier: int = Field(1, ge=1)
    steps_multiplier: int = Field(1, ge=1)
    label: str | None = None


class SamplerConfig(Section):
    """A reverse process: ancestral DDPM with fixed variance, or DDIM with eta."""

    family: Literal["ddpm", "ddim"]
    variance: Literal["small", "large"] = "small"
    eta: float = Field(0.0, ge=0, le=1)
    label: str | None = None

    @model_validator(mode="after")
    def _only_keys_of_the_family(self) -> Self:
        if self.family == "ddpm" and self.eta != 0:
            raise ValueError("eta belongs to the family 'ddim'; DDPM's variance is 'small' or 'large'")
        if self.family == "ddim" and self.variance == "large":
            raise ValueError("variance belongs to the family 'ddpm'; DDIM's is set by eta")
        return self


class RecipeConfig(Section):
    """How a chain is run: which levels, whether x_0 is clipped, how large the last variance may be."""

    timesteps: str
    clip_sample: bool
    max_variance_pixels: dict[Literal["ddpm", "ddim"], float] = {}


class CovarianceConfig(Section):
    """Where the variance of the reverse step comes from, and the recipe with which such chains are run."""

    kind: CovarianceKind
    recipe: Name
    average: bool = False
    label: str | None = None


class Grid(Section):
    """A rectangle of cells: the product of its lists."""

    datasets: tuple[Name, ...] = Field(min_length=1)
    models: tuple[Name, ...] = Field(min_length=1)
    samplers: tuple[SamplerName, ...] = Field(min_length=1)
    covariances: tuple[Name, ...] = ("fixed",)
    steps: tuple[int, ...] = Field(min_length=1)
    seeds: tuple[int, ...] | None = None


class PartialGrid(Section):
    """Further cells of a table; what is not said is as in the table."""

    datasets: tuple[Name, ...] | None = None
    models: tuple[Name, ...] | None = None
    samplers: tuple[SamplerName, ...] | None = None
    covariances: tuple[Name, ...] | None = None
    steps: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None


class TableConfig(Grid):
    """A table: one metric over a grid, and further cells in ``also``."""

    title: str
    metric: Metric
    also: tuple[PartialGrid, ...] = ()

    @property
    def grids(self) -> list[Grid]:
        """The table's rectangles of cells."""
        whole = {key: getattr(self, key) for key in Grid.model_fields}
        return [Grid(**whole), *(Grid(**{**whole, **part.model_dump(exclude_none=True)}) for part in self.also)]


class IllustrationFigure(Section):
    """Figure 1: one-dimensional chains whose small errors cancel or add up."""

    kind: Literal["illustration"]
    title: str
    steps: int = Field(100, ge=2)
    chains: int = Field(2000, ge=2)
    error: float = Field(0.1, gt=0)


class SamplesFigure(Section):
    """Figures 2 and 3: samples of several models from the same noise, with real images beside."""

    kind: Literal["samples"]
    title: str
    dataset: Name
    models: tuple[Name, ...] = Field(min_length=1)
    sampler: SamplerName = "ddpm"
    covariance: Name = "fixed"
    steps: tuple[int, ...] = Field(min_length=1)
    columns: int = Field(8, ge=1)


class GapFigure(Section):
    """Figure 4: the estimation gap against the step, for several models."""

    kind: Literal["gap"]
    title: str
    dataset: Name
    models: tuple[Name, ...] = Field(min_length=1)
    start: int = Field(300, ge=2)
    num_images: int = Field(256, ge=1)


class QualityFigure(Section):
    """A metric against the number of sampling steps, for several models."""

    kind: Literal["quality"]
    title: str
    metric: Metric
    dataset: Name
    models: tuple[Name, ...] = Field(min_length=1)
    samplers: tuple[SamplerName, ...] = ("ddpm",)
    covariance: Name = "fixed"
    steps: tuple[int, ...] = Field(min_length=1)


Figure = Annotated[IllustrationFigure | SamplesFigure | GapFigure | QualityFigure, Field(discriminator="kind")]

PAPER_SAMPLERS = {
    "ddpm": SamplerConfig(family="ddpm", label="DDPM"),
    "ddim": SamplerConfig(family="ddim", eta=0.0, label="DDIM"),
}
PAPER_RECIPES = {
    "sa-dpm": RecipeConfig(timesteps="uniform", clip_sample=False),
    "bao": RecipeConfig(timesteps="linear", clip_sample=True, max_variance_pixels={"ddpm": 2, "ddim": 1}),
}
PAPER_COVARIANCES = {
    "fixed": CovarianceConfig(kind="fixed", recipe="sa-dpm", label="fixed"),
    "analytic": CovarianceConfig(kind="analytic", recipe="bao", label="Analytic"),
    "npr": CovarianceConfig(kind="npr", recipe="bao", label="NPR"),
    "sn": CovarianceConfig(kind="sn", recipe="bao", label="SN"),
}


class Config(Section):
    """An experiment: everything that one run of the workflow depends on."""

    experiment: Name
    results: str = "results"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    job_steps: int = Field(0, ge=0)
    schedule: ScheduleConfig = ScheduleConfig()
    datasets: dict[Name, DatasetConfig] = Field(min_length=1)
    models: dict[Name, ModelConfig] = Field(min_length=1)
    samplers: dict[SamplerName, SamplerConfig] = {}
    recipes: dict[Name, RecipeConfig] = {}
    covariances: dict[Name, CovarianceConfig] = {}
    tables: dict[Name, TableConfig] = {}
    figures: dict[Name, Figure] = {}

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
