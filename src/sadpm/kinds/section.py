"""What every part of the configuration is made of."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
SamplerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._]*$")]
Metric = Literal["fd", "is", "kid", "precision", "recall", "memorised", "bpd"]
SamplesPerJob = Literal["cell", "row", "covariance", "model"]

OF_LIKELIHOOD: frozenset[Metric] = frozenset({"bpd"})
"""Metrics of real images under a chain, measured by jobs of their own; others are an extractor's, of samples."""

# A table's CSV holds seeds as 64-bit integers, and names of files hold their digits alone.
Seed = Annotated[int, Field(ge=0, lt=2**63)]

# Else it would be taken for the number 1 or 0.
NO_TRUTH = "true and false, in YAML also yes, no, on and off, mean nothing here"

Item = TypeVar("Item", bound=Hashable)


def _each_once(items: tuple[Item, ...]) -> tuple[Item, ...]:
    if twice := [repr(item) for item, count in Counter(items).items() if count > 1]:
        raise ValueError(f"{', '.join(twice)} is given twice; say it once")
    return items


def _no_truths(items: Any) -> Any:
    if isinstance(items, list | tuple) and any(isinstance(item, bool) for item in items):
        raise ValueError(NO_TRUTH)
    return items


Once = Annotated[tuple[Item, ...], Field(min_length=1), AfterValidator(_each_once), BeforeValidator(_no_truths)]
"""A list with something in it, and nothing twice."""


def _usable_path(path: str) -> str:
    expanded = os.path.expanduser(path)
    if not path.strip():
        raise ValueError("an empty path; name a file or folder, or leave the key out")
    if expanded.startswith("~"):
        raise ValueError(f"{path!r}: there is no such home folder; write the path in full")
    if path != path.strip():
        raise ValueError(f"{path!r} begins or ends with a space; leave it out, or rename what it names")
    if any(unicodedata.category(character) == "Cc" for character in path):
        raise ValueError(f"{path!r} has a line break or another control character; rename it")
    if "{" in path or "}" in path:
        raise ValueError(f"{path!r}: Snakemake takes what is in braces for a wildcard; rename it")
    if re.search("<[a-z][a-z0-9_]*>", path):
        raise ValueError(f"{path!r}: Snakemake takes what is in <> for a variable; rename it")
    if "://" in path:
        raise ValueError(f"{path!r} is an address and no path; docs/cluster.md says how results lie in a storage")
    if os.path.normpath(path).startswith("-"):
        raise ValueError(f"{path!r} begins with a hyphen, as options of a command do; write the path in full")
    return expanded


ConfigPath = Annotated[str, AfterValidator(_usable_path)]
"""A path of the user: ``~`` is their home folder, and what no job could open is refused."""


class ConfigError(ValueError):
    """The user's configuration is wrong; the message names each key and what would be right."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question after the nearest known name, or what names are known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors that name the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            return values
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        aliases = {name: field.alias or name for name, field in cls.model_fields.items()}
        for key, value in values.items():
            known = aliases.get(key, key)
            if known not in fields:
                known_keys = [known for known in fields if known != "defined_in"]
                raise ValueError(f"unknown key {key!r}; {nearest(str(key), known_keys)}")
            if known != key and known in values:
                raise ValueError(f"{key!r} is another name of {known!r}; say it once")
            if isinstance(value, bool) and fields[known].annotation is not bool:
                raise ValueError(f"{key}: {NO_TRUTH}")
        return values
