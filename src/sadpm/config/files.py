"""Configurations as files: YAML in UTF-8 in which no key is given twice, and which may extend each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sadpm.kinds.section import ConfigError


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file and what it extends.

    Raises:
        ConfigError: a file is missing, is no YAML in UTF-8, gives a key twice, holds no mapping, or extends itself.
    """
    return _read(path, ())


def files_read(path: Path) -> Iterator[Path]:
    """Yield a YAML file and those that it extends, of a configuration that :func:`read_config` has accepted."""
    yield path
    if base := _parsed(path).get("extends"):
        yield from files_read(path.parent / os.path.expanduser(base))


def extended(values: Mapping[str, Any], folder: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Merge a configuration into the one that it ``extends``, if any, whose path is relative to a folder.

    ``extending`` are the files that led here, from the first on. Errors are as of :func:`read_config`.
    """
    own = dict(values)
    if (base := own.pop("extends", None)) is None:
        return own
    place = extending[-1] if extending else "configuration"
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{place}: extends must be the path of one file, not {base!r}")
    path = folder / os.path.expanduser(base)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"{place}: extends {base!r}, and {path} {found}")
    if path.resolve() in [file.resolve() for file in extending]:
        raise ConfigError(f"extends goes in a circle: {' -> '.join(map(str, (*extending, path)))}")
    both: dict[str, Any] = merged(_read(path, extending), own)
    return both


def merged(base: Any, own: Any) -> Any:
    """Merge a configuration into another one.

    Sections are merged key by key, a section set to null is removed, and anything else is replaced.
    """
    if not isinstance(base, Mapping) or not isinstance(own, Mapping):
        return own
    removed = {key for key, value in own.items() if value is None and isinstance(base.get(key), Mapping)}
    both = {**base, **{key: merged(base.get(key), value) for key, value in own.items()}}
    return {key: value for key, value in both.items() if key not in removed}


def read_utf8(path: Path) -> str:
    """Read a text file, with or without a byte order mark.

    Raises:
        ConfigError: it can't be read, or is in another encoding than UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror or error})") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}: is in UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte {error.start + 1} (0x{content[error.start]:02x}) is not UTF-8"
        raise ConfigError(f"{path}, line {line}: {what}; save it as UTF-8") from None


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    values = _parsed(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a configuration; start from config/config.yaml")
    return extended(values, path.parent, (*extending, path))


def _parsed(path: Path) -> Any:
    text = read_utf8(path)
    try:
        loader = _StrictLoader(text)
        values = loader.get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # the latter for a date that does not exist
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply, or an alias (*) within what it stands for") from None
    if loader.twice:
        raise ConfigError("\n".join(f"{path}: {line}" for line in loader.twice))
    return values


class _StrictLoader(yaml.SafeLoader):
    """YAML whose mappings may give no key twice, where the last one would win. Merged keys (``<<``) are no repetition.

    Attributes:
        twice: a line for each key that was.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not where mappings are constructed: by then, those that they merge are part of them.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], list[int]] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines.setdefault((key.tag, key.value), []).append(key.start_mark.line + 1)
        self.twice += [
            f"{key!r} is given {len(found)} times, in lines {', '.join(map(str, found))}; only one of them may stay"
            for (_, key), found in lines.items()
            if len(found) > 1
        ]
        return node
