import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from sadpm.artifacts import UserError
from sadpm.data import handwritten_digits, load_pixels, photograph_patches


def test_digits_are_sklearns_to_the_grey_level():
    images = handwritten_digits()
    assert images.pixels.shape == (1797, 8, 8, 1)
    original = load_digits()
    np.testing.assert_array_equal(np.rint(images.pixels[..., 0] * (16 / 255)), original.images)
    np.testing.assert_array_equal(images.labels, original.target)
    assert (images.pixels.min(), images.pixels.max()) == (0, 255)


def test_patches_tile_the_photographs():
    patches = photograph_patches().pixels
    photographs = load_sample_images().images
    rows, columns = (length // 8 for length in photographs[0].shape[:2])
    assert patches.shape == (2 * rows * columns, 8, 8, 3)
    np.testing.assert_array_equal(patches[0], photographs[0][:8, :8])
    np.testing.assert_array_equal(patches[columns + 2], photographs[0][8:16, 16:24])
    np.testing.assert_array_equal(patches[rows * columns], photographs[1][:8, :8])


@pytest.mark.parametrize("content", [b"", b"not an array", None])
def test_a_damaged_or_missing_array_is_named(tmp_path, content):
    path = tmp_path / "images.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"images\.npy"):
        load_pixels(path)


def test_a_truncated_array_and_a_wrong_one_are_refused(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8, 1), np.uint8))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="made again"):
        load_pixels(path)
    np.save(path, np.zeros((4, 8, 8), np.float32))
    with pytest.raises(UserError, match="expected uint8 images"):
        load_pixels(path)
