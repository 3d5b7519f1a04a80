import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from sadpm.sources import open_source
from sadpm.sources.digits import Digits
from sadpm.sources.photographs import Photographs


def test_digits_are_sklearns_to_the_grey_level():
    stream = open_source(Digits())
    pixels = np.stack(list(stream.images))
    assert (stream.count, stream.shape) == (1797, (8, 8, 1))
    assert pixels.shape == (1797, 8, 8, 1)
    assert pixels.dtype == np.uint8
    original = load_digits()
    np.testing.assert_array_equal(np.rint(pixels[..., 0] * (16 / 255)), original.images)
    np.testing.assert_array_equal(stream.labels, original.target)
    assert stream.class_names == tuple("0123456789")
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_splits_of_digits_have_each_image_once():
    every = open_source(Digits())
    pixels, labels = np.stack(list(every.images)), every.labels
    rest, held_out = open_source(Digits(split="train")), open_source(Digits(split="train").held_out())
    np.testing.assert_array_equal(np.stack(list(held_out.images)), pixels[4::5])
    np.testing.assert_array_equal(held_out.labels, labels[4::5])
    np.testing.assert_array_equal(np.stack(list(rest.images)), np.delete(pixels, np.s_[4::5], axis=0))
    np.testing.assert_array_equal(rest.labels, np.delete(labels, np.s_[4::5]))
    assert len({stream.description for stream in (every, rest, held_out)}) == 3
    assert [Digits(split=split).held_out() for split in ("all", "test")] == [None, None]


def test_patches_tile_the_photographs():
    stream = open_source(Photographs())
    patches = np.stack(list(stream.images))
    photographs = load_sample_images().images
    rows, columns = (length // 8 for length in photographs[0].shape[:2])
    assert patches.shape == (2 * rows * columns, 8, 8, 3) == (stream.count, *stream.shape)
    np.testing.assert_array_equal(patches[0], photographs[0][:8, :8])
    np.testing.assert_array_equal(patches[columns + 2], photographs[0][8:16, 16:24])
    np.testing.assert_array_equal(patches[rows * columns], photographs[1][:8, :8])
    assert stream.labels is None
    assert stream.class_names == ()
