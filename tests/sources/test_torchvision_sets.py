import hashlib
import pickle
import shutil
import struct
import urllib.error
import zipfile
from io import BytesIO
from typing import ClassVar

import numpy as np
import pytest
import torchvision.datasets.utils
from drawn import encoded, lay_out, noise
from torchvision.datasets import CIFAR10, CelebA

from sadpm.running.files import UserError
from sadpm.sources import open_source
from sadpm.sources.celeba import CelebA as CelebASource
from sadpm.sources.cifar10 import CIFAR10 as CIFAR10Source

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in the files of CIFAR-10."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python2_string(self, text):
        self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)

    dispatch[bytes] = save_python2_string


def pickled(content):
    file = BytesIO()
    Python2Pickler(file, protocol=2).dump({key.encode(): value for key, value in content.items()})
    return file.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


def cifar_pixels(batch):
    return np.stack([noise(32, seed=10 * batch + index) for index in range(3)])


def cifar_batch(batch):
    planes = np.moveaxis(cifar_pixels(batch), -1, 1).reshape(3, 3072)
    return pickled({"batch_label": b"a batch", "labels": [batch, 9, 0], "data": planes, "filenames": [b"x.png"] * 3})


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """A folder as torchvision unpacks it, with three images in each file, of which torchvision knows the checksums."""
    names = [*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]
    files = {name: cifar_batch(batch) for batch, name in enumerate(names, 1)}
    files["batches.meta"] = pickled({"num_cases_per_batch": 3, "label_names": [name.encode() for name in CLASSES]})
    lay_out(tmp_path / "cifar-10-batches-py", files)
    checksums = [[name, md5(files[name])] for name in names]
    monkeypatch.setattr(CIFAR10, "train_list", checksums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", checksums[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(files["batches.meta"])})
    return tmp_path


def cifar(root, download=False):
    return open_source(CIFAR10Source(root=str(root), download=download))


class TestCIFAR10:
    @pytest.mark.parametrize("download", [False, True])
    def test_the_training_images_come_in_the_order_of_the_batches(self, cifar_root, download):
        stream = cifar(cifar_root, download)
        assert (stream.count, stream.shape) == (15, (32, 32, 3))
        expected = np.concatenate([cifar_pixels(batch) for batch in range(1, 6)])
        np.testing.assert_array_equal(np.stack(list(stream.images)), expected)
        np.testing.assert_array_equal(stream.labels, [x for batch in range(1, 6) for x in (batch, 9, 0)])
        assert stream.labels.dtype == np.int64
        assert list(stream.class_names) == CLASSES

    def test_the_test_images_are_held_out(self, cifar_root):
        stream = open_source(CIFAR10Source(root=str(cifar_root), download=False).held_out())
        np.testing.assert_array_equal(np.stack(list(stream.images)), cifar_pixels(6))
        np.testing.assert_array_equal(stream.labels, [6, 9, 0])
        assert stream.description == "CIFAR-10, test images, 32x32, colour"
        assert cifar(cifar_root).description == "CIFAR-10, training images, 32x32, colour"

    @pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
    def test_a_damaged_file_is_named(self, cifar_root, name):
        path = cifar_root / "cifar-10-batches-py" / name
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(UserError, match=rf"cifar-10-batches-py/{name}: damaged, its checksum"):
            cifar(cifar_root)

    def test_a_missing_file_is_named_with_what_to_do(self, cifar_root):
        (cifar_root / "cifar-10-batches-py" / "data_batch_2").unlink()
        with pytest.raises(UserError, match=r"data_batch_2: missing; .*cifar-10-python\.tar\.gz .*download: true"):
            cifar(cifar_root)

    def test_a_failed_download_says_what_to_do(self, cifar_root, monkeypatch):
        def unreachable(*_, **__):
            raise urllib.error.URLError("Name or service\nnot known")

        monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
        shutil.rmtree(cifar_root / "cifar-10-batches-py")
        with pytest.raises(UserError, match=r"data_batch_1: missing; can't be downloaded .*not known.*download: false"):
            cifar(cifar_root, download=True)

    def test_a_foreign_pickle_is_never_opened(self, cifar_root):
        bomb = b"cbuiltins\nexit\n(S'opened'\ntR."
        (cifar_root / "cifar-10-batches-py" / "data_batch_1").write_bytes(bomb)
        with pytest.raises(UserError, match="data_batch_1: damaged"):
            cifar(cifar_root)


def face(seed):
    """A black aligned image whose crop is bright blocks: one row or column beside the crop would be seen."""
    image = np.zeros((218, 178, 3), np.uint8)
    image[121 - 64 : 121 + 64, 89 - 64 : 89 + 64] = crop(seed)
    return image


def crop(seed):
    return np.repeat(np.repeat(noise(8, seed=seed) // 2 + 128, 16, 0), 16, 1)


SPLITS = [0, 0, 1, 2, 0]


@pytest.fixture
def celeba_root(tmp_path, monkeypatch):
    """CelebA as torchvision lays it out, five images; torchvision knows the checksums."""
    names = [f"{number:06d}.jpg" for number in range(1, 6)]
    jpegs = {name: encoded(face(seed), "JPEG", quality=100, subsampling=0) for seed, name in enumerate(names)}
    texts = {
        "list_eval_partition.txt": "".join(f"{name} {split}\n" for name, split in zip(names, SPLITS, strict=True)),
        "identity_CelebA.txt": "".join(f"{name} 7\n" for name in names),
        "list_attr_celeba.txt": "5\nYoung Male\n" + "".join(f"{name} -1  1\n" for name in names),
        "list_bbox_celeba.txt": "5\nimage_id x_1 y_1 width height\n" + "".join(f"{name} 1 2 3 4\n" for name in names),
        "list_landmarks_align_celeba.txt": "5\nlefteye_x lefteye_y\n" + "".join(f"{name} 69 109\n" for name in names),
    }
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in jpegs.items():
            file.writestr(f"img_align_celeba/{name}", content)
    files = {name: text.encode() for name, text in texts.items()} | {"img_align_celeba.zip": archive.getvalue()}
    lay_out(tmp_path / "celeba", files | {f"img_align_celeba/{name}": content for name, content in jpegs.items()})
    known = [(f"id of {name}", md5(content), name) for name, content in files.items()]
    monkeypatch.setattr(CelebA, "file_list", known)
    return tmp_path


def faces(root, **options):
    return open_source(CelebASource(root=str(root), **{"download": False, **options}))


class TestCelebA:
    def test_the_layout_is_torchvisions(self, celeba_root):
        assert CelebA(str(celeba_root), split="train").filename == ["000001.jpg", "000002.jpg", "000005.jpg"]

    @pytest.mark.parametrize(("split", "seeds"), [("train", [0, 1, 4]), ("train+val", [0, 1, 2, 4]), ("test", [3])])
    @pytest.mark.parametrize("form", ["folder", "zip"])
    def test_the_crop_is_centred_at_89_121(self, celeba_root, split, seeds, form):
        if form == "zip":
            shutil.rmtree(celeba_root / "celeba" / "img_align_celeba")
        stream = faces(celeba_root, split=split, size=128)
        assert (stream.count, stream.shape, stream.labels) == (len(seeds), (128, 128, 3), None)
        for pixels, seed in zip(stream.images, seeds, strict=True):
            assert np.abs(pixels.astype(int) - crop(seed)).max() <= 8

    def test_the_test_split_is_held_out(self):
        assert CelebASource(split="train+val", size=32).held_out() == CelebASource(split="test", size=32)
        assert [CelebASource(split="test").held_out(), CIFAR10Source(split="test").held_out()] == [None, None]

    def test_the_crop_is_halved_with_antialiasing(self, celeba_root):
        large = next(faces(celeba_root, size=128).images).astype(float)
        small = next(faces(celeba_root).images)
        assert small.shape == (64, 64, 3)
        # Weights of the triangle filter of twice the width at the four nearest pixels.
        weights = np.array([1, 3, 3, 1]) / 8
        expected = sum(
            wy * wx * large[15 + dy : 111 + dy : 2, 15 + dx : 111 + dx : 2]
            for dy, wy in enumerate(weights)
            for dx, wx in enumerate(weights)
        )
        assert np.abs(small[8:56, 8:56] - expected).max() <= 1.5

    def test_larger_than_the_crop_is_refused(self, celeba_root):
        with pytest.raises(UserError, match="129 is larger than CelebA's crop"):
            faces(celeba_root, size=129)

    def test_files_without_a_use_need_not_be_there(self, celeba_root):
        for name in ("identity_CelebA.txt", "list_attr_celeba.txt", "img_align_celeba.zip"):
            (celeba_root / "celeba" / name).unlink()
        assert faces(celeba_root, download=True).count == 3

    def test_a_damaged_list_is_named(self, celeba_root):
        with (celeba_root / "celeba" / "list_eval_partition.txt").open("a") as file:
            file.write("000006.jpg 0\n")
        with pytest.raises(UserError, match=r"celeba/list_eval_partition\.txt: damaged, its checksum .*download: true"):
            faces(celeba_root)

    def test_a_damaged_archive_is_named(self, celeba_root):
        shutil.rmtree(celeba_root / "celeba" / "img_align_celeba")
        (celeba_root / "celeba" / "img_align_celeba.zip").write_bytes(b"cut off")
        with pytest.raises(UserError, match=r"img_align_celeba\.zip: damaged"):
            faces(celeba_root)

    def test_a_missing_image_is_named_before_any_is_read(self, celeba_root):
        (celeba_root / "celeba" / "img_align_celeba" / "000005.jpg").unlink()
        with pytest.raises(UserError, match=r"img_align_celeba/000005\.jpg: missing"):
            faces(celeba_root)

    @pytest.mark.parametrize(
        ("content", "message"),
        [(encoded(noise(178, 218), "JPEG"), "218x178; expected"), (encoded(face(0), "JPEG")[:900], "damaged image")],
    )
    def test_a_wrong_image_is_named(self, celeba_root, content, message):
        (celeba_root / "celeba" / "img_align_celeba" / "000002.jpg").write_bytes(content)
        with pytest.raises(UserError, match=rf"000002\.jpg: {message}"):
            list(faces(celeba_root).images)

    def test_what_is_missing_is_downloaded_and_nothing_more(self, celeba_root, tmp_path_factory, monkeypatch):
        fetched = []

        def fetch(file_id, root, filename, md5):
            fetched.append(file_id)
            lay_out(other, {f"celeba/{filename}": (celeba_root / "celeba" / filename).read_bytes()})

        other = tmp_path_factory.mktemp("other")
        monkeypatch.setattr(torchvision.datasets.utils, "download_file_from_google_drive", fetch)
        assert faces(other, download=True).count == 3
        assert sorted(fetched) == ["id of img_align_celeba.zip", "id of list_eval_partition.txt"]
        assert faces(other, download=True).count == 3
        assert len(fetched) == 2

    def test_a_failed_download_says_what_to_do(self, tmp_path, monkeypatch):
        def refused(*_):
            raise RuntimeError("Cannot retrieve the public link.\n\tToo many users")

        monkeypatch.setattr(torchvision.datasets.utils, "download_file_from_google_drive", refused)
        with pytest.raises(UserError) as raised:
            faces(tmp_path, download=True)
        message = str(raised.value)
        assert (
            "celeba/img_align_celeba.zip: missing; can't be downloaded (Cannot retrieve the public link. Too" in message
        )
        assert "download: false" in message
        assert "\n" not in message
