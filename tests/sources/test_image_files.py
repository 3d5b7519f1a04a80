import zipfile

import numpy as np
import pytest
from drawn import encoded, lay_out, noise, packed
from PIL import Image
from torchvision import transforms

from sadpm.running.files import UserError
from sadpm.sources import open_source
from sadpm.sources.images import Images
from sadpm.sources.reading.image_files import classes


def opened(path, size=8, mode="colour"):
    return open_source(Images(path=str(path), size=size, mode=mode))


def pixels_of(path, size=8, mode="colour"):
    return list(opened(path, size, mode).images)


class TestPixels:
    def test_images_of_the_right_size_are_not_touched(self, tmp_path):
        image = noise(8)
        lay_out(tmp_path, {"a.png": encoded(image)})
        np.testing.assert_array_equal(pixels_of(tmp_path), [image])

    @pytest.mark.parametrize(("height", "width"), [(40, 24), (24, 40), (32, 32)])
    def test_crop_and_resize_are_torchvisions_on_pillow_images(self, tmp_path, height, width):
        image = noise(height, width)
        lay_out(tmp_path, {"a.png": encoded(image)})
        torchvisions = transforms.Compose([transforms.CenterCrop(min(height, width)), transforms.Resize(8)])
        np.testing.assert_array_equal(pixels_of(tmp_path), [np.array(torchvisions(Image.fromarray(image)))])

    def test_reduction_averages_instead_of_picking_pixels(self, tmp_path):
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 255
        lay_out(tmp_path, {"a.png": encoded(stripes)})
        (pixels,) = pixels_of(tmp_path)
        assert np.ptp(pixels[:, 1:-1]) <= 2
        assert abs(int(pixels[4, 4, 0]) - 127) <= 2

    def test_an_odd_margin_is_smaller_at_the_left_and_top(self, tmp_path):
        image = noise(11, 8)
        lay_out(tmp_path, {"a.png": encoded(image), "b.png": encoded(image.swapaxes(0, 1))})
        np.testing.assert_array_equal(pixels_of(tmp_path), [image[1:9], image.swapaxes(0, 1)[:, 1:9]])

    def test_grey_images_become_colour(self, tmp_path):
        grey = noise(8, channels=0)
        lay_out(tmp_path, {"a.png": encoded(grey)})
        np.testing.assert_array_equal(pixels_of(tmp_path), [np.stack([grey] * 3, -1)])

    def test_colour_images_become_grey(self, tmp_path):
        colour, grey = noise(8), noise(8, channels=0)
        lay_out(tmp_path, {"a.png": encoded(colour), "b.png": encoded(grey)})
        stream = opened(tmp_path, mode="grey")
        assert stream.shape == (8, 8, 1)
        first, second = stream.images
        luma = colour @ np.array([0.299, 0.587, 0.114])
        assert np.abs(first[..., 0] - luma).max() <= 1
        np.testing.assert_array_equal(second[..., 0], grey)

    @pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
    def test_lossless_formats(self, tmp_path, form):
        lay_out(tmp_path, {f"a.{form.lower()}": encoded(noise(8), form)})
        np.testing.assert_array_equal(pixels_of(tmp_path), [noise(8)])

    @pytest.mark.parametrize(("name", "form"), [("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")])
    def test_formats_with_losses(self, tmp_path, name, form):
        smooth = np.broadcast_to(np.linspace(0, 250, 16).astype(np.uint8)[:, None, None], (16, 16, 3))
        lay_out(tmp_path, {name: encoded(smooth, form, quality=100)})
        (pixels,) = pixels_of(tmp_path, 16)
        assert np.abs(pixels.astype(int) - smooth).max() < 8

    def test_a_palette_is_looked_up(self, tmp_path):
        image = Image.fromarray(noise(8, channels=0) % 5, "L").convert("RGB").quantize(5)
        lay_out(tmp_path, {"a.png": encoded(image)})
        np.testing.assert_array_equal(pixels_of(tmp_path), [np.array(image.convert("RGB"))])


class TestAlpha:
    def test_an_opaque_channel_is_dropped(self, tmp_path):
        image = noise(8, channels=4)
        image[..., 3] = 255
        lay_out(tmp_path, {"a.png": encoded(image)})
        np.testing.assert_array_equal(pixels_of(tmp_path), [image[..., :3]])

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_one_transparent_pixel_is_an_error(self, tmp_path, mode):
        image = noise(8, channels=4)
        image[..., 3] = 255
        image[3, 4, 3] = 254
        content = encoded(Image.fromarray(image).convert(mode)) if mode != "P" else encoded(*with_transparent_colour())
        lay_out(tmp_path, {"a.png": encoded(noise(8)), "b.png": content})
        with pytest.raises(UserError, match=r"b\.png: has transparent pixels"):
            pixels_of(tmp_path)


def with_transparent_colour():
    palette = Image.fromarray(noise(8)).quantize(4)
    palette.info["transparency"] = 0
    return (palette,)


class TestOrderAndClasses:
    def test_order_is_that_of_the_sorted_paths(self, tmp_path):
        names = ["10.png", "2.png", "B.png", "a/1.png", "a.png"]
        lay_out(tmp_path, {name: encoded(noise(8, seed=seed)) for seed, name in enumerate(names)})
        expected = [noise(8, seed=names.index(name)) for name in sorted(names)]
        np.testing.assert_array_equal(pixels_of(tmp_path), expected)

    def test_folders_are_classes_in_sorted_order(self, tmp_path):
        lay_out(tmp_path, {f"{name}.png": encoded(noise(8)) for name in ("wild/2", "cat/9", "cat/1", "dog/x/3")})
        stream = opened(tmp_path)
        assert stream.class_names == ("cat", "dog", "wild")
        np.testing.assert_array_equal(stream.labels, [0, 0, 1, 2])
        assert stream.labels.dtype == np.int64
        assert stream.count == 4

    @pytest.mark.parametrize(
        "names",
        [
            ["1.png", "2.png"],
            ["faces/1.png", "faces/2.png"],
            ["cat/1.png", "2.png"],
            ["00000/img00000000.png", "00001/img00001000.png"],
            ["a/1.png", "a/b/2.png"],
        ],
        ids=["flat", "one folder", "beside a folder", "numbered blocks", "beside a nested folder"],
    )
    def test_otherwise_there_are_no_classes(self, names):
        assert classes(sorted(names)) == (None, ())

    def test_folders_that_all_share_are_not_classes(self):
        labels, names = classes(["afhq/train/cat/1.png", "afhq/train/cat/2.png", "afhq/train/dog/1.png"])
        assert names == ("cat", "dog")
        np.testing.assert_array_equal(labels, [0, 0, 1])

    def test_companions_of_images_are_ignored(self, tmp_path):
        image = encoded(noise(8))
        junk = [".DS_Store", "__MACOSX/a.png", "Thumbs.db", "LICENSE.txt", ".cache/b.png", "dataset.json", "._a.png"]
        lay_out(tmp_path, {"a.png": image, **dict.fromkeys(junk, b"junk")})
        assert opened(tmp_path).count == 1
        assert opened(packed(tmp_path / "a.zip", {"a.png": image, **dict.fromkeys(junk, b"junk")})).count == 1


class TestZip:
    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_an_archive_is_read_as_its_folder(self, tmp_path, compression):
        files = {f"{kind}/{seed}.png": encoded(noise(8, seed=seed)) for seed, kind in enumerate(["dog", "cat", "dog"])}
        folder, archive = lay_out(tmp_path / "x", files), packed(tmp_path / "x.zip", files, compression)
        before = sorted(tmp_path.rglob("*"))
        np.testing.assert_array_equal(pixels_of(archive), pixels_of(folder))
        np.testing.assert_array_equal(opened(archive).labels, [0, 1, 1])
        assert opened(archive).class_names == ("cat", "dog")
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_folder_inside(self, tmp_path):
        files = {f"afhq/{name}.png": encoded(noise(8)) for name in ("train/cat/1", "train/dog/2", "test/cat/3")}
        archive = packed(tmp_path / "x.zip", files)
        stream = opened(archive / "afhq" / "train")
        assert (stream.count, stream.class_names) == (2, ("cat", "dog"))
        assert opened(archive).class_names == ("test", "train")
        with pytest.raises(UserError, match=r"x\.zip/afhq/val: no images"):
            opened(archive / "afhq" / "val")

    def test_a_truncated_archive_is_named(self, tmp_path):
        archive = packed(tmp_path / "x.zip", {"a.png": encoded(noise(8))})
        archive.write_bytes(archive.read_bytes()[:-30])
        with pytest.raises(UserError, match=r"x\.zip: damaged zip archive \(.*; fetch it again"):
            opened(archive)

    def test_a_damaged_member_is_named(self, tmp_path):
        archive = packed(tmp_path / "x.zip", {"a.png": encoded(noise(8)), "b.png": encoded(noise(8))})
        content = bytearray(archive.read_bytes())
        content[content.index(b"b.png") + 40] ^= 1
        archive.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.zip/b\.png: can't be unpacked"):
            pixels_of(archive)


class TestErrors:
    @pytest.mark.parametrize("form", ["PNG", "JPEG"])
    def test_a_truncated_image_is_named(self, tmp_path, form):
        name = f"b.{form.lower()}"
        content = encoded(noise(32), form)
        lay_out(tmp_path, {"a.png": encoded(noise(8)), name: content[: len(content) // 2]})
        with pytest.raises(UserError, match=rf"{name}: damaged image"):
            pixels_of(tmp_path)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"no image", "; replace or remove it"),
            (b"", ", but an empty file; fetch it again, or remove it"),
            (b"<html>not found</html>", ", but a web page; the download was refused; fetch it again .*"),
            (b"\0\0\0\x18ftypheic", ", but an HEIC image; convert it to PNG or JPEG"),
        ],
        ids=["bytes", "empty", "web page", "HEIC"],
    )
    def test_a_file_that_is_no_image_is_named(self, tmp_path, content, what):
        lay_out(tmp_path, {"a.png": content})
        with pytest.raises(UserError, match=rf"a\.png: not an image that Pillow can read{what}$"):
            pixels_of(tmp_path)

    def test_another_kind_of_file_is_named(self, tmp_path):
        lay_out(tmp_path, {"a.png": encoded(noise(8)), "cat/b.heic": b""})
        with pytest.raises(UserError, match=r"cat/b\.heic is not an image by its name"):
            opened(tmp_path)

    @pytest.mark.parametrize(("height", "width"), [(7, 20), (20, 7)])
    def test_nothing_is_enlarged(self, tmp_path, height, width):
        lay_out(tmp_path, {"a.png": encoded(noise(height, width))})
        with pytest.raises(UserError, match=rf"a\.png: {width}x{height} is smaller than size 8"):
            pixels_of(tmp_path)

    def test_sixteen_bits_are_not_clipped(self, tmp_path):
        lay_out(tmp_path, {"a.png": encoded(noise(8, channels=0).astype(np.uint16) * 257)})
        with pytest.raises(UserError, match=r"a\.png: pixels of type 'I;16'; convert it to grey or RGB of 8 bits"):
            pixels_of(tmp_path)

    def test_empty_and_missing_places_are_named(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="empty: no images in it"):
            opened(tmp_path / "empty")
        with pytest.raises(UserError, match=r"empty\.zip: no images in it"):
            opened(packed(tmp_path / "empty.zip", {"a.txt": b""}))
        with pytest.raises(UserError, match=r"nothing: no such folder, zip archive or LMDB"):
            opened(tmp_path / "nothing")

    def test_a_file_that_vanishes_or_is_closed_is_named(self, tmp_path):
        lay_out(tmp_path, {"a.png": encoded(noise(8))})
        stream = opened(tmp_path)
        (tmp_path / "a.png").unlink()
        with pytest.raises(UserError, match=r"a\.png: can't be read \(No such file"):
            next(stream.images)
