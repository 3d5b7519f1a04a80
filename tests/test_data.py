import numpy as np
import pytest

from sadpm.artifacts import UserError
from sadpm.data import load_pixels


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
