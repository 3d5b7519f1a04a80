"""The section of the YAML that says which forward process. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sadpm.kinds.section import Section


class ScheduleConfig(Section):
    """The forward process."""

    kind: Literal["linear", "quadratic", "constant", "sigmoid", "jsd", "cosine"] = "linear"
    num_train_timesteps: int = Field(1000, ge=2)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
