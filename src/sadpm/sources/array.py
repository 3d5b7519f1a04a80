"""An array of the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from sadpm.kinds.section import ConfigPath
from sadpm.sources import ImageShape, Source, SourceFile

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class Array(Source):
    """A NumPy file of uint8 images (n, H, W) or (n, H, W, C); ``key`` chooses an array of an .npz."""

    kind: Literal["array"] = "array"
    path: ConfigPath
    key: str | None = None

    is_read_for_its_shape: ClassVar[bool] = True

    def open(self) -> ImageStream:
        """Return the images as they are."""
        from sadpm.sources.reading.arrays import array_images

        return array_images(Path(self.path), self.key)

    def shape(self) -> ImageShape | None:
        """Return the shape that the file's header names, or None where there is no such file yet.

        Raises:
            UserError: the file holds no square images.
        """
        from sadpm.running.files import UserError

        if not Path(self.path).exists():
            return None
        stream = self.open()
        height, width, channels = stream.shape
        if height != width:
            raise UserError(f"{self.path}: the network needs square images, not {height}x{width}")
        return ImageShape(stream.count, height, channels)

    def file(self) -> SourceFile:
        """Return the file."""
        return SourceFile("path", self.path, "file")
