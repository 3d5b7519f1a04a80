"""Patches of two photographs that come with scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sadpm.sources import ImageShape, Source

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class Photographs(Source):
    """The 8,480 tiles of 8x8, in colour."""

    kind: Literal["photographs"] = "photographs"

    def open(self) -> ImageStream:
        """Return the images."""
        from sadpm.sources.reading.embedded import photograph_patches

        return photograph_patches()

    def shape(self) -> ImageShape:
        """Return the shape that the images have."""
        return ImageShape(8_480, 8, 3)
