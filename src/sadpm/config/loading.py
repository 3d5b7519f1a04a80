"""A configuration is checked: each part by itself, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from sadpm.config.consistency import consistency_errors
from sadpm.config.experiment import Config
from sadpm.kinds import load_file
from sadpm.kinds.section import ConfigError, nearest


def load_config(values: Any, source: str = "configuration") -> Config:
    """Check a parsed YAML document.

    Raises:
        ConfigError: with one line for each mistake, or with the place in a user's file of kinds that can't be used.
    """
    files = values.get("kinds") if isinstance(values, Mapping) else None
    names = [file for file in files if isinstance(file, str)] if isinstance(files, list) else []
    users = [kind for name in names for kind in load_file(name)]
    try:
        config = Config.model_validate(values, context={"kinds": users})
    except ValidationError as error:
        raise _mistakes(source, _readable(error, values)) from None
    if errors := consistency_errors(config):
        raise _mistakes(source, errors)
    return config


def _mistakes(source: str, lines: Iterable[str]) -> ConfigError:
    lines = list(lines)
    heading = f"{source} has {len(lines)} mistake{'s'[: len(lines) != 1]}:"
    return ConfigError("\n".join([heading, *(f"  {line}" for line in lines)]))


def _readable(error: ValidationError, values: Any) -> Iterable[str]:
    details = error.errors(include_url=False)
    for detail in details:
        place, given = ".".join(_keys(detail["loc"], values)), detail["input"]
        match detail["type"]:
            case "missing":
                yield f"{place}: this key is required"
            case "value_error":
                lines = detail["msg"].removeprefix("Value error, ").splitlines()
                yield from (f"{place}: {line}" if place else line for line in lines)
            case "union_tag_not_found":
                yield f"{place}.kind: this key is required"
            case "union_tag_invalid":
                known = detail["ctx"]["expected_tags"].replace("'", "").split(", ")
                yield f"{place}.kind: there is no {detail['ctx']['tag']!r}; {nearest(detail['ctx']['tag'], known)}"
            case "tuple_type":
                yield f"{place}: this must be a list, such as [{given}], not {given!r}"
            case "too_short" if given:
                pass  # its entries have mistakes of their own
            case "too_short":
                yield f"{place}: this is empty, and needs one entry or more"
            case _:
                yield f"{place}: {detail['msg']}, not {given!r}"


def _keys(location: Iterable[str | int], values: Any) -> Iterable[str]:
    """Return the keys of the YAML that lead to a mistake: pydantic puts the kind of a source or figure in between."""
    for part in location:
        if isinstance(values, Mapping) and part not in values and part == values.get("kind"):
            continue
        yield str(part)
        try:
            values = values[part]
        except (LookupError, TypeError):
            values = None
