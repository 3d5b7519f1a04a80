"""An experiment: everything that one run of the workflow depends on. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from sadpm.config.archive import ArchiveConfig
from sadpm.config.claims import ClaimConfig
from sadpm.config.datasets import DatasetConfig
from sadpm.config.models import ModelConfig
from sadpm.config.outputs import Figure, TableConfig
from sadpm.config.plan import PlanConfig
from sadpm.config.sampling import PAPER_RECIPES, RecipeConfig
from sadpm.config.tuning import TuneConfig
from sadpm.config.watch import WatchConfig
from sadpm.covariances import COVARIANCES, CovarianceSection
from sadpm.diffusion.section import ScheduleConfig
from sadpm.kinds.section import ConfigPath, Name, Once, SamplerName, SamplesPerJob, Section, Seed
from sadpm.networks.section import ExecutionConfig, ExecutionSection
from sadpm.samplers import SAMPLERS, SamplerSection


class Config(Section):
    """An experiment: everything that one run of the workflow depends on."""

    experiment: Name
    results: ConfigPath = "results"
    seeds: Once[Seed] = (0,)
    samples_per_job: SamplesPerJob = "cell"
    kinds: tuple[ConfigPath, ...] = ()
    checkpoint_seconds: int = Field(600, ge=0)
    checkpoints: ConfigPath | None = None
    watch: WatchConfig = Field(WatchConfig(), exclude=True)
    published: ConfigPath | None = None
    plan: PlanConfig = PlanConfig()
    archive: ArchiveConfig = ArchiveConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    execution: ExecutionSection = ExecutionConfig()
    datasets: dict[Name, DatasetConfig] = Field(min_length=1)
    models: dict[Name, ModelConfig] = Field(min_length=1)
    samplers: dict[SamplerName, SamplerSection] = Field(default_factory=dict)
    recipes: dict[Name, RecipeConfig] = Field(default_factory=dict)
    covariances: dict[Name, CovarianceSection] = Field(default_factory=dict)
    tune: dict[Name, TuneConfig] = Field(default_factory=dict)
    tables: dict[Name, TableConfig] = Field(default_factory=dict)
    figures: dict[Name, Figure] = Field(default_factory=dict)
    claims: dict[Name, ClaimConfig] = Field(default_factory=dict)

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

    @property
    def root(self) -> Path:
        """The folder of this experiment's results."""
        return Path(self.results) / self.experiment
