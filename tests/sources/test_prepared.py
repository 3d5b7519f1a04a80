import numpy as np
import pytest

from sadpm.running.files import UserError
from sadpm.sources.reading.prepared import load_labels, load_pixels


@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x01\x00(", None])
def test_a_damaged_or_missing_array_is_named(tmp_path, content):
    path = tmp_path / "array.npy"
    if content is not None:
        path.write_bytes(content)
    for load in (load_pixels, lambda path: load_labels(path, 1)):
        with pytest.raises(UserError, match=r"array\.npy: not a readable \.npy file"):
            load(path)


@pytest.mark.parametrize(
    "labels",
    [np.arange(3), np.zeros(0, np.int64), np.array([0, 1, 2, -1]), np.zeros(4), np.zeros((4, 1), np.int64)],
    ids=["too few", "none", "negative", "float", "two axes"],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels):
    path = tmp_path / "labels.npy"
    np.save(path, labels)
    with pytest.raises(UserError, match=r"labels\.npy: expected a class from 0 up for each of 4 images, int64, found"):
        load_labels(path, 4)
    np.save(path, np.array([2, 0, 1, 1]))
    np.testing.assert_array_equal(load_labels(path, 4), [2, 0, 1, 1])


def test_a_truncated_array_and_a_wrong_one_are_refused(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8, 1), np.uint8))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="made again"):
        load_pixels(path)
    np.save(path, np.zeros((4, 8, 8), np.float32))
    with pytest.raises(UserError, match="expected uint8 images"):
        load_pixels(path)
