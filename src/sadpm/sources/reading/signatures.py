"""What a file is by its first bytes, for messages about files that are not what they should be."""

from __future__ import annotations

HEAD = 512
"""How many first bytes tell."""

ARCHIVE = "unpack it, and name the folder"
NUMPY = "save its images with numpy.save, and use kind: array"
HTML = "the download was refused; fetch it again as its web page asks"
SIGNATURES: tuple[tuple[int, tuple[bytes, ...], str, str], ...] = (
    (0, (b"PK\x03\x04",), "a zip archive", ARCHIVE),
    (257, (b"ustar",), "a tar archive", ARCHIVE),
    (0, (b"\x1f\x8b",), "a gzip file (.gz, .tgz)", ARCHIVE),
    (0, (b"BZh",), "a bzip2 file (.bz2, .tbz2)", ARCHIVE),
    (0, (b"\xfd7zXZ\x00",), "an xz file (.xz, .txz)", ARCHIVE),
    (0, (b"\x28\xb5\x2f\xfd",), "a zstd file (.zst)", ARCHIVE),
    (0, (b"7z\xbc\xaf\x27\x1c",), "a 7z archive", ARCHIVE),
    (0, (b"Rar!\x1a\x07",), "a rar archive", ARCHIVE),
    (0, (b"\x93NUMPY",), "an .npy array", "read it with kind: array"),
    (0, (b"\x89HDF\r\n",), "an HDF5 file", NUMPY),
    (0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle, which is never opened", NUMPY),
    (16, (b"\xde\xc0\xef\xbe",), "an LMDB", "give it the suffix .lmdb"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif"), "an HEIC image", "convert it to PNG or JPEG"),
    (0, (b"version https://git-lfs",), "a pointer of git-lfs", "fetch the file itself with git lfs pull"),
    (0, (b"<!DOCTYPE html", b"<!doctype html", b"<html"), "a web page", HTML),
)
"""Offset, the bytes there (any of them), what the file is, and what to do about it."""


def refusal(expected: str, content: bytes, advice: str) -> str:
    """Return that a file is not what was expected, but what it is, and what to do.

    Args:
        expected: such as "an image".
        content: its first bytes, `HEAD` of them where there are so many.
        advice: what to do where the bytes tell nothing.
    """
    if not content:
        return f"not {expected}, but an empty file; fetch it again, or remove it"
    for offset, magics, kind, special_advice in SIGNATURES:
        if content.startswith(magics, offset):
            return f"not {expected}, but {kind}; {special_advice}"
    return f"not {expected}; {advice}"
