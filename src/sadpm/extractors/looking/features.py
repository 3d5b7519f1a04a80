"""What turns images into the features and logits that metrics compare, and how a large set is measured with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadpm.extractors import BY_FEATURES
from sadpm.kinds.section import Metric
from sadpm.metrics.features import FeatureStatistics
from sadpm.running.files import UserError
from sadpm.running.progress import progress

Pixels = NDArray[np.uint8]
Rows = NDArray[np.floating[Any]]

# Statistics take features of so many batches at once: each time costs a pass over a 2048 x 2048 matrix.
BATCHES_AT_ONCE = 16


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that looks at images, with all that its numbers depend on.

    Attributes:
        name: the kind's, as in the configuration.
        network: the package, its version and the layers, in words.
        weights_sha256: hash of the file of weights, "" where there is none.
        preprocessing: how uint8 images become the network's input, in words.
        batch_size: images that `compute` is given at once.
        compute: uint8 images (b, H, W, C) to features (b, d) and logits (b, classes) or None.
        notes: what a reader of the metrics must know.
    """

    name: str
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
        batches = (self._looked_at(np.asarray(images[start : start + self.batch_size])) for start in starts)
        what = f"{self.name}, batches of {self.batch_size} images"
        watched = progress(batches, len(starts), what, 0, "batches")
        while together := list(islice(watched, BATCHES_AT_ONCE)):
            features, logits = zip(*together, strict=True)
            yield np.concatenate(features), None if logits[0] is None else np.concatenate(logits)

    def _looked_at(self, images: Pixels) -> tuple[Rows, Rows | None]:
        features, logits = self.compute(images)
        for what, rows in (("features", features), ("logits", logits)):
            if rows is not None and (rows.ndim != 2 or len(rows) != len(images)):
                raise UserError(
                    f"the extractor {self.name!r} makes {what} of shape {rows.shape} of {len(images)} images; it must"
                    f" make ({len(images)}, d)"
                )
        return features, logits


def as_rgb(images: Pixels, looker: str) -> Pixels:
    """Return a view of grey or RGB images (b, H, W, 1 or 3) as (b, H, W, 3), grey repeated.

    Raises:
        UserError: they have another number of channels; the message names what was to look at them.
    """
    if images.shape[-1] not in (1, 3):
        raise UserError(f"{looker} looks at grey or RGB images, not at {images.shape[-1]} channels")
    return np.broadcast_to(images, (*images.shape[:3], 3))


@dataclass(frozen=True, eq=False)
class Measurement:
    """What metrics need to know of a set of images; None what none of them asked for.

    Attributes:
        n: the number of images.
        statistics: mean and covariance of the features, for "fd".
        logits: (n, classes), for "is".
        features: (n, d), for the metrics of ``BY_FEATURES``, and for each image's part in "fd".
    """

    n: int
    statistics: FeatureStatistics | None
    logits: Rows | None
    features: Rows | None


def measure(
    images: Pixels, extractor: FeatureExtractor, metrics: Collection[Metric], keep_features: bool = False
) -> Measurement:
    """Look at uint8 images (n, H, W, C), which may be memory-mapped, and keep only what the metrics need.

    Features that no metric needs are kept where each image's part in the metrics is asked for.
    """
    statistics = FeatureStatistics() if "fd" in metrics else None
    logits, features, done = None, None, 0
    for some_features, some_logits in extractor.stream(images):
        if statistics is not None:
            statistics.update(some_features)
        if keep_features or BY_FEATURES.intersection(metrics):
            features = _store(features, some_features, done, len(images))
        if "is" in metrics and some_logits is not None:
            logits = _store(logits, some_logits, done, len(images))
        done += len(some_features)
    return Measurement(len(images), statistics, logits, features)


def measure_all(
    images: Pixels, extractors: Mapping[Metric, FeatureExtractor], keep_features: bool = False
) -> dict[Metric, Measurement]:
    """Measure with each extractor once, and return for each metric the measurement that is its own; see `measure`."""
    shared: dict[int, set[Metric]] = {}
    for metric, extractor in extractors.items():
        shared.setdefault(id(extractor), set()).add(metric)
    measured = (
        (metrics, measure(images, extractors[next(iter(metrics))], metrics, keep_features))
        for metrics in shared.values()
    )
    return {metric: measurement for metrics, measurement in measured for metric in metrics}


def _store(kept: Rows | None, rows: Rows, start: int, total: int) -> Rows:
    """Put rows into an array of their final number, which the first ones make."""
    kept = np.empty((total, rows.shape[1]), rows.dtype) if kept is None else kept
    kept[start : start + len(rows)] = rows
    return kept
