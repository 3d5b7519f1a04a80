"""What turns images into the features and logits that metrics compare, and how a large set is measured with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadpm.extractors import METRICS_OF_EXTRACTOR, InceptionWeights
from sadpm.kinds.section import Extractor, Metric
from sadpm.metrics.features import FeatureStatistics
from sadpm.running.files import UserError, sha256
from sadpm.running.progress import progress

Pixels = NDArray[np.uint8]
Rows = NDArray[np.floating[Any]]

INCEPTION_FEATURES = 2048
KEEP_FEATURES: frozenset[Metric] = frozenset({"kid", "precision", "recall"})
# Statistics take features of so many batches at once: each time costs a pass over a 2048 x 2048 matrix.
BATCHES_AT_ONCE = 16


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that looks at images, with all that its numbers depend on.

    Attributes:
        name: as in the configuration.
        network: the package, its version and the layers, in words.
        weights_sha256: hash of the file of weights, "" where there is none.
        preprocessing: how uint8 images become the network's input, in words.
        batch_size: images that `compute` is given at once.
        compute: uint8 images (b, H, W, C) to features (b, d) and logits (b, classes) or None.
        notes: what a reader of the metrics must know.
    """

    name: Extractor
    network: str
    weights_sha256: str
    preprocessing: str
    batch_size: int
    compute: Callable[[Pixels], tuple[Rows, Rows | None]]
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """Return what two measurements must share to be compared."""
        return {"weights_sha256": self.weights_sha256, "preprocessing": self.preprocessing}

    def stream(self, images: Pixels) -> Iterator[tuple[Rows, Rows | None]]:
        """Yield features and logits of uint8 images (n, H, W, C), in order and some batches at a time."""
        starts = range(0, len(images), self.batch_size)
        batches = (self.compute(np.asarray(images[start : start + self.batch_size])) for start in starts)
        watched = progress(batches, len(starts), f"{self.name}, batches of {self.batch_size} images")
        while together := list(islice(watched, BATCHES_AT_ONCE)):
            features, logits = zip(*together, strict=True)
            yield np.concatenate(features), None if logits[0] is None else np.concatenate(logits)


@dataclass(frozen=True)
class Measurement:
    """What metrics need to know of a set of images; None what none of them asked for.

    Attributes:
        n: the number of images.
        statistics: mean and covariance of the features, for "fd".
        logits: (n, classes), for "is".
        features: (n, d), for "kid", "precision" and "recall".
    """

    n: int
    statistics: FeatureStatistics | None
    logits: Rows | None
    features: Rows | None


def create_extractors(
    name: Extractor, metrics: Iterable[Metric], classifier: Path | None, weights: InceptionWeights
) -> dict[Metric, FeatureExtractor]:
    """Return what each metric looks with; those that look alike share one.

    Args:
        name: "classifier" (64 penultimate features), "pixels" (the image itself), or "inception" (pytorch-fid's
            network for "fd", torch-fidelity's for the others).
        metrics: of which extractors are wanted.
        classifier: the classifier's file, for "classifier".
        weights: Inception's files, for "inception".

    Raises:
        UserError: weights are missing, or a metric is not to be had with this extractor.
    """
    metrics = list(metrics)
    if refused := [metric for metric in metrics if metric not in METRICS_OF_EXTRACTOR[name]]:
        possible = ", ".join(METRICS_OF_EXTRACTOR[name])
        raise UserError(f"the extractor {name!r} gives {possible}, and not {', '.join(refused)}")
    if name == "inception":
        from sadpm.extractors.inception import inception_extractors

        return inception_extractors(metrics, weights)
    return dict.fromkeys(metrics, _pixels_extractor() if name == "pixels" else _classifier_extractor(classifier))


def measure(images: Pixels, extractor: FeatureExtractor, metrics: Collection[Metric]) -> Measurement:
    """Look at uint8 images (n, H, W, C), which may be memory-mapped, and keep only what the metrics need."""
    statistics = FeatureStatistics() if "fd" in metrics else None
    logits, features, done = None, None, 0
    for some_features, some_logits in extractor.stream(images):
        if statistics is not None:
            statistics.update(some_features)
        if KEEP_FEATURES & set(metrics):
            features = _store(features, some_features, done, len(images))
        if "is" in metrics and some_logits is not None:
            logits = _store(logits, some_logits, done, len(images))
        done += len(some_features)
    return Measurement(len(images), statistics, logits, features)


def measure_all(images: Pixels, extractors: Mapping[Metric, FeatureExtractor]) -> dict[Metric, Measurement]:
    """Measure with each extractor once, and return for each metric the measurement that is its own."""
    shared: dict[int, set[Metric]] = {}
    for metric, extractor in extractors.items():
        shared.setdefault(id(extractor), set()).add(metric)
    measured = ((metrics, measure(images, extractors[next(iter(metrics))], metrics)) for metrics in shared.values())
    return {metric: measurement for metrics, measurement in measured for metric in metrics}


def _store(kept: Rows | None, rows: Rows, start: int, total: int) -> Rows:
    """Put rows into an array of their final number, which the first ones make."""
    kept = np.empty((total, rows.shape[1]), rows.dtype) if kept is None else kept
    kept[start : start + len(rows)] = rows
    return kept


def _pixels_extractor() -> FeatureExtractor:
    def compute(images: Pixels) -> tuple[Rows, None]:
        return images.reshape(len(images), -1) / 255.0, None

    return FeatureExtractor("pixels", "none: the image itself", "", "uint8 / 255, flattened", 64, compute)


def _classifier_extractor(weights: Path | None) -> FeatureExtractor:
    if weights is None:
        raise UserError("the extractor 'classifier' needs the file of its weights")
    from sadpm.networks.classifier import extract, load_classifier

    model = load_classifier(weights)
    network, preprocessing = "sadpm.networks.classifier.DigitsClassifier, penultimate layer", "uint8 / 127.5 - 1"
    return FeatureExtractor(
        "classifier", network, sha256(weights), preprocessing, 250, lambda images: extract(model, images)
    )
