"""What every part of the configuration is made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
SamplerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._]*$")]
Metric = Literal["fd", "is", "kid", "precision", "recall"]
Extractor = Literal["classifier", "pixels", "inception"]
CovarianceKind = Literal["fixed", "analytic", "npr", "sn"]
SamplesPerJob = Literal["cell", "row", "covariance", "model"]


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
