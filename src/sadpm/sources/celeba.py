"""The aligned images of CelebA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sadpm.kinds.section import ConfigPath
from sadpm.sources import ImageShape, Source, SourceFile

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class CelebA(Source):
    """The 128x128 crop centred at (89, 121), resized."""

    kind: Literal["celeba"] = "celeba"
    root: ConfigPath = "data/celeba"
    download: bool = True
    split: Literal["train", "train+val", "test"] = "train"
    size: int = Field(64, ge=1)

    def open(self) -> ImageStream:
        """Return the images of the split."""
        from sadpm.sources.reading.torchvision_sets import celeba

        return celeba(Path(self.root), self.download, self.split, self.size)

    def shape(self) -> ImageShape:
        """Return the shape that the images will have."""
        return ImageShape({"train": 162_770, "train+val": 182_637, "test": 19_962}[self.split], self.size, 3)

    def file(self) -> SourceFile | None:
        """Return torchvision's folder, where it is not fetched."""
        return None if self.download else SourceFile("root", self.root, "folder")

    def held_out(self) -> Source | None:
        """Return the test split, unless this is it."""
        return None if self.split == "test" else self.model_copy(update={"split": "test"})
