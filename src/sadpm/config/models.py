"""The models of the grid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sadpm.config.section import ConfigPath, Name, Section


class SequenceConfig(Section):
    """The sequence-aware term lambda L_sa over K consecutive steps."""

    K: int = Field(ge=2)
    lam: float = Field(alias="lambda", ge=0)
    weights: Literal["unit", "theory"] = "unit"
    window: Literal["anchored", "sliding"] = "anchored"


class CheckpointConfig(Section):
    """Released weights that take the place of training."""

    path: ConfigPath
    format: Literal["auto", "sa-dpm", "bao", "diffusers"] = "auto"


class ModelConfig(Section):
    """A model of the grid: the baseline (no ``sequence``) or SA-K; multipliers make baselines of equal compute.

    ``checkpoint`` says for which data sets the model is read from a file in place of being trained.
    """

    sequence: SequenceConfig | None = None
    batch_multiplier: int = Field(1, ge=1)
    steps_multiplier: int = Field(1, ge=1)
    checkpoint: dict[Name, CheckpointConfig] = Field(default_factory=dict)
    label: str | None = None
