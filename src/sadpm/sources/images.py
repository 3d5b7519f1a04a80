"""Image files of the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sadpm.kinds.section import ConfigPath
from sadpm.sources import ImageShape, Source, SourceFile

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class Images(Source):
    """A folder (with folders by class, or not), a zip archive, or an LMDB of image files: centre crop and resize."""

    kind: Literal["images"] = "images"
    path: ConfigPath
    size: int = Field(ge=1)
    mode: Literal["colour", "grey"] = "colour"

    def open(self) -> ImageStream:
        """Return the images in the order of their names."""
        from sadpm.sources.reading.image_files import image_files

        return image_files(Path(self.path), self.size, self.mode)

    def shape(self) -> ImageShape:
        """Return the shape that the images will have, of a number that is not known yet."""
        return ImageShape(None, self.size, 3 if self.mode == "colour" else 1)

    def file(self) -> SourceFile:
        """Return the folder or archive."""
        return SourceFile("path", self.path, "file or folder")
