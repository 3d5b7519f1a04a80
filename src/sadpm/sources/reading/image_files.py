"""Any folder, zip archive or LMDB of image files: centre crop, and resize."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sadpm.running.files import UserError
from sadpm.sources.reading.containers import Container, Folder, ZipArchive
from sadpm.sources.reading.lmdb_images import LMDB
from sadpm.sources.reading.pictures import Mode, centre_square, decode, to_pixels
from sadpm.sources.reading.stream import ImageStream

NUMBERED_BLOCK = re.compile(r"\d{5}")


def image_files(path: Path, size: int, mode: Mode) -> ImageStream:
    """Return the images of a folder, zip archive or LMDB: the largest centred square, resized to ``size``.

    Raises:
        UserError: there is nothing of that name, or no image in it; while iterating, the first image that is damaged,
            transparent, or smaller than ``size``.
    """
    container = open_container(path, size)
    labels, class_names = classes(container.names)
    return ImageStream(
        count=len(container.names),
        shape=(size, size, 1 if mode == "grey" else 3),
        images=_pixels(container, size, mode),
        labels=labels,
        class_names=class_names,
        description=f"images of {path}: centre crop, bilinear resize to {size}x{size}, {mode}",
    )


def open_container(path: Path, size: int) -> Container:
    """Return what lies at a path; the path may go on inside a zip archive, to a folder of it."""
    if (path / "data.mdb").is_file() or (path.suffix in {".lmdb", ".mdb"} and path.is_file()):
        return LMDB.open(path, size)
    if path.is_dir():
        return Folder.open(path)
    for archive in (path, *path.parents):
        if archive.is_file():
            return ZipArchive.open(archive, "" if archive == path else path.relative_to(archive).as_posix())
    raise UserError(f"{path}: no such folder, zip archive or LMDB; put the images there, or correct source.path")


def classes(names: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the class of each file, and the classes' names: its folder, numbered in sorted order.

    The folders that count are the first in which paths differ. There are no classes where files lie beside those
    folders, or where all folders are blocks of numbered files as in FFHQ (``00000``, ``01000``, ..).
    """
    folders = [PurePosixPath(name).parent.parts for name in names]
    depth = _common_length(min(folders), max(folders))
    first = [parts[depth] if len(parts) > depth else "" for parts in folders]
    class_names = tuple(sorted(set(first)))
    if "" in class_names or all(NUMBERED_BLOCK.fullmatch(name) for name in class_names):
        return None, ()
    number = {name: index for index, name in enumerate(class_names)}
    return np.array([number[name] for name in first], np.int64), class_names


def _common_length(first: Sequence[str], last: Sequence[str]) -> int:
    """Return how many folders the first and the last of sorted paths share, and so all between them."""
    return next(
        (depth for depth, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )


def _pixels(container: Container, size: int, mode: Mode) -> Iterator[NDArray[np.uint8]]:
    for place, content in container.contents():
        image = decode(content, place, mode)
        yield to_pixels(image, centre_square(image, size, place), size)
