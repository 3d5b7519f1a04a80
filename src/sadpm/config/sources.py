"""Where the images of a data set come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from sadpm.kinds.section import ConfigPath, Section


class ImageShape(NamedTuple):
    """What a data set will be: number of images (None: not known before they are read), edge in pixels, channels."""

    number: int | None
    size: int
    channels: int


class EmbeddedSource(Section):
    """Images that come with scikit-learn."""

    kind: Literal["digits", "photographs"]

    def shape(self) -> ImageShape:
        """Return the shape that the images will have."""
        return ImageShape(1_797, 8, 1) if self.kind == "digits" else ImageShape(8_480, 8, 3)


class CIFAR10Source(Section):
    """The training images of CIFAR-10, in torchvision's folder or downloaded into it."""

    kind: Literal["cifar10"]
    root: ConfigPath = "data/cifar10"
    download: bool = True

    def shape(self) -> ImageShape:
        """Return the shape that the images will have."""
        return ImageShape(50_000, 32, 3)


class CelebASource(Section):
    """The aligned images of CelebA: the 128x128 crop centred at (89, 121), resized."""

    kind: Literal["celeba"]
    root: ConfigPath = "data/celeba"
    download: bool = True
    split: Literal["train", "train+val"] = "train"
    size: int = Field(64, ge=1)

    def shape(self) -> ImageShape:
        """Return the shape that the images will have."""
        return ImageShape(162_770 if self.split == "train" else 182_637, self.size, 3)


class FilesSource(Section):
    """A folder (with folders by class, or not), a zip archive, or an LMDB of image files: centre crop and resize."""

    kind: Literal["images"]
    path: ConfigPath
    size: int = Field(ge=1)
    mode: Literal["colour", "grey"] = "colour"

    def shape(self) -> ImageShape:
        """Return the shape that the images will have, of a number that is not known yet."""
        return ImageShape(None, self.size, 3 if self.mode == "colour" else 1)


class ArraySource(Section):
    """A NumPy file of uint8 images (n, H, W) or (n, H, W, C); ``key`` chooses an array of an .npz."""

    kind: Literal["array"]
    path: ConfigPath
    key: str | None = None

    def shape(self) -> ImageShape | None:
        """Return the shape that the file's header names, or None where there is no such file yet.

        Raises:
            UserError: the file holds no square images.
        """
        from sadpm.running.files import UserError
        from sadpm.sources.arrays import array_images

        if not Path(self.path).exists():
            return None
        stream = array_images(self)
        height, width, channels = stream.shape
        if height != width:
            raise UserError(f"{self.path}: the network needs square images, not {height}x{width}")
        return ImageShape(stream.count, height, channels)


def _spelled_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Source = Annotated[
    EmbeddedSource | CIFAR10Source | CelebASource | FilesSource | ArraySource,
    Field(discriminator="kind"),
    BeforeValidator(_spelled_out),
]
"""One of the kinds; a name alone stands for the kind with its defaults."""
