import numpy as np
import pytest
from drawn import encoded, noise

from sadpm.running.files import UserError
from sadpm.sources import open_source
from sadpm.sources.images import Images

lmdb = pytest.importorskip("lmdb", reason="lmdb is an optional package")


def database(path, entries, subdir=True):
    with lmdb.open(str(path), map_size=1 << 26, subdir=subdir) as opened, opened.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key, value)
    return path


def opened(path, size=8):
    return open_source(Images(path=str(path), size=size))


def pixels_of(path, size=8):
    return list(opened(path, size).images)


def by_resolution(*resolutions, count=3):
    images = {
        f"{resolution}-{number:05d}".encode(): encoded(noise(resolution, seed=number))
        for resolution in resolutions
        for number in range(count)
    }
    return {**images, b"length": str(count).encode()}


@pytest.mark.parametrize("subdir", [True, False], ids=["folder", "file"])
def test_encoded_images_by_resolution_and_number(tmp_path, subdir):
    path = database(tmp_path / "faces.lmdb", by_resolution(8), subdir)
    stream = opened(path)
    assert (stream.count, stream.shape, stream.labels) == (3, (8, 8, 3), None)
    np.testing.assert_array_equal(list(stream.images), [noise(8, seed=number) for number in range(3)])


@pytest.mark.parametrize(("size", "chosen"), [(8, 8), (9, 16), (16, 16), (32, 32)])
def test_the_smallest_sufficient_resolution_is_taken(tmp_path, size, chosen):
    path = database(tmp_path / "faces", by_resolution(8, 16, 32))
    pixels = pixels_of(path, size)
    assert len(pixels) == 3
    assert pixels[0].shape == (size, size, 3)
    if size == chosen:
        np.testing.assert_array_equal(pixels[1], noise(size, seed=1))


def test_too_small_a_database_is_named(tmp_path):
    path = database(tmp_path / "faces", by_resolution(8, 16))
    with pytest.raises(UserError, match="faces: its largest images are 16 wide, smaller than size 64"):
        opened(path, 64)


def test_bare_pixels_under_numbers(tmp_path):
    images = [noise(8, seed=number) for number in range(12)]
    path = database(tmp_path / "train.lmdb", {str(n).encode(): image.tobytes() for n, image in enumerate(images)})
    order = sorted(range(12), key=str)
    np.testing.assert_array_equal(pixels_of(path), [images[number] for number in order])


def test_encoded_images_under_numbers(tmp_path):
    images = [noise(8, seed=number) for number in range(3)]
    entries = {str(number).encode(): encoded(image) for number, image in enumerate(images)}
    np.testing.assert_array_equal(pixels_of(database(tmp_path / "equally long", entries)), images)
    entries[b"3"] = encoded(noise(16))
    np.testing.assert_array_equal(pixels_of(database(tmp_path / "different", entries))[:3], images)


def test_an_encoded_image_as_long_as_bare_pixels_is_read_as_what_it_is(tmp_path):
    content = encoded(noise(8))
    content += bytes(3 * 12**2 - len(content))
    np.testing.assert_array_equal(pixels_of(database(tmp_path / "x", {b"0": content, b"1": content})), [noise(8)] * 2)


def test_folders_in_keys_are_classes(tmp_path):
    entries = {b"dog/1.png": encoded(noise(8)), b"cat/1.png": encoded(noise(8)), b"__len__": b"2"}
    stream = opened(database(tmp_path / "x", entries))
    assert stream.class_names == ("cat", "dog")
    np.testing.assert_array_equal(stream.labels, [0, 1])


def test_a_database_under_another_name_is_called_what_it_is(tmp_path):
    with pytest.raises(UserError, match=r"faces: not a folder, .*, but an LMDB; give it the suffix \.lmdb"):
        opened(database(tmp_path / "faces", by_resolution(8), subdir=False))


def test_an_entry_that_vanishes_is_named(tmp_path):
    path = database(tmp_path / "x", {b"a": encoded(noise(8))})
    stream = opened(path)
    with lmdb.open(str(path)) as changed, changed.begin(write=True) as transaction:
        transaction.delete(b"a")
    with pytest.raises(UserError, match=r"x: entry a: not an image .* an empty file"):
        next(stream.images)


def test_other_keys_and_their_order(tmp_path):
    entries = {b"b": encoded(noise(8, seed=1)), b"a": encoded(noise(8, seed=0)), b"__len__": b"\x80"}
    entries |= {b"__keys__": b"x", b"length-8": b"2", b"num-samples": b"2"}
    path = database(tmp_path / "x", entries)
    np.testing.assert_array_equal(pixels_of(path), [noise(8, seed=0), noise(8, seed=1)])


def test_an_incomplete_database_is_named(tmp_path):
    path = database(tmp_path / "x", {**by_resolution(8), b"length": b"4"})
    with pytest.raises(UserError, match="x: 3 images, but its entry 'length' says 4"):
        opened(path)


def test_entries_that_are_no_images_are_named(tmp_path):
    with pytest.raises(UserError, match="x: entry 8-00001: damaged image"):
        pixels_of(database(tmp_path / "x", {**by_resolution(8), b"8-00001": encoded(noise(8))[:100]}))
    with pytest.raises(UserError, match=r"y: entry b'labels' is not named as the others"):
        opened(database(tmp_path / "y", {**by_resolution(8), b"labels": b"0"}))
    with pytest.raises(UserError, match="z: entry meta: not an image"):
        pixels_of(database(tmp_path / "z", {b"a": encoded(noise(8)), b"meta": b"0"}))
    with pytest.raises(UserError, match="w: no images in it"):
        opened(database(tmp_path / "w", {b"length": b"0"}))


def test_a_truncated_or_foreign_file_is_named_instead_of_killing_the_process(tmp_path):
    path = database(tmp_path / "x", by_resolution(64, count=30)) / "data.mdb"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"data\.mdb: truncated"):
        opened(tmp_path / "x", 64)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="x: not a readable LMDB"):
        opened(tmp_path / "x", 64)


def test_without_the_package_a_message_says_what_to_install(tmp_path, monkeypatch):
    path = database(tmp_path / "x", by_resolution(8))
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(UserError, match="pip install lmdb"):
        opened(path)
