"""Recipes: how chains are run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from sadpm.diffusion.timesteps import timesteps
from sadpm.kinds.section import Name, Section


class RecipeConfig(Section):
    """How a chain is run: which levels, whether x_0 is clipped, how large the last variance may be.

    ``max_variance_pixels`` is by the sampler's kind, in grey levels.
    """

    timesteps: str
    clip_sample: bool
    max_variance_pixels: dict[Name, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    @field_validator("timesteps")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        timesteps(kind, num_train_timesteps=1000, num_steps=2)
        return kind


PAPER_RECIPES = {
    "sa-dpm": RecipeConfig(timesteps="uniform", clip_sample=False),
    "bao": RecipeConfig(timesteps="linear", clip_sample=True, max_variance_pixels={"ddpm": 2, "ddim": 1}),
}
