import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sadpm.config.jobs import DataJob
from sadpm.running.files import UserError, sha256
from sadpm.sources.reading.prepared import load_pixels
from sadpm.sources.reading.stream import ImageStream
from sadpm.stages import command
from sadpm.stages import prepare_data as stage
from sadpm.stages.prepare_data import prepare_data

SIZE = 64
BYTES_PER_IMAGE = SIZE * SIZE * 3


def outputs(folder):
    return {
        "images": folder / "images.npy",
        "labels": folder / "labels.npy",
        "description": folder / "dataset.json",
    }


def prepare(folder, source):
    prepare_data(DataJob(source=source), **outputs(folder))
    return load_pixels(folder / "images.npy"), json.loads((folder / "dataset.json").read_text())


def faces(folder, count, size=SIZE):
    """Image files, all with the same content, which takes no time to write."""
    folder.mkdir()
    path = folder / "00000.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)).save(path, compress_level=0)
    content = path.read_bytes()
    for number in range(1, count):
        (folder / f"{number:05d}.png").write_bytes(content)
    return {"kind": "images", "path": str(folder), "size": size}


def test_the_array_is_what_numpy_would_save(tmp_path):
    pixels, facts = prepare(tmp_path, "digits")
    np.save(tmp_path / "numpys.npy", np.array(pixels))
    assert (tmp_path / "numpys.npy").read_bytes() == (tmp_path / "images.npy").read_bytes()
    assert facts["sha256"] == sha256(tmp_path / "images.npy")
    assert facts["shape"] == [1797, 8, 8, 1] == list(pixels.shape)
    assert facts["source"] == {"kind": "digits"}
    assert facts["num_classes"] == 10
    assert facts["class_names"] == list("0123456789")
    assert np.load(tmp_path / "labels.npy").shape == (1797,)


def test_the_pixels_of_the_digits_are_written_in_order(tmp_path):
    from sklearn.datasets import load_digits

    prepare(tmp_path, "digits")
    pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[..., None]
    assert (tmp_path / "images.npy").read_bytes()[-pixels.size :] == pixels.tobytes()


def test_images_without_classes_have_an_empty_array_of_labels(tmp_path):
    pixels, facts = prepare(tmp_path, faces(tmp_path / "faces", 3))
    assert pixels.shape == (3, SIZE, SIZE, 3)
    labels = np.load(tmp_path / "labels.npy")
    assert (labels.shape, labels.dtype) == ((0,), np.int64)
    assert (facts["num_classes"], facts["class_names"]) == (0, [])
    assert "faces" in facts["description"]


def test_a_damaged_image_leaves_nothing_behind(tmp_path):
    source = faces(tmp_path / "faces", 5)
    (tmp_path / "faces" / "00004.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"00004\.png: not an image"):
        prepare(tmp_path / "out", source)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_image_does_not_touch_an_earlier_result(tmp_path):
    prepare(tmp_path / "out", faces(tmp_path / "faces", 3))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "faces" / "00002.png").write_bytes(b"no image")
    with pytest.raises(UserError):
        prepare(tmp_path / "out", {"kind": "images", "path": str(tmp_path / "faces"), "size": SIZE})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_one_image_is_too_few(tmp_path):
    with pytest.raises(UserError, match=r"images of .*faces: .*: only 1 image; the covariance .* needs 2 or more"):
        prepare(tmp_path / "out", faces(tmp_path / "faces", 1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", [{"kind": "images", "size": 8}, {"kind": "array"}])
def test_a_path_that_the_system_refuses_is_named(tmp_path, source):
    with pytest.raises(UserError, match=r"xxx(/data\.mdb)?: (can't be read|no such folder)"):
        prepare(tmp_path, {**source, "path": str(tmp_path / ("x" * 300))})


def test_the_command_ends_with_one_line(tmp_path, capsys):
    source = {"kind": "images", "path": str(tmp_path / "nothing"), "size": 8}
    options = [text for name, path in outputs(tmp_path).items() for text in (f"--{name}", str(path))]
    with pytest.raises(SystemExit) as ended:
        command(prepare_data, ["--params", DataJob(source=source).model_dump_json(), *options])
    assert re.fullmatch(r"prepare_data: .*nothing: no such folder.*", ended.value.code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((4, 4, 3), np.uint8)], "announced 2 images and gave 1"),
        ([np.zeros((4, 4, 3), np.uint8)] * 3, "announced 2 images and gave 3"),
        ([np.zeros((4, 4, 1), np.uint8)] * 2, r"image 0 is uint8 \(4, 4, 1\)"),
        ([np.zeros((4, 4, 3))] * 2, "image 0 is float64"),
    ],
)
def test_a_source_that_breaks_its_word_is_noticed(tmp_path, monkeypatch, images, message):
    stream = ImageStream(2, (4, 4, 3), iter(images), None, (), "")
    monkeypatch.setattr(stage, "open_source", lambda _: stream)
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, "digits")
    assert list(tmp_path.iterdir()) == []


def peak_memory(folder, source):
    """Prepare in a process of its own: the largest part of it that was in memory, in bytes.

    VmHWM belongs to the program. ru_maxrss would be at least as large as the process that started it.
    """
    program = (
        "import sys; from pathlib import Path; from sadpm.config.jobs import DataJob;"
        "from sadpm.stages.prepare_data import prepare_data; folder = Path(sys.argv[1]);"
        "prepare_data(DataJob.model_validate_json(sys.argv[2]), folder / 'i.npy', folder / 'l.npy', folder / 'd.json');"
        "assert 'torch' not in sys.modules; print(Path('/proc/self/status').read_text())"
    )
    arguments = [sys.executable, "-c", program, folder, DataJob(source=source).model_dump_json()]
    status = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    few = peak_memory(tmp_path, faces(tmp_path / "few", 10))
    many = peak_memory(tmp_path, faces(tmp_path / "many", 10_000))
    assert (tmp_path / "i.npy").stat().st_size > 10_000 * BYTES_PER_IMAGE > 120e6
    print(f"peak memory: {few / 1e6:.1f} MB for 10 images, {many / 1e6:.1f} MB for 10,000 (122.9 MB of pixels)")
    assert many - few < 30e6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_size_of_an_array(tmp_path):
    few, many = tmp_path / "few.npy", tmp_path / "many.npy"
    np.save(few, np.zeros((10, SIZE, SIZE, 3), np.uint8))
    np.save(many, np.zeros((10_000, SIZE, SIZE, 3), np.uint8))
    peaks = [peak_memory(tmp_path, {"kind": "array", "path": str(path)}) for path in (few, many)]
    assert peaks[1] - peaks[0] < 30e6
    assert hashlib.sha256((tmp_path / "i.npy").read_bytes()).hexdigest() == sha256(many)
