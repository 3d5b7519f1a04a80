"""Where the images of a data set come from: one kind in each module.

Whatever it is becomes one stream of uint8 images of one shape. What takes long to import (scikit-learn, torchvision,
Pillow, lmdb) is imported when a source is opened.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, SerializeAsAny

from sadpm.kinds import Axis, Kind

if TYPE_CHECKING:
    from sadpm.sources.reading.stream import ImageStream


class ImageShape(NamedTuple):
    """What a data set will be: number of images (None: not known before they are read), edge in pixels, channels."""

    number: int | None
    size: int
    channels: int


class SourceFile(NamedTuple):
    """What a source needs to find: the key of the YAML that names it, the path, and what must lie there."""

    key: str
    path: str
    kind: Literal["file", "folder", "file or folder"]


class Source(Kind):
    """Images, and perhaps their classes."""

    has_labels: ClassVar[bool] = False
    """Whether there is a class of each image for certain, from which a classifier can learn."""

    is_read_for_its_shape: ClassVar[bool] = False
    """Whether :meth:`shape` looks into the file, which then must be there for it."""

    @abstractmethod
    def open(self) -> ImageStream:
        """Return the images, found and counted but not yet read.

        Raises:
            UserError: what the source names is missing, empty, or not what it should be. Iterating over the images
                raises it too, for a file that turns out to be damaged.
        """

    def shape(self) -> ImageShape | None:
        """Return the shape that the images will have, or None where it is not known before they are read.

        Raises:
            UserError: the images can't be used.
        """
        return None

    def file(self) -> SourceFile | None:
        """Return what must be there before the images can be read; None where the source brings or fetches its own."""
        return None

    def held_out(self) -> Source | None:
        """Return the source of images like these that are not among them, a test split; None where there is none."""
        return None


SOURCES: Axis[Source] = Axis(Source)  # type: ignore[type-abstract]
SourceSection = Annotated[SerializeAsAny[Source], BeforeValidator(SOURCES.parse)]
"""A field of the configuration that holds one of the kinds."""


def open_source(source: Source) -> ImageStream:
    """Open a source, with an error of the file system told as the user's."""
    from sadpm.sources.reading.containers import unreadable

    try:
        return source.open()
    except OSError as error:
        unreadable(error)
