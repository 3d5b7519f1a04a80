"""Folders with links and other things in them, archives that other programs made, and files that are neither."""

import os
import re
import socket
import tarfile
import zipfile
from contextlib import closing

import pytest
from drawn import encoded, lay_out, noise, packed

from sadpm.running.files import UserError
from sadpm.sources.reading.containers import Folder, ZipArchive
from sadpm.sources.reading.image_files import classes, open_container

IMAGE, OTHER = encoded(noise(8, seed=0)), encoded(noise(8, seed=1))
FLAGS, METHOD = (6, 8), (8, 10)
"""Where encryption and compression stand: after the signature of a member, and of its entry in the directory."""


def patched(archive, offsets, value):
    """Write a byte into both headers of the only member."""
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x03\x04") + offsets[0]] = value
    content[content.index(b"PK\x01\x02") + offsets[1]] = value
    archive.write_bytes(content)
    return archive


class TestLinks:
    @pytest.mark.parametrize(
        "links",
        [{"up": ".."}, {"cat/up": ".."}, {"a": "..", "b": ".."}, {"cat/a": ".", "cat/b": "../.."}, {"top": "/"}],
        ids=["parent", "itself", "two", "two below", "root of the file system"],
    )
    def test_a_link_back_is_named(self, tmp_path, links):
        folder = lay_out(tmp_path / "faces", {"cat/1.png": IMAGE, "dog/1.png": IMAGE})
        for link, target in links.items():
            (folder / link).symlink_to(target)
        named = "|".join(re.escape(str(folder / link)) for link in links)
        with pytest.raises(UserError, match=rf"^({named}): a link back to .*, which holds it; remove the link$"):
            Folder.open(folder)

    def test_folders_that_lead_to_each_other_are_named(self, tmp_path):
        lay_out(tmp_path, {"cat/1.png": IMAGE, "dog/1.png": IMAGE})
        (tmp_path / "cat" / "dogs").symlink_to("../dog")
        (tmp_path / "dog" / "cats").symlink_to("../cat")
        with pytest.raises(UserError, match=r"cat/dogs/cats: a link back to .*cat|dog/cats/dogs: a link back to .*dog"):
            Folder.open(tmp_path)

    def test_links_to_other_folders_and_files_are_followed(self, tmp_path):
        lay_out(tmp_path, {"store/x/1.png": IMAGE, "store/y.png": IMAGE, "faces/dog/1.png": IMAGE})
        for link, target in {"cat": "../store/x", "wild": "../store/x", "dog/2.png": "../../store/y.png"}.items():
            (tmp_path / "faces" / link).symlink_to(target)
        (tmp_path / "link").symlink_to("faces")
        names = ("cat/1.png", "dog/1.png", "dog/2.png", "wild/1.png")
        for path in (tmp_path / "faces", tmp_path / "link"):
            folder = Folder.open(path)
            assert folder.names == names
            assert [content for _, content in folder.contents()] == [IMAGE] * 4

    @pytest.mark.parametrize(
        ("target", "fault"),
        [("gone.png", "a link to nothing; remove it"), ("b.png", r"can't be read \(Too many levels")],
        ids=["broken", "to itself"],
    )
    def test_a_link_to_nothing_is_named_before_any_image_is_read(self, tmp_path, target, fault):
        lay_out(tmp_path, {"a.png": IMAGE})
        (tmp_path / "b.png").symlink_to(target)
        with pytest.raises(UserError, match=rf"b\.png: {fault}"):
            Folder.open(tmp_path)

    def test_a_pipe_or_socket_is_named_and_not_waited_for(self, tmp_path, monkeypatch):
        lay_out(tmp_path, {"x/a.png": IMAGE, "y/a.png": IMAGE})
        os.mkfifo(tmp_path / "x" / "b.png")
        monkeypatch.chdir(tmp_path / "y")  # a socket's path must be short
        with closing(socket.socket(socket.AF_UNIX)) as listening:
            listening.bind("b.png")
        for folder in (tmp_path / "x", tmp_path / "y"):
            with pytest.raises(UserError, match=r"b\.png: neither a file nor a folder"):
                Folder.open(folder)
        with pytest.raises(UserError, match=r"x/b\.png: no such folder, zip archive or LMDB"):
            open_container(tmp_path / "x" / "b.png", 8)

    def test_what_is_ignored_is_not_looked_into(self, tmp_path):
        lay_out(tmp_path, {"a.png": IMAGE, ".cache/b.png": IMAGE})
        (tmp_path / ".cache" / "up").symlink_to("..")
        (tmp_path / ".broken").symlink_to("gone")
        assert Folder.open(tmp_path).names == ("a.png",)


@pytest.mark.parametrize(
    "name", ["THUMBS.DB", "ehthumbs.db", "Desktop.ini", "@eaDir/a.png/SMALL.jpg", "$RECYCLE.BIN/a.png"]
)
def test_what_other_systems_leave_is_ignored_in_any_case(tmp_path, name):
    assert Folder.open(lay_out(tmp_path, {"a.png": IMAGE, name: b"junk"})).names == ("a.png",)
    assert ZipArchive.open(packed(tmp_path / "x.zip", {"a.png": IMAGE, name: b"junk"})).names == ("a.png",)


class TestZip:
    def test_backslashes_separate_folders(self, tmp_path):
        files = {"afhq\\cat\\": b"", "afhq\\cat\\2.png": IMAGE, "afhq\\dog\\1.png": OTHER, "afhq\\Thumbs.db": b""}
        container = ZipArchive.open(packed(tmp_path / "x.zip", files))
        assert container.names == ("afhq/cat/2.png", "afhq/dog/1.png")
        assert classes(container.names)[1] == ("cat", "dog")
        assert [content for _, content in container.contents()] == [IMAGE, OTHER]
        assert open_container(tmp_path / "x.zip" / "afhq" / "dog", 8).names == ("afhq/dog/1.png",)

    @pytest.mark.parametrize("second", ["cat/a.png", "cat\\a.png"])
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_two_images_of_one_name_are_refused(self, tmp_path, second):
        archive = packed(tmp_path / "x.zip", [("cat/a.png", IMAGE), (second, OTHER), ("a.txt", b""), ("a.txt", b"")])
        with pytest.raises(UserError, match=r"x\.zip: holds two images named cat/a\.png; make it again"):
            ZipArchive.open(archive)

    def test_names_that_differ_in_case_are_two_images(self, tmp_path):
        container = ZipArchive.open(packed(tmp_path / "x.zip", {"a.png": IMAGE, "A.png": OTHER}))
        assert dict(container.contents()) == {f"{tmp_path}/x.zip/A.png": OTHER, f"{tmp_path}/x.zip/a.png": IMAGE}

    @pytest.mark.parametrize(
        ("offsets", "value", "reason"),
        [(FLAGS, 1, "encrypted"), (METHOD, 9, "compression method is not supported")],
        ids=["encrypted", "deflate64"],
    )
    def test_what_only_other_programs_unpack_is_said_at_once(self, tmp_path, offsets, value, reason):
        archive = patched(packed(tmp_path / "x.zip", {"a.png": IMAGE}), offsets, value)
        message = rf"x\.zip/a\.png: can't be unpacked \(.*{reason}.*\); unpack it with another"
        with pytest.raises(UserError, match=message):
            ZipArchive.open(archive)

    def test_a_changed_archive_is_named(self, tmp_path):
        path = packed(tmp_path / "x.zip", {"a.png": IMAGE})
        container = ZipArchive.open(path)
        packed(path, {"b.png": IMAGE})
        with pytest.raises(UserError, match=r"x\.zip/a\.png: can't be unpacked"):
            list(container.contents())
        path.unlink()
        with pytest.raises(UserError, match=r"x\.zip: can't be read \(No such file"):
            list(container.contents())

    def test_a_name_that_is_no_text_is_named(self, tmp_path):
        archive = packed(tmp_path / "x.zip", {"\u00e4.png": IMAGE})
        archive.write_bytes(archive.read_bytes().replace("\u00e4".encode(), b"\xff\xff"))
        with pytest.raises(UserError, match=r"x\.zip: damaged zip archive"):
            ZipArchive.open(archive)

    def test_a_path_upwards_is_not_a_hidden_file(self, tmp_path):
        archive = packed(tmp_path / "x.zip", {"../a.png": IMAGE, "./b.png": IMAGE, ".c.png": b"junk"})
        assert ZipArchive.open(archive).names == ("../a.png", "./b.png")

    def test_an_archive_inside_is_named(self, tmp_path):
        with pytest.raises(UserError, match=r"x\.zip: faces\.zip is not an image by its name .* unpack"):
            ZipArchive.open(packed(tmp_path / "x.zip", {"a.png": IMAGE, "faces.zip": b""}))


class TestOtherFiles:
    @pytest.mark.parametrize("form", ["", "gz", "bz2", "xz"])
    def test_a_tar_is_told_to_be_unpacked(self, tmp_path, form):
        path = lay_out(tmp_path, {"a.png": IMAGE}) / "x.tar"
        with tarfile.open(path, f"w:{form}") as archive:
            archive.add(tmp_path / "a.png", "a.png")
        kind = {"": "a tar archive", "gz": "a gzip file", "bz2": "a bzip2 file", "xz": "an xz file"}[form]
        for named in (path, path / "train"):
            with pytest.raises(UserError, match=rf"x\.tar: not a folder, .*, but {kind}.*; unpack it, and name the"):
                open_container(named, 8)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"Rar!\x1a\x07\x01\x00", "a rar archive; unpack it"),
            (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
            (b"\x93NUMPY\x01\x00", "an .npy array; read it with kind: array"),
            (b"\x80\x04\x95", "a pickle, which is never opened; save its images"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs; fetch the file itself"),
            (b"<!DOCTYPE html>", "a web page; the download was refused"),
            (b"", "an empty file; fetch it again"),
        ],
    )
    def test_a_file_that_holds_no_images_is_called_what_it_is(self, tmp_path, content, what):
        path = lay_out(tmp_path, {"x.zip": content}) / "x.zip"
        with pytest.raises(UserError, match=rf"x\.zip: not a folder, zip archive or LMDB, but {what}"):
            open_container(path, 8)

    def test_one_image_is_no_container(self, tmp_path):
        path = lay_out(tmp_path, {"a.png": IMAGE}) / "a.png"
        with pytest.raises(UserError, match=r"a\.png: not a folder, zip archive or LMDB; correct source\.path"):
            open_container(path, 8)

    def test_the_end_of_an_archive_is_missing(self, tmp_path):
        path = packed(tmp_path / "x.zip", {"a.png": IMAGE})
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(UserError, match=r"x\.zip: damaged zip archive \(.*\); fetch it again"):
            open_container(path, 8)
        assert not zipfile.is_zipfile(path)
