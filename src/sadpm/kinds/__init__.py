"""Kinds: what stands on one axis of the tables, each a class in a file of its own, ours or a user's.

An axis is a package such as `sadpm.objectives`. Its ``__init__`` has the base class, which is the contract, and each of
its modules has one kind: a section of the YAML with a ``kind``, and methods that say what it does. The graph of jobs is
built from kinds in a second, so torch is imported where a method needs it.

A user's kind is a class of the same base in a Python file that the configuration names. Its section carries the file
and the file's hash to the jobs, which find it again by them, and which run anew where it has changed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, ValidationInfo

from sadpm.kinds.section import ConfigError, Section, nearest

MODULES_OF_USERS = "sadpm_kinds_of_"


class Definition(BaseModel, frozen=True):
    """Which file defines a user's kind, and the SHA-256 of its content."""

    file: str
    sha256: str


class Kind(Section):
    """A section of the YAML whose ``kind`` says which class it is."""

    kind: str
    defined_in: Definition | None = Field(None, exclude_if=lambda definition: definition is None)

    definition: ClassVar[Definition | None] = None

    declared: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Sections of this kind that every experiment has without saying so, by name, where the axis is one of names."""

    @classmethod
    def name(cls) -> str | None:
        """Return the value of ``kind`` that means this class; None for the base of an axis."""
        annotation = cls.model_fields["kind"].annotation
        return get_args(annotation)[0] if get_origin(annotation) is Literal else None


K = TypeVar("K", bound=Kind)


class Axis(Generic[K]):
    """One axis of the tables: the base class of its kinds, whose module is the package that holds them."""

    def __init__(self, base: type[K]) -> None:
        self.base = base

    @cached_property
    def built_in(self) -> dict[str, type[K]]:
        """The kinds that come with the package, by name."""
        package = importlib.import_module(self.base.__module__)
        names = (f"{package.__name__}.{found.name}" for found in pkgutil.iter_modules(package.__path__))
        kinds = (kind for name in names for kind in kinds_in(importlib.import_module(name)))
        return {str(kind.name()): kind for kind in kinds if issubclass(kind, self.base)}

    @cached_property
    def declared(self) -> dict[str, dict[str, Any]]:
        """What the kinds that come with the package declare, by name."""
        return {
            name: {"kind": kind, **section}
            for kind, found in self.built_in.items()
            for name, section in found.declared.items()
        }

    def parse(self, value: Any, info: ValidationInfo) -> K:
        """Return what a section means, or a kind's name alone: a BeforeValidator of the fields on this axis.

        The context of the validation may have users' kinds, as a list of classes under "kinds".

        Raises:
            ValueError: no such kind, or a key is not one of the kind's.
        """
        if isinstance(value, self.base):
            return value
        section: Any = {"kind": value} if isinstance(value, str) else value
        if not isinstance(section, Mapping) or "kind" not in section:
            raise ValueError(f"say which kind: {', '.join(self.built_in)}, or one of your own")
        users = kinds_of_file(Definition(**section["defined_in"])) if "defined_in" in section else ()
        kinds = self.built_in | self.of_users([*users, *((info.context or {}).get("kinds", ()))])
        name = str(section["kind"])
        if name not in kinds:
            raise ValueError(f"unknown kind {name!r}; {nearest(name, kinds)}")
        return kinds[name].model_validate({**section, "defined_in": kinds[name].definition})

    def of_users(self, kinds: Iterable[type[Kind]]) -> dict[str, type[K]]:
        """Return those of users' kinds that stand on this axis, by name.

        Raises:
            ValueError: a name is taken.
        """
        found: dict[str, type[K]] = {}
        for kind in kinds:
            if not issubclass(kind, self.base):
                continue
            name = str(kind.name())
            other = {**self.built_in, **found}.get(name)
            if other is not None and other.definition != kind.definition:
                file = kind.definition.file if kind.definition else ""
                raise ValueError(f"{file}: there is a kind {name!r} already; give yours another name")
            found[name] = kind
        return found


def load_file(path: str) -> tuple[type[Kind], ...]:
    """Return the kinds that a user's file defines.

    Raises:
        ConfigError: it can't be read or imported, defines none, or one that does not keep its base's contract; with
            file and line.
    """
    return kinds_of_file(Definition(file=path, sha256=hashlib.sha256(_read(path)).hexdigest()))


@cache
def kinds_of_file(definition: Definition) -> tuple[type[Kind], ...]:
    """Import a user's file, once for each content, and return the kinds that it defines; errors as `load_file`."""
    path, content = Path(definition.file).expanduser(), _read(definition.file)
    if (found := hashlib.sha256(content).hexdigest()) != definition.sha256:
        raise ConfigError(
            f"{path}: has changed (sha256 {found[:8]}…, was {definition.sha256[:8]}…); start the workflow again"
        )
    try:
        module = ModuleType(f"{MODULES_OF_USERS}{path.stem}_{definition.sha256[:12]}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # pydantic looks there for the names in annotations
        exec(compile(content, str(path), "exec"), module.__dict__)
    except Exception as error:  # whatever a user's program may raise
        raise ConfigError(f"{place_in(path, error)}: {type(error).__name__}: {error}") from error
    kinds = tuple(kinds_in(module))
    if not kinds:
        raise ConfigError(f"{path}: defines no kind; docs/extending.md shows how one looks")
    for kind in kinds:
        check_contract(kind, path)
        kind.definition = definition
    return kinds


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"kinds: {path}: can't be read ({error.strerror or error})") from None


def kinds_in(module: ModuleType) -> Iterator[type[Kind]]:
    """Yield the kinds that a module defines, in the order in which it does."""
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, Kind) and value.__module__ == module.__name__ and value.name():
            yield value


def check_contract(kind: type[Kind], path: Path) -> None:
    """Raise ConfigError where a user's class lacks a method of its base, or takes other arguments than the base's."""
    place = f"{path}, line {inspect.getsourcelines(kind)[1]}: class {kind.__name__}"
    if missing := sorted(kind.__abstractmethods__):
        raise ConfigError(f"{place} lacks {', '.join(_head(name, getattr(kind, name)) for name in missing)}")
    if unsaid := [name for base in kind.__mro__ for name in _class_variables(base) if not hasattr(kind, name)]:
        raise ConfigError(f"{place} lacks {', '.join(unsaid)}")
    for name, own in vars(kind).items():
        inherited = next((vars(base)[name] for base in kind.__mro__[1:] if name in vars(base)), None)
        if not (inspect.isfunction(own) and inspect.isfunction(inherited)):
            continue
        given, wanted = _head(name, own), _head(name, inherited)
        if given != wanted:
            raise ConfigError(f"{path}, line {inspect.getsourcelines(own)[1]}: {given} must be {wanted}")


def _class_variables(kind: type) -> list[str]:
    return [name for name, annotation in inspect.get_annotations(kind).items() if "ClassVar" in str(annotation)]


def _head(name: str, method: Callable[..., Any]) -> str:
    return f"{name}({', '.join(inspect.signature(method).parameters)})"


def users_part(error: BaseException) -> str | None:
    """Return "file, line n" where a user's kind raised an error, or called what did; None where none had a part."""
    files = {Path(module.__file__ or "") for name, module in sys.modules.items() if name.startswith(MODULES_OF_USERS)}
    frames = traceback.extract_tb(error.__traceback__)
    parts = [f"{frame.filename}, line {frame.lineno}" for frame in frames if Path(frame.filename) in files]
    return parts[-1] if parts else None


def place_in(path: Path, error: BaseException) -> str:
    """Return "file, line n": where in a user's file an error was raised, or what of it led there."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)
