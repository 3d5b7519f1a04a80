"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sadpm.sources import ImageShape, Source

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class Digits(Source):
    """1,797 grey images of 8x8, with their labels; or those but each fifth (``train``), or each fifth (``test``)."""

    kind: Literal["digits"] = "digits"
    split: Literal["all", "train", "test"] = Field("all", exclude_if=lambda split: split == "all")

    has_labels: ClassVar[bool] = True

    def open(self) -> ImageStream:
        """Return the images of the split."""
        from sadpm.sources.reading.embedded import handwritten_digits

        return handwritten_digits(self.split)

    def shape(self) -> ImageShape:
        """Return the shape that the images have."""
        return ImageShape({"all": 1_797, "train": 1_438, "test": 359}[self.split], 8, 1)

    def held_out(self) -> Source | None:
        """Return each fifth image, where these are the others."""
        return self.model_copy(update={"split": "test"}) if self.split == "train" else None
