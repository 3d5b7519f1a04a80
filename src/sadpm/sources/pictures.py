"""One encoded image becomes one array of pixels, or a message that names the file."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sadpm.artifacts import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})

Mode = Literal["colour", "grey"]
Box = tuple[int, int, int, int]


def decode(content: bytes, place: str, mode: Mode) -> Image:
    """Return an encoded image as RGB, or as L where ``mode`` is grey.

    Grey images become colour and the reverse; an alpha channel is dropped where it says that every pixel is opaque.

    Raises:
        UserError: the content is truncated, no image, transparent, or has more than 8 bits per channel.
    """
    from PIL.Image import DecompressionBombError, UnidentifiedImageError
    from PIL.Image import open as open_image

    try:
        image: Image = open_image(BytesIO(content))
        image.load()
    except UnidentifiedImageError as error:
        raise UserError(f"{place}: not an image that Pillow can read; replace or remove it") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, DecompressionBombError) as error:
        raise UserError(f"{place}: damaged image ({error}); replace or remove it") from error
    if image.mode not in EIGHT_BITS:
        raise UserError(f"{place}: pixels of type {image.mode!r}; convert it to 8 bits per channel")
    return _opaque(image, place).convert("L" if mode == "grey" else "RGB")


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


def _opaque(image: Image, place: str) -> Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    lowest, _ = image.getchannel("A").getextrema()
    if lowest != 255:
        raise UserError(f"{place}: has transparent pixels; flatten it onto a background first")
    return image
