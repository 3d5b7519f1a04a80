"""Images that are already a NumPy array, read row by row: neither file is loaded as a whole."""

from __future__ import annotations

import math
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sadpm.running.files import UserError
from sadpm.sources.reading.containers import ZIP_ERRORS
from sadpm.sources.reading.signatures import HEAD, refusal
from sadpm.sources.reading.stream import ImageStream

Shape = tuple[int, int, int]


def array_images(path: Path, key: str | None = None) -> ImageStream:
    """Return the images of an .npy file, or of one array of an .npz archive, as they are.

    Raises:
        UserError: the file is missing or damaged, or the array is not uint8 of shape (n, H, W), (n, H, W, 1) or
            (n, H, W, 3) in C order.
    """
    with _open_array(path, key) as (file, size):
        count, shape = _read_header(file, size, path)
    description = f"array of {path}" + (f", key {key}" if key else "")
    return ImageStream(count, shape, _rows(path, key), None, (), description)


def _rows(path: Path, key: str | None) -> Iterator[NDArray[np.uint8]]:
    with _open_array(path, key) as (file, size):
        count, shape = _read_header(file, size, path)
        for _ in range(count):
            yield np.frombuffer(file.read(math.prod(shape)), np.uint8).reshape(shape)


@contextmanager
def _open_array(path: Path, key: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """Open what numpy.save wrote, of this many bytes: a file, or a member of an archive."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file; correct source.path")
        if not zipfile.is_zipfile(path):
            if key is not None:
                raise UserError(f"{path}: key {key!r} is for .npz archives, and this is none; leave it out")
            with path.open("rb") as file:
                yield file, path.stat().st_size
        else:
            with zipfile.ZipFile(path) as archive:
                member = _member(archive, key, path)
                with archive.open(member) as file:
                    yield file, member.file_size
    except ZIP_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: can't be read ({reason}); make or fetch it again, or correct source.path") from error


def _member(archive: zipfile.ZipFile, key: str | None, path: Path) -> zipfile.ZipInfo:
    arrays = [member for member in archive.infolist() if member.filename.endswith(".npy")]
    keys = [member.filename.removesuffix(".npy") for member in arrays]
    if key is None and len(keys) == 1:
        key = keys[0]
    if key not in keys:
        wanted = "choose an array by source.key" if key is None else f"no array {key!r}"
        raise UserError(f"{path}: {wanted}; it holds {', '.join(keys) or 'no arrays (image files: kind: images)'}")
    if keys.count(key) > 1:
        raise UserError(f"{path}: holds {keys.count(key)} arrays named {key!r}; make it again with one")
    return arrays[keys.index(key)]


def _read_header(file: IO[bytes], size: int, path: Path) -> tuple[int, Shape]:
    """Read up to the data, and return how many images of which shape follow."""
    head = file.read(HEAD)
    file.seek(0)
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        expected_file = f"a readable .npy or .npz file ({error})"
        raise UserError(f"{path}: {refusal(expected_file, head, 'save the images with numpy.save')}") from error
    full = (*shape, 1) if len(shape) == 3 else shape
    if dtype != np.uint8 or len(full) != 4 or full[-1] not in (1, 3) or min(full) < 1:
        raise UserError(
            f"{path}: found {dtype} {shape}; expected uint8 images from 0 to 255 of shape (n, H, W), (n, H, W, 1) or"
            " (n, H, W, 3)"
        )
    if fortran_order:
        raise UserError(f"{path}: in Fortran order; save it again with numpy.ascontiguousarray")
    expected, found = math.prod(shape), size - file.tell()
    if found != expected:
        raise UserError(f"{path}: {found:,} bytes of pixels, though {shape} are {expected:,}; make or fetch it again")
    count, height, width, channels = full
    return count, (height, width, channels)
