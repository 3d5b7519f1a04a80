"""One encoded image becomes one array of pixels, or a message that names the file."""

from __future__ import annotations

import contextlib
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sadpm.running.files import UserError
from sadpm.sources.reading.signatures import refusal

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = frozenset({"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"})
EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})

Mode = Literal["colour", "grey"]
Box = tuple[int, int, int, int]


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes, such as ``.jpg``, of the formats that Pillow reads here."""
    from PIL.Image import registered_extensions

    return frozenset(suffix for suffix, name in registered_extensions().items() if name in FORMATS)


def is_image(content: bytes) -> bool:
    """Return whether this begins as an encoded image."""
    try:
        _open(content)
    except Exception:  # whatever Pillow makes of bytes that are no image
        return False
    return True


def decode(content: bytes, place: str, mode: Mode) -> Image:
    """Return an encoded image as RGB, or as L where ``mode`` is grey, turned upright as its EXIF data say.

    Grey images become colour and the reverse; an alpha channel is dropped where it says that every pixel is opaque.

    Raises:
        UserError: the content is truncated, no image, several images, transparent, has more pixels than Pillow
            agrees to unpack, or more than 8 bits per channel.
    """
    from PIL.Image import DecompressionBombError, UnidentifiedImageError

    try:
        image = _open(content)
        # The other frames of an MPO are previews and further views of one photograph.
        several = getattr(image, "is_animated", False) and image.format != "MPO"
        image.load()
    except UnidentifiedImageError as error:
        raise UserError(
            f"{place}: {refusal('an image that Pillow can read', content, 'replace or remove it')}"
        ) from error
    except (DecompressionBombError, MemoryError) as error:
        reason = str(error) or "memory is short"
        raise UserError(f"{place}: too large to be unpacked ({reason}); scale it down, or remove it") from error
    except Exception as error:  # each decoder has its own way to fail
        raise UserError(f"{place}: damaged image ({error}); replace or remove it") from error
    if several:
        raise UserError(f"{place}: several images (an animation, or pages); save each as a file, or remove it")
    if image.mode not in EIGHT_BITS:
        raise UserError(f"{place}: pixels of type {image.mode!r}; convert it to grey or RGB of 8 bits per channel")
    return _opaque(_upright(image), place).convert("L" if mode == "grey" else "RGB")


def to_pixels(image: Image, box: Box, size: int) -> NDArray[np.uint8]:
    """Cut out (left, upper, right, lower) and resize it to (size, size, C), bilinear with antialiasing.

    That is what torchvision's ``Resize`` does to Pillow images: a triangle filter as wide as the reduction.
    """
    from PIL.Image import Resampling

    pixels = np.array(image.crop(box).resize((size, size), Resampling.BILINEAR))
    return pixels.reshape(size, size, -1)


def centre_square(image: Image, size: int, place: str) -> Box:
    """Return the largest square in the middle of an image; of an odd margin the smaller half is at the left and top.

    Raises:
        UserError: the square is smaller than ``size``: nothing is enlarged silently.
    """
    width, height = image.size
    side = min(width, height)
    if side < size:
        raise UserError(f"{place}: {width}x{height} is smaller than size {size}; choose a smaller size, or remove it")
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def _open(content: bytes) -> Image:
    from PIL import Image

    Image.init()
    return Image.open(BytesIO(content), formats=sorted(FORMATS & Image.OPEN.keys()))


def _upright(image: Image) -> Image:
    from PIL.ImageOps import exif_transpose

    # EXIF data that can't be read say nothing. Where only the rest can't be written back, the image is turned already.
    with contextlib.suppress(Exception):
        exif_transpose(image, in_place=True)
    return image


def _opaque(image: Image, place: str) -> Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    lowest, _ = image.getchannel("A").getextrema()
    if lowest != 255:
        raise UserError(f"{place}: has transparent pixels; flatten it onto a background first")
    return image
