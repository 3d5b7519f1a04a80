"""The models of the grid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sadpm.kinds.section import ConfigPath, Name, Section
from sadpm.objectives import ObjectiveSection
from sadpm.objectives.ddpm import DDPM


class CheckpointConfig(Section):
    """Released weights that take the place of training."""

    path: ConfigPath
    format: Literal["auto", "sa-dpm", "bao", "diffusers"] = "auto"


class ModelConfig(Section):
    """A model of the grid: what it is trained to do; multipliers make baselines of equal compute.

    ``checkpoint`` says for which data sets the model is read from a file in place of being trained.
    """

    objective: ObjectiveSection = DDPM()
    batch_multiplier: int = Field(1, ge=1)
    steps_multiplier: int = Field(1, ge=1)
    checkpoint: dict[Name, CheckpointConfig] = Field(default_factory=dict)
    label: str | None = None
