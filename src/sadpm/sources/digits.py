"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from sadpm.sources import ImageShape, Source

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class Digits(Source):
    """1,797 grey images of 8x8, with their labels."""

    kind: Literal["digits"] = "digits"

    has_labels: ClassVar[bool] = True

    def open(self) -> ImageStream:
        """Return the images."""
        from sadpm.sources.reading.embedded import handwritten_digits

        return handwritten_digits()

    def shape(self) -> ImageShape:
        """Return the shape that the images have."""
        return ImageShape(1_797, 8, 1)
