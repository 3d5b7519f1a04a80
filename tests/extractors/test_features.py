"""How a large set of images is looked at: in order, a little at a time, and keeping only what a metric needs."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from sadpm.extractors.classifier import ClassifierExtractor
from sadpm.extractors.looking.features import FeatureExtractor, measure, measure_all
from sadpm.extractors.pixels import PixelsExtractor
from sadpm.running.files import UserError


class Stub:
    """An extractor that remembers how many images it was given at once."""

    def __init__(self, width=4, batch_size=3, logits=True):
        self.seen = []
        self.width, self.logits = width, logits
        self.extractor = FeatureExtractor("pixels", "stub", "", "none", batch_size, self.compute)

    def compute(self, images):
        self.seen.append(len(images))
        features = np.repeat(images.reshape(len(images), -1)[:, :1], self.width, axis=1).astype(np.float32)
        return features + np.arange(self.width, dtype=np.float32), -features if self.logits else None


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (200, 2, 2, 1), dtype=np.uint8)


def test_batches_are_of_the_extractors_size(images):
    stub = Stub(batch_size=3)
    sizes = [len(features) for features, _ in stub.extractor.stream(images)]
    assert stub.seen == [3] * 66 + [2]
    assert sizes == [48, 48, 48, 48, 8]
    assert not list(stub.extractor.stream(images[:0]))


@pytest.mark.parametrize("batch_size", [1, 25, 64, 500])
def test_a_measurement_does_not_depend_on_batches(images, batch_size):
    measured = measure(images, Stub(batch_size=batch_size).extractor, ("fd", "is", "kid"))
    features, logits = Stub().compute(images)
    np.testing.assert_array_equal(measured.features, features)
    np.testing.assert_array_equal(measured.logits, logits)
    assert measured.n == measured.statistics.n == 200
    np.testing.assert_allclose(measured.statistics.mean, features.astype(np.float64).mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(measured.statistics.covariance, np.cov(features.astype(np.float64).T), rtol=1e-12)


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [
        (["fd"], {"statistics"}),
        (["is"], {"logits"}),
        (["fd", "is"], {"statistics", "logits"}),
        (["kid"], {"features"}),
        (["precision"], {"features"}),
        (["recall", "fd"], {"features", "statistics"}),
    ],
)
def test_only_what_a_metric_needs_is_kept(images, metrics, kept):
    measured = measure(images, Stub().extractor, metrics)
    assert {name for name in ("statistics", "logits", "features") if getattr(measured, name) is not None} == kept


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """64 MB of features of memory-mapped images pass through a few megabytes."""
    np.save(tmp_path / "images.npy", np.zeros((64_000, 1, 1, 1), np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        measured = measure(images, Stub(width=256, batch_size=50, logits=False).extractor, ["fd"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert measured.n == 64_000
    assert peak < 8e6


def test_one_look_serves_all_metrics_of_an_extractor(images):
    first, second = Stub(batch_size=100), Stub(batch_size=100)
    extractors = {"fd": first.extractor, "is": second.extractor, "kid": second.extractor}
    measured = measure_all(images, extractors)
    assert first.seen == second.seen == [100, 100]
    assert measured["is"] is measured["kid"]
    assert measured["fd"].features is measured["fd"].logits is measured["kid"].statistics is None


def test_pixels():
    (extractor,) = PixelsExtractor().looking(["fd"]).values()
    features, logits = extractor.compute(np.full((2, 2, 2, 3), 51, np.uint8))
    assert logits is None
    np.testing.assert_allclose(features, np.full((2, 12), 0.2))


def test_mistakes():
    with pytest.raises(UserError, match="'classifier' needs the file of its weights"):
        ClassifierExtractor().looking(["fd"])
    with pytest.raises(UserError, match="the extractor 'classifier' gives fd, is, memorised, and not recall"):
        ClassifierExtractor().looking(["fd", "recall"])


def test_scoring_imports_no_network_before_it_needs_one():
    code = "import sys, sadpm.stages.score, sadpm.stages.measure_reference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda n: (np.zeros(n), None), r"makes features of shape \(3,\) of 3 images; it must make \(3, d\)"),
        (lambda n: (np.zeros((n - 1, 2)), None), r"makes features of shape \(2, 2\) of 3 images"),
        (lambda n: (np.zeros((n, 2)), np.zeros((1, 2))), r"makes logits of shape \(1, 2\) of 3 images"),
    ],
)
def test_features_of_another_number_of_images_are_told(images, made, message):
    extractor = FeatureExtractor("mine", "stub", "", "none", 3, lambda batch: made(len(batch)))
    with pytest.raises(UserError, match=f"the extractor 'mine' {message}"):
        measure(images, extractor, ["fd"])
