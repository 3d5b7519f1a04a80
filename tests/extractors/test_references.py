"""Files of what is known of the real images: what is kept, and what is refused."""

from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from sadpm.extractors.looking.features import FeatureExtractor
from sadpm.extractors.looking.references import Reference, import_published, load_reference
from sadpm.running.files import UserError, sha256


def gaussian(d=3, seed=0):
    features = np.random.default_rng(seed).normal(size=(20, d))
    return features.mean(axis=0), np.cov(features.T)


@pytest.fixture
def reference():
    facts = {"extractor": "pixels", "weights_sha256": "ab", "preprocessing": "none", "dataset_sha256": "cd"}
    return Reference(*gaussian(), 20, facts, np.ones((20, 3), np.float32))


def saved(reference, path):
    with path.open("wb") as file:
        reference.save(file)
    return path


@pytest.mark.parametrize("with_features", [False, True])
def test_what_is_saved_is_loaded(reference, tmp_path, with_features):
    loaded = load_reference(saved(reference, tmp_path / "r.npz"), with_features)
    np.testing.assert_array_equal(loaded.mean, reference.mean)
    np.testing.assert_array_equal(loaded.covariance, reference.covariance)
    assert (loaded.n, loaded.facts) == (20, reference.facts)
    assert (loaded.features is not None) == with_features
    assert not loaded.is_published


def test_file_is_readable_without_us(reference, tmp_path):
    with np.load(saved(reference, tmp_path / "r.npz")) as archive:
        assert {"mu", "sigma", "n", "features", *reference.facts} == set(archive.files)
        assert archive["n"] == 20


def test_same_references_give_same_bytes(reference):
    files = [BytesIO(), BytesIO()]
    for file in files:
        reference.save(file)
    assert files[0].getvalue() == files[1].getvalue()


def extractor(**changes):
    facts = {"name": "pixels", "weights_sha256": "ab", "preprocessing": "none"}
    return FeatureExtractor(**{**facts, "network": "", "batch_size": 1, "compute": lambda images: images, **changes})


def test_a_like_extractor_passes(reference):
    reference.check(Path("r.npz"), extractor())
    reference.check(Path("r.npz"), extractor(network="another version", batch_size=7))


@pytest.mark.parametrize(
    ("name", "fact", "value"),
    [
        ("name", "extractor", "inception"),
        ("weights_sha256", "weights_sha256", ""),
        ("preprocessing", "preprocessing", "x"),
    ],
)
def test_an_unlike_extractor_is_refused(reference, name, fact, value):
    with pytest.raises(UserError, match=rf"r\.npz: made with {fact} .*, and samples would be scored with '{value}'"):
        reference.check(Path("r.npz"), extractor(**{name: value}))


def test_features_have_facts_of_their_own(reference):
    with pytest.raises(UserError, match="made with features_weights_sha256 None"):
        reference.check(Path("r.npz"), extractor(), "features_")


@pytest.mark.parametrize("n", [None, 50_000])
def test_published_statistics(tmp_path, n):
    mean, covariance = gaussian(2048)
    path = tmp_path / "fid_stats.npz"
    np.savez(path, mu=mean, sigma=covariance.astype(np.float32), **({} if n is None else {"n": n}))
    imported = import_published(path, "inception", 2048)
    assert imported.n == n
    assert imported.covariance.dtype == np.float64
    assert imported.facts == {"extractor": "inception", "published": "fid_stats.npz", "published_sha256": sha256(path)}
    again = load_reference(saved(imported, tmp_path / "r.npz"))
    assert again.is_published
    assert (again.n, again.facts) == (n, imported.facts)
    again.check(path, extractor(name="inception", weights_sha256="any"))
    with pytest.raises(UserError, match="made with extractor 'inception'"):
        again.check(path, extractor())


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"mu": np.zeros(2048)}, r"no sigma in this npz, found mu"),
        ({"mean": np.zeros(3), "cov": np.eye(3)}, r"no mu, sigma in this npz, found mean, cov"),
        ({"mu": np.zeros(64), "sigma": np.eye(64)}, r"mu has 64 numbers, statistics of 'inception' have 2048"),
        ({"mu": np.zeros(2048), "sigma": np.eye(64)}, r"sigma must have shape \(2048, 2048\)"),
        ({"mu": np.zeros((2048, 1)), "sigma": np.eye(2048)}, r"mu must have shape \(d,\)"),
        ({"mu": np.full(2048, np.nan), "sigma": np.eye(2048)}, r"mu has values that are not finite"),
        ({"mu": np.zeros(2048), "sigma": np.tri(2048)}, r"sigma is not symmetric"),
        ({"mu": np.zeros(2048), "sigma": -np.eye(2048)}, r"sigma is no covariance: a covariance has eigenvalue -1"),
        ({"mu": np.zeros(2048), "sigma": np.eye(2048), "n": 1}, r"n must be the number of images.*, not 1"),
        ({"mu": np.zeros(2048), "sigma": np.eye(2048), "n": np.nan}, r"n must be the number of images.*, not nan"),
        ({"mu": np.array([{}], object), "sigma": np.eye(3)}, r"not a readable \.npz file"),
    ],
)
def test_other_files_are_refused(tmp_path, contents, message):
    np.savez(tmp_path / "p.npz", **contents)
    with pytest.raises(UserError, match=rf"p\.npz: {message}"):
        import_published(tmp_path / "p.npz", "inception", 2048)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text", None])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "p.npz"
    if content is None:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    for read in (partial(import_published, extractor="inception", num_features=2048), load_reference):
        with pytest.raises(UserError, match=r"p\.npz: not a readable \.npz file"):
            read(path)
    with pytest.raises(UserError, match="not a readable"):
        load_reference(tmp_path / "missing.npz")
