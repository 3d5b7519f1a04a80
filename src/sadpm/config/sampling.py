"""The forward process, and the ways to run it backwards."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sadpm.config.section import CovarianceKind, Name, Section
from sadpm.diffusion.timesteps import timesteps


class ScheduleConfig(Section):
    """The forward process."""

    kind: Literal["linear", "quadratic", "constant", "sigmoid", "jsd", "cosine"] = "linear"
    num_train_timesteps: int = Field(1000, ge=2)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)


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
    max_variance_pixels: dict[Literal["ddpm", "ddim"], Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    @field_validator("timesteps")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        timesteps(kind, num_train_timesteps=1000, num_steps=2)
        return kind


class CovarianceConfig(Section):
    """Where the variance of the reverse step comes from, and the recipe with which such chains are run."""

    kind: CovarianceKind
    recipe: Name
    average: bool = False
    label: str | None = None


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
