"""Images that could be read otherwise than a person sees them, or not at all."""

import struct
import zlib

import numpy as np
import pytest
from drawn import encoded, lay_out, noise
from PIL import Image, features

from sadpm.running.files import UserError
from sadpm.sources.reading.containers import Folder
from sadpm.sources.reading.pictures import decode, suffixes

TURNS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What shows the image upright, by the value of EXIF's Orientation."""


def oriented(image, orientation, form, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif, **options)


def png(width, height, bits, colour_type, rows=b""):
    """A PNG file by the bytes of its rows, each after a zero."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class TestOrientation:
    @pytest.mark.parametrize("orientation", TURNS)
    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_images_are_turned_upright(self, form, orientation):
        image = noise(6, 4)
        read = np.array(decode(oriented(image, orientation, form), "x", "colour"))
        np.testing.assert_array_equal(read, TURNS[orientation](image))

    def test_photographs_are_turned_upright(self):
        flat = Image.new("RGB", (16, 8), "white")
        flat.paste("black", (0, 0, 8, 8))
        upright = decode(oriented(flat, 6, "JPEG", quality=100), "x", "grey")
        assert upright.size == (8, 16)
        assert max(upright.crop((0, 0, 8, 7)).getextrema()) < 20
        assert min(upright.crop((0, 9, 8, 16)).getextrema()) > 235

    @pytest.mark.parametrize("form", ["JPEG", "WEBP"])
    def test_exif_data_that_cannot_be_read_say_nothing(self, form):
        content = oriented(noise(8, 4), 6, form)
        assert decode(content, "x", "colour").size == (8, 4)
        assert decode(content.replace(b"MM\0*", b"XX\0*"), "x", "colour").size == (4, 8)


class TestSeveralImages:
    @pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_animations_and_pages_are_refused(self, form):
        frames = [Image.fromarray(noise(8, seed=seed)) for seed in range(2)]
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        with pytest.raises(UserError, match="x: several images"):
            decode(content, "x", "colour")
        assert decode(encoded(frames[0], form), "x", "colour").size == (8, 8)

    def test_of_a_photograph_with_previews_the_first_is_taken(self):
        preview = Image.new("RGB", (4, 4))
        content = encoded(Image.fromarray(noise(8)), "MPO", save_all=True, append_images=[preview])
        assert decode(content, "x", "colour").size == (8, 8)


class TestColours:
    @pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4)], ids=["RGB", "RGBA"])
    def test_of_sixteen_bits_of_colour_the_upper_eight_are_read(self, colour_type, channels):
        values = np.array([[0, 255, 256, 32768, 65279, 65535]], ">u2")
        pixels = np.repeat(values[..., None], channels, -1)
        pixels[..., 3:] = 65535
        content = png(6, 1, 16, colour_type, b"\0" + pixels.tobytes())
        read = np.array(decode(content, "x", "colour"))
        np.testing.assert_array_equal(read, np.repeat(values[..., None] >> 8, 3, -1))

    @pytest.mark.parametrize(("mode", "named"), [("F", "'F'"), ("I;16", "'I;16'"), ("LAB", "'LAB'")])
    def test_pixels_of_other_types_are_refused(self, mode, named):
        with pytest.raises(UserError, match=rf"x: pixels of type {named}; convert it to grey or RGB of 8 bits"):
            decode(encoded(Image.new(mode, (8, 8)), "TIFF"), "x", "colour")

    def test_the_inverted_inks_of_a_jpeg_are_understood(self):
        red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        read = np.array(decode(encoded(red, "JPEG", quality=100), "x", "colour"))
        assert np.abs(read.astype(int) - (255, 0, 0)).max() < 8


class TestFiles:
    def test_a_huge_image_is_not_called_damaged(self):
        with pytest.raises(UserError, match=r"x: too large to be unpacked \(Image size \(189998656 .*; scale it down"):
            decode(png(13784, 13784, 8, 2), "x", "colour")

    @pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
    def test_errors_of_every_decoder_are_caught(self):
        content = encoded(noise(64), "AVIF")
        start = content.index(b"mdat") + 4
        with pytest.raises(UserError, match="x: damaged image"):
            decode(content[:start] + bytes(len(content) - start), "x", "colour")

    def test_programs_for_printers_are_not_run(self):
        with pytest.raises(UserError, match="x: not an image"):
            decode(encoded(noise(8), "EPS"), "x", "colour")

    def test_names_are_those_of_the_formats_that_are_read(self, tmp_path):
        jpeg = encoded(noise(8), "JPEG")
        names = ("a.JFIF", "b.jpe", "c.jpeg", "d.jpg")
        folder = Folder.open(lay_out(tmp_path, dict.fromkeys(names, jpeg)))
        assert folder.names == names
        assert {decode(content, place, "colour").size for place, content in folder.contents()} == {(8, 8)}
        assert {".bmp", ".gif", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"} <= suffixes()
        assert (".avif" in suffixes()) == features.check("avif")
        assert not {".heic", ".pdf", ".eps", ".npy", ".zip"} & suffixes()
