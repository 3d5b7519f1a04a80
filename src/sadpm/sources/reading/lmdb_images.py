"""LMDB databases of images, in the layouts that the field passes around.

* ``b"256-00000"``: encoded images by resolution and number, and ``b"length"`` (StyleGAN2 in PyTorch, and many since);
* ``b"0"``, ``b"1"``, ..: the bytes of square RGB images, (side, side, 3), or encoded images (NVAE and its successors);
* any other key: an encoded image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadpm.running.files import UserError
from sadpm.sources.reading.pictures import is_image

NOT_IMAGES = re.compile(rb"length.*|__len__|__keys__|num-samples")
TOLERATED_PAGES = 16
BY_RESOLUTION = re.compile(rb"(\d+)-(\d+)")


@dataclass(frozen=True)
class LMDB:
    """Entries of a database, in the order of their keys.

    Attributes:
        raw_side: the side of the images where they are not encoded, else None.
    """

    path: Path
    names: tuple[str, ...]
    raw_side: int | None

    @classmethod
    def open(cls, path: Path, size: int) -> LMDB:
        """List the images of a database; of several resolutions, those of the smallest that is at least ``size``.

        Raises:
            UserError: lmdb is not installed, or the database is damaged, empty, or incomplete.
        """
        with _transaction(path) as entries:
            lengths = {bytes(key): len(value) for key, value in entries.cursor()}
            declared = bytes(entries.get(b"length", b""))
            images = {key: length for key, length in lengths.items() if not NOT_IMAGES.fullmatch(key)}
            if any(BY_RESOLUTION.fullmatch(key) for key in images):
                images = _of_resolution(images, size, path)
            if not images:
                raise UserError(f"{path}: no images in it")
            raw_side = None if is_image(bytes(entries.get(min(images)))) else _raw_side(images)
        if declared.isdigit() and int(declared) != len(images):
            raise UserError(f"{path}: {len(images)} images, but its entry 'length' says {int(declared)}; make it again")
        return cls(path, tuple(key.decode("utf-8", "surrogateescape") for key in images), raw_side)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Yield each entry as an encoded image."""
        # An uncompressed image with the header of a PPM file is an encoded one.
        header = b"" if self.raw_side is None else f"P6 {self.raw_side} {self.raw_side} 255\n".encode()
        with _transaction(self.path) as entries:
            for name in self.names:
                value = bytes(entries.get(name.encode("utf-8", "surrogateescape"), b""))
                yield f"{self.path}: entry {name}", header + value


@contextmanager
def _transaction(path: Path) -> Iterator[Any]:
    try:
        import lmdb
    except ImportError as error:
        raise UserError(f"{path}: reading an LMDB needs one more package: pip install lmdb") from error
    try:
        with (
            lmdb.open(str(path), readonly=True, lock=False, readahead=False, subdir=path.is_dir()) as database,
            database.begin(buffers=True) as transaction,
        ):
            _check_whole(database, path)
            yield transaction
    except lmdb.Error as error:
        raise UserError(f"{path}: not a readable LMDB ({error})") from error


def _check_whole(database: Any, path: Path) -> None:
    """Refuse a file that was cut off: reading past its end would kill the process instead of raising an error.

    The pages that LMDB counts last may be free ones that were never written, so a few are allowed to be missing.
    """
    pages = database.info()["last_pgno"] + 1 - TOLERATED_PAGES
    file = path / "data.mdb" if path.is_dir() else path
    if file.stat().st_size < pages * database.stat()["psize"]:
        raise UserError(f"{file}: truncated; copy or make it again")


def _of_resolution(images: Mapping[bytes, int], size: int, path: Path) -> dict[bytes, int]:
    matches = {key: BY_RESOLUTION.fullmatch(key) for key in images}
    resolutions = {key: int(match[1]) for key, match in matches.items() if match}
    for key in images.keys() - resolutions.keys():
        raise UserError(f"{path}: entry {key!r} is not named as the others, <resolution>-<number>; remove it")
    enough = [resolution for resolution in set(resolutions.values()) if resolution >= size]
    if not enough:
        raise UserError(f"{path}: its largest images are {max(resolutions.values())} wide, smaller than size {size}")
    return {key: length for key, length in images.items() if resolutions[key] == min(enough)}


def _raw_side(images: Mapping[bytes, int]) -> int | None:
    """Encoded images differ in length; entries that are all 3 side^2 long, under numbers, are bare pixels."""
    lengths = set(images.values())
    if len(lengths) > 1 or not all(key.isdigit() for key in images):
        return None
    (length,) = lengths
    side = math.isqrt(length // 3)
    return side if 0 < 3 * side**2 == length else None
