"""CIFAR-10 and CelebA in torchvision's folders, fetched and checked by torchvision."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sadpm.running.files import UserError
from sadpm.sources.reading.containers import Container, Folder, ZipArchive
from sadpm.sources.reading.pictures import decode, to_pixels
from sadpm.sources.reading.stream import ImageStream

CELEBA_SIZE = (178, 218)
CELEBA_CROP = (25, 57, 153, 185)
"""128x128, centred at x = 89, y = 121: left, upper, right, lower."""

PARTITION = "list_eval_partition.txt"
ALIGNED = "img_align_celeba"


def cifar10(root: Path, download: bool, split: Literal["train", "test"]) -> ImageStream:
    """Return the 50,000 training or 10,000 test images of CIFAR-10, 32x32, with their labels.

    Raises:
        UserError: a file is missing or has another checksum, and was not, or could not be, downloaded.
    """
    from torchvision.datasets import CIFAR10

    try:
        dataset = CIFAR10(str(root), train=split == "train", download=download)
    except Exception as error:  # a dozen unrelated classes, of the network, of tar, and torchvision's RuntimeErrors
        folder = root / CIFAR10.base_folder
        meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
        fault = _first_fault(folder, [*CIFAR10.train_list, *CIFAR10.test_list, meta])
        advice = f"put the files of {CIFAR10.url} into {folder}"
        if download:
            advice = f"can't be downloaded ({_one_line(error)}): {advice}, and set source.download: false"
        else:
            advice += ", or set source.download: true"
        raise UserError(f"{fault or f'{folder}: {_one_line(error)}'}; {advice}") from error
    return ImageStream(
        count=len(dataset.data),
        shape=(32, 32, 3),
        images=iter(dataset.data),
        labels=np.array(dataset.targets, np.int64),
        class_names=tuple(dataset.classes),
        description=f"CIFAR-10, {'training' if split == 'train' else split} images, 32x32, colour",
    )


def celeba(root: Path, download: bool, split: Literal["train", "train+val", "test"], size: int) -> ImageStream:
    """Return aligned images of CelebA: the 128x128 crop centred at (89, 121), resized to ``size``.

    Of torchvision's files two are needed: the images (unpacked, or their zip archive) and the list of the splits.

    Raises:
        UserError: a file is missing, damaged or of another size, or has another checksum than torchvision's.
    """
    if size > CELEBA_CROP[2] - CELEBA_CROP[0]:
        raise UserError(f"source.size: {size} is larger than CelebA's crop, 128x128")
    folder = _celeba_folder(root, download)
    container = _celeba_images(folder, {"train": {"0"}, "train+val": {"0", "1"}, "test": {"2"}}[split])
    return ImageStream(
        count=len(container.names),
        shape=(size, size, 3),
        images=_celeba_pixels(container, size),
        labels=None,
        class_names=(),
        description=f"CelebA aligned, {split}: 128x128 at (89, 121), bilinear resize to {size}, colour",
    )


def _celeba_folder(root: Path, download: bool) -> Path:
    """Return the folder with the needed files, after downloading them where that is wished, and checking them."""
    from torchvision.datasets import CelebA
    from torchvision.datasets.utils import download_file_from_google_drive

    folder = root / CelebA.base_folder
    archive = f"{ALIGNED}.zip"
    needed = [PARTITION] if (folder / ALIGNED).is_dir() else [PARTITION, archive]
    files = [(id_, md5, name) for id_, md5, name in CelebA.file_list if name in needed]
    checksums = [(name, md5) for _, md5, name in files]
    fault = _first_fault(folder, checksums)
    if not fault:
        return folder
    advice = f"put {PARTITION} and {ALIGNED}/ (or {archive}) from CelebA's web page into {folder}"
    if not download:
        raise UserError(f"{fault}; {advice}, or set source.download: true")
    try:
        for id_, md5, name in files:
            download_file_from_google_drive(id_, str(folder), name, md5)
    except Exception as error:  # gdown raises classes of its own, and torchvision RuntimeErrors
        reason = f"can't be downloaded ({_one_line(error)})"
        raise UserError(f"{fault}; {reason}: {advice}, and set source.download: false") from error
    return folder


def _celeba_images(folder: Path, splits: set[str]) -> Container:
    partition = folder / PARTITION
    rows = [line.split() for line in partition.read_text().splitlines() if line.strip()]
    names = [name for name, split in rows if split in splits]
    if not names:
        raise UserError(f"{partition}: names no image of the wished split")
    if not (folder / ALIGNED).is_dir():
        container = ZipArchive.open(folder / f"{ALIGNED}.zip")
        wished = tuple(f"{ALIGNED}/{name}" for name in names)
        _all_there(wished, container.names, container.path)
        return ZipArchive(container.path, wished)
    _all_there(names, os.listdir(folder / ALIGNED), folder / ALIGNED)
    return Folder(folder / ALIGNED, tuple(names))


def _all_there(wished: Iterable[str], found: Iterable[str], place: Path) -> None:
    found = set(found)
    for name in wished:
        if name not in found:
            raise UserError(f"{place}/{name}: missing, though {PARTITION} names it; unpack {ALIGNED}.zip again")


def _celeba_pixels(container: Container, size: int) -> Iterator[NDArray[np.uint8]]:
    for place, content in container.contents():
        image = decode(content, place, "colour")
        if image.size != CELEBA_SIZE:
            width, height = image.size
            raise UserError(f"{place}: {width}x{height}; expected CelebA's aligned images, 178x218")
        yield to_pixels(image, CELEBA_CROP, size)


def _first_fault(folder: Path, checksums: Iterable[Sequence[str]]) -> str | None:
    """Return what is wrong with the first file that is missing, or whose checksum differs from torchvision's."""
    from torchvision.datasets.utils import check_integrity

    for name, md5 in checksums:
        if not (folder / name).is_file():
            return f"{folder / name}: missing"
        if not check_integrity(str(folder / name), md5):
            return f"{folder / name}: damaged, its checksum is not the one torchvision knows"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
