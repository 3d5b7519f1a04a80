"""Where image files lie: in a folder, or in a zip archive that is read without unpacking it."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn, Protocol

from sadpm.running.files import UserError
from sadpm.sources.reading.pictures import suffixes
from sadpm.sources.reading.signatures import HEAD, refusal

IGNORED_SUFFIXES = frozenset({".csv", ".html", ".json", ".md", ".txt", ".xml", ".yaml", ".yml"})
IGNORED_NAMES = frozenset({"$recycle.bin", "@eadir", "__macosx", "desktop.ini", "ehthumbs.db", "thumbs.db"})
ZIP_ERRORS = (
    OSError, EOFError, RuntimeError, KeyError, ValueError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


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
        files = _files_below(path, [path.resolve()])
        return cls(path, image_names((file.relative_to(path).as_posix() for file in files), path))

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path and the bytes of each file."""
        for name in self.names:
            file = self.path / name
            try:
                content = file.read_bytes()
            except OSError as error:
                unreadable(error)
            yield str(file), content


@dataclass(frozen=True)
class ZipArchive:
    """Members of a zip archive."""

    path: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, inside: str = "") -> ZipArchive:
        """List the images of an archive, or those below a folder inside it."""
        with _open_zip(path) as archive:
            below = (name for name, _ in _members(archive) if not inside or name.startswith(f"{inside}/"))
            names = image_names(below, path / inside)
            # Archives are encrypted, or packed by a rare method, as a whole: the first image tells before all are read.
            _unpack(archive, dict(_members(archive)), names[0])
        return cls(path, names)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the unpacked bytes of each member."""
        with _open_zip(self.path) as archive:
            members = dict(_members(archive))
            for name in self.names:
                yield f"{self.path}/{name}", _unpack(archive, members, name)


def image_names(names: Iterable[str], place: Path) -> tuple[str, ...]:
    """Return the names of image files in sorted order, without what usually lies beside them.

    Raises:
        UserError: there are none, two have one name, or a file is neither an image by its name nor a known companion
            of images.
    """
    kept: list[str] = []
    for name in sorted(names):
        path = PurePosixPath(name)
        if any(map(_is_junk, path.parts)) or path.suffix.lower() in IGNORED_SUFFIXES:
            continue
        if path.suffix.lower() not in suffixes():
            known = " ".join(sorted(suffixes()))
            raise UserError(f"{place}: {name} is not an image by its name ({known}); convert, unpack or remove it")
        if kept and kept[-1] == name:
            raise UserError(f"{place}: holds two images named {name}; make it again with one, or with different names")
        kept.append(name)
    if not kept:
        raise UserError(f"{place}: no images in it; name the folder or archive that holds them")
    return tuple(kept)


def unreadable(error: OSError) -> NoReturn:
    """Raise what the system says about a file or folder as a user's error."""
    raise UserError(f"{error.filename or 'source'}: can't be read ({error.strerror or error})") from error


def _files_below(folder: Path, above: Sequence[Path]) -> Iterator[Path]:
    """Yield the files below a folder, also those in folders that are links.

    Args:
        folder: its path by way of links.
        above: the real paths of the folders that led here, with its own as the last.

    Raises:
        UserError: a link leads back to a folder that holds it, or nowhere; something is no file, or can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_junk(entry.name):
                    continue
                path, real = folder / entry.name, above[-1] / entry.name
                if entry.is_dir():
                    if entry.is_symlink():
                        real = path.resolve()
                        if any(holder.is_relative_to(real) for holder in above):
                            raise UserError(f"{path}: a link back to {real}, which holds it; remove the link")
                    yield from _files_below(path, [*above, real])
                elif entry.is_file():
                    yield path
                else:
                    fault = "a link to nothing" if entry.is_symlink() else "neither a file nor a folder"
                    raise UserError(f"{path}: {fault}; remove it")
    except OSError as error:
        unreadable(error)


def _is_junk(name: str) -> bool:
    return (name.startswith(".") and name != "..") or name.lower() in IGNORED_NAMES


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        unreadable(error)
    try:
        return zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        if head.startswith(b"PK"):
            raise UserError(f"{path}: damaged zip archive ({error}); fetch it again") from error
        what = refusal("a folder, zip archive or LMDB", head, "correct source.path")
        raise UserError(f"{path}: {what}") from error


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Yield the files of an archive: names with slashes, and as they are.

    Some programs of Windows separate folders by backslashes.
    """
    for member in archive.namelist():
        name = member.replace("\\", "/")
        if not name.endswith("/"):
            yield name, member


def _unpack(archive: zipfile.ZipFile, members: Mapping[str, str], name: str) -> bytes:
    try:
        return archive.read(members[name])
    except ZIP_ERRORS as error:
        # RuntimeError: encrypted. NotImplementedError, which is one: a method that Python does not know.
        by_hand = "unpack it with another program, and name the folder"
        advice = by_hand if isinstance(error, RuntimeError) else "fetch it again"
        raise UserError(f"{archive.filename}/{name}: can't be unpacked ({error}); {advice}") from error
