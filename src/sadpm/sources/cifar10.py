"""The training images of CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sadpm.kinds.section import ConfigPath
from sadpm.sources import ImageShape, Source, SourceFile

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class CIFAR10(Source):
    """In torchvision's folder, or downloaded into it."""

    kind: Literal["cifar10"] = "cifar10"
    root: ConfigPath = "data/cifar10"
    download: bool = True

    def open(self) -> ImageStream:
        """Return the 50,000 images with their labels."""
        from sadpm.sources.reading.torchvision_sets import cifar10

        return cifar10(Path(self.root), self.download)

    def shape(self) -> ImageShape:
        """Return the shape that the images have."""
        return ImageShape(50_000, 32, 3)

    def file(self) -> SourceFile | None:
        """Return torchvision's folder, where it is not fetched."""
        return None if self.download else SourceFile("root", self.root, "folder")
