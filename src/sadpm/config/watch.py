"""How a training is watched: part of no job's parameters, and so no reason to run one again."""

from __future__ import annotations

import os

from pydantic import Field, ValidationError

from sadpm.kinds.section import Section
from sadpm.running.files import UserError

VARIABLE = "SADPM_WATCH"
"""The environment variable by which the workflow tells it to the jobs."""


class WatchConfig(Section):
    """Curves and sample grids of a training, as TensorBoard shows them: ``every`` so many steps ``images`` samples."""

    tensorboard: bool = False
    every: int = Field(1000, ge=1)
    images: int = Field(16, ge=0)


def watch_from_environment() -> WatchConfig:
    """Return what the workflow told this job; without a workflow, nothing is shown.

    Raises:
        UserError: the variable holds something else.
    """
    text = os.environ.get(VARIABLE, "").strip()
    try:
        return WatchConfig.model_validate_json(text) if text else WatchConfig()
    except ValidationError as error:
        raise UserError(
            f"{VARIABLE}={text} in the environment: must be the section `watch` as JSON, such as"
            f' {{"tensorboard": true}} ({error.errors()[0]["msg"]})'
        ) from None
