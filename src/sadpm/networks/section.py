"""The section of the YAML that says how networks are run. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from sadpm.kinds.section import Section

Precision = Literal["float32", "tf32", "bfloat16"]

JobPrecision = Annotated[Precision, Field(exclude_if=lambda precision: precision == "float32")]
"""A field of a job: what is not said is float32, so that jobs from before there was a choice don't run again."""


class Execution(Section):
    """How a network is run, as far as the numbers are the same but for rounding and dropout masks."""

    compile: Literal["off", "default", "max-autotune"] = "off"
    cuda_graphs: bool = False
    gradient_accumulation: int = Field(1, ge=1)
    activation_checkpointing: bool = False

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, values: Any) -> Any:
        """YAML takes `off` for false."""
        if isinstance(values, Mapping) and values.get("compile") is False:
            return {**values, "compile": "off"}
        return values


PLAIN = Execution()
"""A network run as it is."""


class ExecutionConfig(Execution):
    """How a network is run; ``precision`` changes numbers, and is part of what jobs are told."""

    precision: Precision = "float32"

    @model_serializer
    def _what_was_said(self) -> dict[str, Any]:
        """Leave out what was not said: read again, that would be said, and overrule what the experiment says."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def changed_by(self, other: ExecutionConfig) -> ExecutionConfig:
        """Return it with what another one says."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})

    def options(self) -> Execution:
        """Return what is no part of a job."""
        return Execution(**{name: getattr(self, name) for name in Execution.model_fields})


ExecutionSection = Annotated[ExecutionConfig, Field(exclude_if=lambda said: not said.model_fields_set)]
"""A field of the configuration; what says nothing of it stays as it was before there was such a section."""
