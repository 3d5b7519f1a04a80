import json
import re

import numpy as np
import pytest
from test_grid import VALUES

from sadpm.config.loading import load_config
from sadpm.config.named_files import NamedFile, named_files, source_problems


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/weights.pth").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "kind", "problem"),
    [
        ("folder/weights.pth", "file", ""),
        ("folder", "folder", ""),
        ("folder", "file or folder", ""),
        ("folder/weights.pth", "file or folder", ""),
        ("folder/weights.pth/inside", "file or folder", ""),
        ("folder/weights.pth/inside", "file", "key: there is no file folder/weights.pth/inside"),
        ("folder/weight.pth", "file", "key: there is no file folder/weight.pth; did you mean 'folder/weights.pth'?"),
        ("foldr/a/b", "file", "key: there is no file foldr/a/b; did you mean 'folder'?"),
        ("zzz/b", "folder", "key: there is no folder zzz/b (seen from {here})"),
        ("folder", "file", "key: folder must be a file"),
        ("folder/weights.pth", "folder", "key: folder/weights.pth must be a folder"),
        ("x" * 5000, "file", "key: there is no file x"),
    ],
)
def test_what_is_not_there_is_told_with_what_could_be_meant(here, path, kind, problem):
    told = NamedFile("key", path, kind).problem()
    assert told.startswith(problem.format(here=here))
    assert bool(told) == bool(problem)


def test_every_path_of_a_configuration_is_looked_for():
    alone = {
        **VALUES["datasets"]["patches"],
        "extractor": {"kind": "inception", "fid_weights": "f.pth", "is_weights": "i.pth"},
        "reference": "r.npz",
    }
    other = alone | {"extractor": {"kind": "dinov2", "weights": "d.safetensors"}, "reference": None}
    forms = {"a": "auto", "b": "diffusers", "c": "bao"}
    values = VALUES | {
        "datasets": {"alone": alone, "other": other},
        "tables": {},
        "claims": {},
        "published": "p.csv",
        "plan": {"throughput": "t.json"},
    }
    values["models"] = {name: {"checkpoint": {"alone": {"path": name, "format": form}}} for name, form in forms.items()}
    values["figures"] = {"f": {"kind": "illustration", "title": "F"}}
    files = named_files(load_config(values))
    assert all(key == file.key for key, file in files.items())
    assert {(file.key, file.path, file.kind) for file in files.values()} == {
        ("published", "p.csv", "file"),
        ("plan.throughput", "t.json", "file"),
        ("datasets.alone.reference", "r.npz", "file"),
        ("datasets.alone.extractor.fid_weights", "f.pth", "file"),
        ("datasets.alone.extractor.is_weights", "i.pth", "file"),
        ("datasets.other.extractor.weights", "d.safetensors", "file"),
        ("models.a.checkpoint.alone.path", "a", "file or folder"),
        ("models.b.checkpoint.alone.path", "b", "folder"),
        ("models.c.checkpoint.alone.path", "c", "file"),
    }


def config(**source):
    return load_config(VALUES | {"datasets": VALUES["datasets"] | {"patches": VALUES["datasets"]["patches"] | source}})


ARRAY = {"kind": "array", "path": "images.npy"}


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("digits", None),
        ("cifar10", None),
        ({"kind": "cifar10", "root": "nowhere"}, None),
        ({"kind": "cifar10", "root": "nowhere", "download": False}, "source.root: there is no folder nowhere"),
        ({"kind": "celeba", "root": "folder", "download": False}, None),
        ({"kind": "celeba", "root": "folder/weights.pth", "download": False}, "source.root: .* must be a folder"),
        ({"kind": "images", "path": "folder", "size": 8}, None),
        ({"kind": "images", "path": "folder/weights.pth/train", "size": 8}, None),
        ({"kind": "images", "path": "flder", "size": 8}, "source.path: .*; did you mean 'folder'"),
        (ARRAY, "source.path: there is no file images.npy"),
        ({"kind": "array", "path": "folder"}, "source.path: folder must be a file"),
    ],
)
def test_sources_that_are_not_there(source, problem):
    problems = source_problems(config(source=source), "patches")
    if problem is None:
        assert problems == []
    else:
        (told,) = problems
        assert told.startswith("datasets.patches.source.")
        assert re.search(problem, told)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((5, 8, 8), ""),
        ((5, 7, 7), "datasets.patches.network: images of 7x7 can't be halved 1 time"),
        ((5, 8, 6), "datasets.patches.source.path: images.npy: the network needs square images, not 8x6"),
        ((3, 8, 8), "figures.figure3.columns: 4 is above the 3 images of 'patches'"),
        ((5, 8, 8, 2), "datasets.patches.source.path: images.npy: found uint8"),
    ],
)
def test_what_an_array_does_not_fit_is_in_its_header(here, shape, problem):
    np.save(here / "images.npy", np.zeros(shape, np.uint8))
    told = source_problems(config(source=ARRAY), "patches")
    assert [line[: len(problem)] for line in told] == [problem] * bool(problem)


def test_a_single_image_is_refused(here):
    np.save(here / "images.npy", np.zeros((1, 8, 8), np.uint8))
    assert "datasets.patches.source: 1 are too few for fd, memorised: 2 or more" in source_problems(
        config(source=ARRAY), "patches"
    )


def test_prepared_images_do_not_need_their_source_any_more(here):
    made = config(source=ARRAY)
    data = here / made.root / "patches/data"
    data.mkdir(parents=True)
    (data / "dataset.json").write_text(json.dumps({"source": made.datasets["patches"].source.model_dump()}))
    assert source_problems(made, "patches")
    (data / "images.npy").touch()
    assert source_problems(made, "patches") == []
    assert source_problems(config(source={"kind": "array", "path": "imges.npy"}), "patches")
    for damaged in ("", "[]", "{}", "\xe9"):
        (data / "dataset.json").write_bytes(damaged.encode("latin-1"))
        assert source_problems(made, "patches")
