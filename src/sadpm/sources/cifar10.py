"""The images of CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sadpm.kinds.section import ConfigPath
from sadpm.sources import ImageShape, Source, SourceFile

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class CIFAR10(Source):
    """In torchvision's folder, or downloaded into it."""

    kind: Literal["cifar10"] = "cifar10"
    root: ConfigPath = "data/cifar10"
    download: bool = True
    split: Literal["train", "test"] = Field("train", exclude_if=lambda split: split == "train")

    def open(self) -> ImageStream:
        """Return the images of the split with their labels."""
        from sadpm.sources.reading.torchvision_sets import cifar10

        return cifar10(Path(self.root), self.download, self.split)

    def shape(self) -> ImageShape:
        """Return the shape that the images have."""
        return ImageShape(50_000 if self.split == "train" else 10_000, 32, 3)

    def file(self) -> SourceFile | None:
        """Return torchvision's folder, where it is not fetched."""
        return None if self.download else SourceFile("root", self.root, "folder")

    def held_out(self) -> Source | None:
        """Return the 10,000 test images, unless these are they."""
        return self.model_copy(update={"split": "test"}) if self.split == "train" else None
