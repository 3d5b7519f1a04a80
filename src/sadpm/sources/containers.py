"""Where image files lie: in a folder, or in a zip archive that is read without unpacking it."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn, Protocol

from sadpm.artifacts import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IGNORED_SUFFIXES = frozenset({".csv", ".html", ".json", ".md", ".txt", ".xml", ".yaml", ".yml"})
IGNORED_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
ZIP_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError)


class Container(Protocol):
    """Something that holds encoded images under names."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the images in order; folders are separated by slashes."""

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield for each name where it lies, in words for a message, and its bytes."""


@dataclass(frozen=True)
class Folder:
    """Files below a folder."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Folder:
        """List the images below a folder, also in folders that are links."""
        below = (
            Path(folder, file).relative_to(path).as_posix()
            for folder, _, files in os.walk(path, followlinks=True, onerror=_unreadable)
            for file in files
        )
        return cls(path, image_names(below, path))

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path and the bytes of each file."""
        for name in self.names:
            file = self.path / name
            try:
                content = file.read_bytes()
            except OSError as error:
                _unreadable(error)
            yield str(file), content


@dataclass(frozen=True)
class ZipArchive:
    """Members of a zip archive."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, inside: str = "") -> ZipArchive:
        """List the images of an archive, or those below a folder inside it."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member.filename for member in archive.infolist() if not member.is_dir()]
        except ZIP_ERRORS as error:
            raise UserError(f"{path}: not a readable zip archive ({error}); fetch it again") from error
        if inside:
            members = [name for name in members if name.startswith(f"{inside}/")]
        return cls(path, image_names(members, path / inside))

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the unpacked bytes of each member."""
        with zipfile.ZipFile(self.path) as archive:
            for name in self.names:
                try:
                    content = archive.read(name)
                except ZIP_ERRORS as error:
                    raise UserError(f"{self.path}/{name}: can't be unpacked ({error}); fetch it again") from error
                yield f"{self.path}/{name}", content


def image_names(names: Iterable[str], place: Path) -> tuple[str, ...]:
    """Return the names of image files in sorted order, without what usually lies beside them.

    Raises:
        UserError: there are none, or a file is neither an image by its name nor a known companion of images.
    """
    kept = []
    for name in sorted(names):
        path = PurePosixPath(name)
        if _is_junk(path):
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            known = " ".join(sorted(IMAGE_SUFFIXES))
            raise UserError(f"{place}: {name} is not an image by its name ({known}); remove or rename it")
        kept.append(name)
    if not kept:
        raise UserError(f"{place}: no images in it; name the folder or archive that holds them")
    return tuple(kept)


def _is_junk(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part in IGNORED_NAMES for part in path.parts)
    return hidden or path.suffix.lower() in IGNORED_SUFFIXES


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: can't be read ({error.strerror or error})") from error
