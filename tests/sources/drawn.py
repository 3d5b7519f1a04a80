"""Small images, and the files that hold them."""

import zipfile
from io import BytesIO

import numpy as np
from PIL import Image


def noise(height, width=None, channels=3, seed=0):
    """(height, width, channels) uint8, or (height, width) for channels = 0."""
    shape = (height, width or height, channels) if channels else (height, width or height)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(image, form="PNG", **options):
    """The bytes of an image file; ``image`` is an array or a Pillow image."""
    file = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(file, form, **options)
    return file.getvalue()


def lay_out(folder, files):
    """Write {name: bytes} below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def packed(path, files, compression=zipfile.ZIP_STORED):
    """Write {name: bytes}, or pairs of them, into a zip archive; names stay as they are."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return path
