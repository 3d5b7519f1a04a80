"""What finished files say of themselves: how they were made, and which cells they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sadpm.running.files import UserError, read_json


def difference(report: Path, job: BaseModel) -> str | None:
    """Return in words how the job of a report differs from this one; None where it does not, or there is no record.

    What the record does not mention has its default, so that a new key of the configuration changes nothing.
    """
    try:
        recorded = json.loads(report.read_bytes())["provenance"]["job"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with suppress(ValueError):  # the job of another rule, or of a version with other keys
        recorded = type(job).model_validate(recorded).model_dump(mode="json", by_alias=True)
    then, now = (dict(_leaves(content)) for content in (recorded, job.model_dump(mode="json", by_alias=True)))
    changed = [name for name in {**now, **then} if name not in then or name not in now or then[name] != now[name]]
    if not changed:
        return None
    name, *more = changed
    values = " and ".join(f"{word} {found[name]!r}" for word, found in (("was", then), ("is", now)) if name in found)
    return f"{name} {values}{f', and {len(more)} more' if more else ''}"


def entries(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return what a file holds of each cell: the ``draws`` of a sampling report, or ``scores``.

    Raises:
        UserError: it is no such file.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(found := content.get(kind), list):
        raise UserError(f"{path}: has no {kind}; delete it, and the workflow makes it again")
    return found


def _leaves(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with the keys that lead to it, joined by dots; an empty section is a value."""
    if isinstance(content, dict | list) and content:
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, content
