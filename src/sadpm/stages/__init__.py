"""One small module for each rule of the workflow: it reads files, calls the library, and writes files.

``python -m sadpm.stages.train --help`` shows what a stage takes; the workflow's logs show the commands it ran.
"""

from __future__ import annotations

import argparse
import inspect
import socket
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sadpm.kinds import users_part
from sadpm.running.files import UserError
from sadpm.running.interruption import stop_when_asked
from sadpm.running.status import telling

# Run as `python -m sadpm.stages.<stage>`: this package comes before the stage, whose imports take seconds.
if sys.argv[0] == "-m":
    stop_when_asked()


SILENCE = 60
"""Seconds after which a download from a server that sends nothing any more fails."""


def command(stage: Callable[..., None], arguments: Sequence[str] | None = None, report: str = "report") -> None:
    """Run a stage from the command line, with one option for each parameter of the function.

    While it runs, a file beside its output ``report`` tells how far it is, see `sadpm.running.status`.

    A pydantic model is given as JSON, a path or number as it is, and a sequence of paths as any number of values. A
    user's mistake ends the program with a message and exit status 1, without a traceback, unless it was made in a kind
    of their own.
    """
    values = vars(_parser(stage).parse_args(arguments))
    socket.setdefaulttimeout(SILENCE)  # Python's own is none, and what downloads here sets none.
    try:
        with telling(stage.__name__, values.get(report)):
            stage(**values)
    except UserError as error:
        sys.exit(f"{stage.__name__}: {error}")
    except Exception as error:
        if (place := users_part(error)) is None:
            raise
        traceback.print_exc()
        sys.exit(f"{stage.__name__}: {place}: {type(error).__name__}: {error}")


def options_of(values: Mapping[str, Any]) -> list[str]:
    """Return the options with which :func:`command` calls a stage with these values."""
    texts = {
        name: value.model_dump_json(by_alias=True) if isinstance(value, BaseModel) else value
        for name, value in values.items()
    }
    return [f"--{name.replace('_', '-')}={text}" for name, text in texts.items()]


def _parser(stage: Callable[..., None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=inspect.getdoc(stage), allow_abbrev=False)
    types = typing.get_type_hints(stage)
    for name, parameter in inspect.signature(stage).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        options: dict[str, Any] = {"required": required, "default": None if required else parameter.default}
        if typing.get_origin(types[name]) in (list, Sequence):
            options |= {"type": Path, "nargs": "*"}
        elif isinstance(types[name], type) and issubclass(types[name], BaseModel):
            options |= {"type": _json_of(types[name]), "metavar": "JSON"}
        else:
            options |= {"type": types[name]}
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    return parser


def _json_of(model: type[BaseModel]) -> Callable[[str], BaseModel]:
    def parse(text: str) -> BaseModel:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse
