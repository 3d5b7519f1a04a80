"""Make the one uint8 array of a data set."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from sadpm.config.jobs import DataJob
from sadpm.running.files import UserError, provenance, write_atomically, write_json
from sadpm.running.progress import progress
from sadpm.sources import open_source
from sadpm.sources.reading.stream import ImageStream
from sadpm.stages import command

MIN_IMAGES = 2


def prepare_data(params: DataJob, images: Path, labels: Path, description: Path) -> None:
    """Write the images (n, H, W, C), their labels (empty where there are none), and what they are.

    One image at a time is in memory. When one of them can't be used, nothing is written.

    Raises:
        UserError: an image can't be used, or there are too few for the statistics that all scores compare with.
    """
    stream = open_source(params.source)
    if stream.count < MIN_IMAGES:
        needed = f"the covariance of real images needs {MIN_IMAGES} or more"
        raise UserError(f"{stream.description}: only {stream.count} image; {needed}")
    classes = np.empty(0, np.int64) if stream.labels is None else stream.labels
    checksum = _write_images(images, stream)
    write_atomically(labels, lambda file: np.save(file, classes))
    facts = {
        "source": params.source.model_dump(),
        "description": stream.description,
        "shape": [stream.count, *stream.shape],
        "sha256": checksum,
        "num_classes": len(np.unique(classes)),
        "class_names": list(stream.class_names),
        "provenance": provenance(params),
    }
    write_json(description, facts)


def _write_images(path: Path, stream: ImageStream) -> str:
    """Write the .npy file, and return its hash."""
    checksum = hashlib.sha256()

    def write(file: IO[bytes]) -> None:
        for chunk in _npy_chunks(stream):
            checksum.update(chunk)
            file.write(chunk)

    write_atomically(path, write)
    return checksum.hexdigest()


def _npy_chunks(stream: ImageStream) -> Iterator[bytes]:
    """Yield what ``numpy.save`` would write: the header, then the pixels of each image.

    Raises:
        UserError: the images are not what the source announced.
    """
    header = BytesIO()
    shape = (stream.count, *stream.shape)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    yield header.getvalue()
    written = 0
    for image in progress(stream.images, stream.count, "images", 0, "images"):
        if image.shape != stream.shape or image.dtype != np.uint8:
            raise UserError(f"image {written} is {image.dtype} {image.shape}, not uint8 {stream.shape}")
        yield image.tobytes()
        written += 1
    if written != stream.count:
        raise UserError(f"the source announced {stream.count} images and gave {written}")


if __name__ == "__main__":
    command(prepare_data, report="description")
