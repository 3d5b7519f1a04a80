import os
import zipfile
from io import BytesIO

import numpy as np
import pytest
from drawn import noise, packed

from sadpm.running.files import UserError
from sadpm.sources import open_source
from sadpm.sources.array import Array


def opened(path, key=None):
    return open_source(Array(path=str(path), key=key))


def pixels_of(path, key=None):
    return np.stack(list(opened(path, key).images))


IMAGES = np.stack([noise(4, 6, seed=seed) for seed in range(5)])


@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., :1]], ids=["colour", "grey"])
def test_an_array_comes_back_as_it_is(tmp_path, images):
    np.save(tmp_path / "images.npy", images)
    stream = opened(tmp_path / "images.npy")
    assert (stream.count, stream.shape) == (5, images.shape[1:])
    assert stream.labels is None
    np.testing.assert_array_equal(np.stack(list(stream.images)), images)


def test_a_channel_is_added_to_grey_images(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES[..., 0])
    np.testing.assert_array_equal(pixels_of(tmp_path / "images.npy"), IMAGES[..., :1])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_array_of_an_archive_is_chosen(tmp_path, save):
    path = tmp_path / "images.npz"
    save(path, IMAGES)
    np.testing.assert_array_equal(pixels_of(path), IMAGES)
    save(path, train=IMAGES, test=IMAGES[:2])
    np.testing.assert_array_equal(pixels_of(path, "test"), IMAGES[:2])
    with pytest.raises(UserError, match=r"images\.npz: choose an array by source\.key; it holds train, test"):
        opened(path)
    with pytest.raises(UserError, match=r"images\.npz: no array 'val'; it holds train, test"):
        opened(path, "val")


def test_a_key_makes_no_sense_for_an_npy(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    with pytest.raises(UserError, match=r"images\.npy: key 'train' is for \.npz"):
        opened(tmp_path / "images.npy", "train")


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (IMAGES / 255, "float64"),
        (IMAGES.astype(np.int64), "int64"),
        (np.moveaxis(IMAGES, -1, 1).copy(), r"\(5, 3, 4, 6\)"),
        (IMAGES[0, 0], r"\(6, 3\)"),
        (IMAGES[:0], r"\(0, 4, 6, 3\)"),
        (np.array([None, "pickled"]), "object"),
    ],
    ids=["float", "int64", "channels first", "two axes", "empty", "pickled"],
)
def test_another_type_or_shape_is_refused(tmp_path, array, found):
    np.save(tmp_path / "images.npy", array)
    with pytest.raises(UserError, match=rf"images\.npy: found .*{found}.*; expected uint8 images"):
        opened(tmp_path / "images.npy")


def test_fortran_order_is_refused(tmp_path):
    np.save(tmp_path / "images.npy", np.asfortranarray(IMAGES))
    with pytest.raises(UserError, match=r"images\.npy: in Fortran order"):
        opened(tmp_path / "images.npy")


@pytest.mark.parametrize("content", [None, b"", b"no array", b"PK\x03\x04 cut off"])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "images.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"images\.npy: (can't be read \(No such file|not a readable)"):
        opened(path)


@pytest.mark.parametrize("change", [-1, 1], ids=["cut off", "with more behind it"])
def test_a_file_of_another_length_is_named_before_any_image_is_read(tmp_path, change):
    path = tmp_path / "images.npy"
    np.save(path, IMAGES)
    content = path.read_bytes() + b"x"
    path.write_bytes(content[: len(content) - 1 + change])
    with pytest.raises(UserError, match=rf"images\.npy: {360 + change} bytes of pixels, though \(5, 4, 6, 3\) are 360"):
        opened(path)


def test_a_file_that_shrinks_is_named(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, IMAGES)
    stream = opened(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"images\.npy: 359 bytes of pixels"):
        next(stream.images)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, test=IMAGES[:1], train=IMAGES)
    array = BytesIO()
    np.save(array, IMAGES[:2])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train.npy", array.getvalue())
    with pytest.raises(UserError, match=r"images\.npz: holds 2 arrays named 'train'"):
        opened(path, "train")
    assert opened(path, "test").count == 1


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("(", "not a readable"),
        ('"""', "not a readable"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 6, 3)}", r"found uint8 \(-1, 4, 6, 3\); expected"),
    ],
)
def test_a_header_that_makes_no_sense_is_named(tmp_path, header, reason):
    path = tmp_path / "images.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(UserError, match=rf"images\.npy: {reason}"):
        opened(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "an empty file"), (b"\x80\x04\x95", "a pickle, which is never opened"), (b"<html>", "a web page")],
)
def test_another_kind_of_file_is_called_what_it_is(tmp_path, content, what):
    path = tmp_path / "images.npy"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"images\.npy: not a readable \.npy or \.npz file \(.*\), but {what};"):
        opened(path)


def test_what_is_no_archive_of_arrays_is_named(tmp_path):
    path = packed(tmp_path / "images.zip", {"a.png": b"", "b.png": b""})
    with pytest.raises(UserError, match=r"images\.zip: choose .*; it holds no arrays \(image files: kind: images\)"):
        opened(path)
    os.mkfifo(tmp_path / "images.npy")
    for place in (tmp_path / "images.npy", tmp_path):
        with pytest.raises(UserError, match=f"{place}: not a file"):
            opened(place)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("where", ["pixels", "checksum"])
def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path, save, where):
    path = tmp_path / "images.npz"
    save(path, IMAGES)
    content = bytearray(path.read_bytes())
    content[300 if where == "pixels" else content.index(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(content)
    assert zipfile.is_zipfile(path)
    with pytest.raises(UserError, match=r"images\.npz: can't be read \("):
        pixels_of(path)
