"""Files appear whole or not at all, and say where they come from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

from pydantic import BaseModel

import sadpm


class UserError(Exception):
    """Something that the user can mend; stages print the message without a traceback."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a binary file beside ``path``, flush it to the disk, and rename it into place.

    What a killed process left beside ``path`` is overwritten by the next try.

    Raises:
        UserError: the disk is full or the folder can't be written; no file is left behind then.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        UserError: a number is not finite, which JSON has no word for and nobody should read on.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except ValueError:
        raise UserError(f"{path}: would hold numbers that are not finite, so it is not written") from None
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or not JSON; NaN and Infinity are not.
    """
    try:
        return json.loads(path.read_text(), parse_constant=_not_finite)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({error}); delete it, and the workflow makes it again") from error


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def sha256(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder with their names.

    Raises:
        UserError: it can't be read.
    """
    if path.is_dir():
        entries = "".join(f"{sha256(file)} {file.name}\n" for file in sorted(path.iterdir()))
        return hashlib.sha256(entries.encode()).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from error


def provenance(job: BaseModel, **inputs: Path) -> dict[str, Any]:
    """Return what made an artefact: code, job, and the hashes of the files that went in."""
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "job": job.model_dump(mode="json", by_alias=True),
        "inputs": {name: sha256(path) for name, path in inputs.items()},
    }


@cache
def code_version() -> str:
    """Return the package's version, with the commit (and ``-dirty``) when it runs from a checkout."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return sadpm.__version__
    return f"{sadpm.__version__}+{commit}"
