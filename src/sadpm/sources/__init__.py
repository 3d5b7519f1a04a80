"""Sources of images: whatever the configuration names becomes one stream of uint8 images of one shape.

Heavy libraries (scikit-learn, torchvision, Pillow, lmdb) are imported by the source that needs them, when it is opened.
"""

from sadpm.config.sources import ArraySource, CelebASource, CIFAR10Source, EmbeddedSource, Source
from sadpm.sources.arrays import array_images
from sadpm.sources.containers import unreadable
from sadpm.sources.embedded import handwritten_digits, photograph_patches
from sadpm.sources.image_files import image_files
from sadpm.sources.stream import ImageStream
from sadpm.sources.torchvision_sets import celeba, cifar10

__all__ = ["ImageStream", "open_source"]


def open_source(source: Source) -> ImageStream:
    """Return the images that a source describes, found and counted but not yet read.

    Raises:
        UserError: what the source names is missing, empty, or not what it should be. Iterating over the images raises
            it too, for a file that turns out to be damaged.
    """
    try:
        return _opened(source)
    except OSError as error:
        unreadable(error)


def _opened(source: Source) -> ImageStream:
    if isinstance(source, EmbeddedSource):
        return handwritten_digits() if source.kind == "digits" else photograph_patches()
    if isinstance(source, CIFAR10Source):
        return cifar10(source)
    if isinstance(source, CelebASource):
        return celeba(source)
    if isinstance(source, ArraySource):
        return array_images(source)
    return image_files(source)
