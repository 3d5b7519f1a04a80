"""What a set of samples scores: every metric with all that its value depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sadpm.extractors.looking.features import FeatureExtractor, Measurement, Pixels, Rows, measure_all
from sadpm.extractors.looking.references import Reference
from sadpm.kinds.section import Metric
from sadpm.metrics.features import FloatArray
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.frechet_influence import frechet_influence
from sadpm.metrics.inception_score import inception_score, inception_score_influence
from sadpm.metrics.influence import NoInfluence
from sadpm.metrics.kernel_distance import KID_SUBSETS, kernel_distance_influence, kernel_inception_distance
from sadpm.metrics.memorisation import nearest_images
from sadpm.metrics.precision_recall import Indicators, precision_recall_indicators, share, share_influence
from sadpm.metrics.uncertainty import standard_error

SPLITS = 10
KID_SUBSET_SIZE = 1000


class Score(NamedTuple):
    """One metric of a set of images.

    Attributes:
        entry: its value, its standard error over redraws of the samples (of recall: of the real images; None with a
            reason where there is none), and all that they depend on.
        influence: what each image contributes, (n,) float32, for metrics whose errors can be paired.
        details: what else is known of each image, arrays (n,) by name.
    """

    entry: dict[str, Any]
    influence: NDArray[np.float32] | None
    details: Mapping[str, NDArray[Any]]


def score_images(
    images: Pixels,
    extractors: Mapping[Metric, FeatureExtractor],
    labels: Mapping[Metric, str],
    reference: Reference,
) -> dict[Metric, Score]:
    """Return each metric of uint8 images (n, H, W, C) that there is an extractor for.

    Raises:
        ValueError: a metric can't be computed, because the images are too few or what is seen of them is not finite.
    """
    scores = {}
    for metric, measured in measure_all(images, extractors, keep_features=True).items():
        extractor, label = extractors[metric], labels[metric]
        part = _SCORES[metric](measured, reference)
        error, influence = _error(label, part.influence)
        compared = {} if metric == "is" else {"reference_n": reference.n}
        notes = [*extractor.notes, *_notes(metric, label, len(images), reference)]
        described = {"name": extractor.name, "network": extractor.network, **extractor.facts()}
        entry = {
            **part.values,
            **error,
            **{"label": label, "n": len(images), **compared, "extractor": described, "notes": notes},
        }
        scores[metric] = Score(entry, influence if part.is_paired else None, part.details)
    return scores


def _error(label: str, influence: Callable[[], FloatArray]) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    try:
        values = influence()
    except NoInfluence as reason:
        return {"standard_error": None, "no_error": f"{label} of {reason}"}, None
    return {"standard_error": standard_error(values)}, values.astype(np.float32)


class Part(NamedTuple):
    """Value and settings of a metric, the way to its influence values, and what else is known of each sample.

    Influence values that are not over samples have an error, but none that could be paired.
    """

    values: dict[str, Any]
    influence: Callable[[], FloatArray]
    details: Mapping[str, NDArray[Any]] = MappingProxyType({})
    is_paired: bool = True


def _frechet(measured: Measurement, reference: Reference) -> Part:
    assert measured.statistics is not None
    assert measured.features is not None
    features = measured.features
    gaussians = measured.statistics.mean, measured.statistics.covariance, reference.mean, reference.covariance
    return Part({"value": frechet_distance(*gaussians)}, lambda: frechet_influence(features, *gaussians))


def _inception(measured: Measurement, _: Reference) -> Part:
    assert measured.logits is not None
    logits, splits = measured.logits, min(SPLITS, len(measured.logits))
    mean, std = inception_score(logits, splits)
    return Part({"value": mean, "std": std, "splits": splits}, lambda: inception_score_influence(logits, splits))


def _kernel(measured: Measurement, reference: Reference) -> Part:
    features, real = _features(measured, reference)
    size = min(KID_SUBSET_SIZE, len(features), len(real))
    mean, std = kernel_inception_distance(features, real, size)
    settings = {"std": std, "subsets": KID_SUBSETS, "subset_size": size}
    return Part({"value": mean, **settings}, lambda: kernel_distance_influence(features, real, size))


def _precision(measured: Measurement, reference: Reference) -> Part:
    precise, _ = _indicators(measured, reference)
    return Part({"value": share(precise)}, lambda: share_influence(precise))


def _recall(measured: Measurement, reference: Reference) -> Part:
    _, recalled = _indicators(measured, reference)
    return Part({"value": share(recalled)}, lambda: share_influence(recalled), is_paired=False)


def _memorised(measured: Measurement, reference: Reference) -> Part:
    from sadpm.running.device import select_device

    pairs = nearest_images(*_features(measured, reference), select_device())
    details = {"nearest": pairs.image.astype(np.int32), "ratio": pairs.ratio.astype(np.float32)}
    return Part({"value": share(pairs.memorised)}, lambda: share_influence(pairs.memorised), details)


_SCORES: Mapping[Metric, Callable[[Measurement, Reference], Part]] = {
    "fd": _frechet, "is": _inception, "kid": _kernel, "precision": _precision, "recall": _recall,
    "memorised": _memorised,
}  # fmt: skip


@lru_cache(maxsize=1)  # precision and recall of the same images come one after the other
def _indicators(measured: Measurement, reference: Reference) -> tuple[Indicators, Indicators]:
    from sadpm.running.device import select_device

    return precision_recall_indicators(*_features(measured, reference), select_device())


def _features(measurement: Measurement, reference: Reference) -> tuple[Rows, Rows]:
    assert measurement.features is not None
    assert reference.features is not None
    return measurement.features, reference.features


def _notes(metric: Metric, label: str, n: int, reference: Reference) -> list[str]:
    """What a reader must know of a metric besides its number."""
    notes = []
    if metric == "fd":
        width = len(reference.mean)
        for what, count in (("n", n), ("real n", reference.n)):
            if count is not None and count <= width:
                singular = f"{label} is biased upwards and its covariance is singular"
                notes.append(f"{what} = {count:,} <= {width:,} features: {singular}")
        if reference.is_published:
            notes.append("Real statistics come from a published file, whose weights and preprocessing are not known")
    if metric == "kid" and (size := min(n, reference.n or n)) < KID_SUBSET_SIZE:
        notes.append(f"KID subsets have {size:,} images instead of {KID_SUBSET_SIZE:,}")
    return notes
