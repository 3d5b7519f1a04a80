"""What a set of samples scores: every metric with all that its value depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadpm.extractors.looking.features import FeatureExtractor, Measurement, Pixels, Rows, measure_all
from sadpm.extractors.looking.references import Reference
from sadpm.kinds.section import Metric
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.inception_score import inception_score
from sadpm.metrics.kernel_distance import KID_SUBSETS, kernel_inception_distance
from sadpm.metrics.precision_recall import precision_recall

SPLITS = 10
KID_SUBSET_SIZE = 1000


def score_images(
    images: Pixels,
    extractors: Mapping[Metric, FeatureExtractor],
    labels: Mapping[Metric, str],
    reference: Reference,
) -> dict[Metric, dict[str, Any]]:
    """Return each metric of uint8 images (n, H, W, C) that there is an extractor for.

    Raises:
        ValueError: a metric can't be computed, because the images are too few or what is seen of them is not finite.
    """
    measured = measure_all(images, extractors)
    metrics = {}
    for metric, values in _values(measured, reference).items():
        extractor = extractors[metric]
        compared = {} if metric == "is" else {"reference_n": reference.n}
        notes = [*extractor.notes, *_notes(metric, labels[metric], len(images), reference)]
        described = {"name": extractor.name, "network": extractor.network, **extractor.facts()}
        metrics[metric] = {
            **values, "label": labels[metric], "n": len(images), **compared, "extractor": described, "notes": notes,
        }  # fmt: skip
    return metrics


def _values(measured: Mapping[Metric, Measurement], reference: Reference) -> dict[Metric, dict[str, Any]]:
    """Value, spread and settings of each metric that was measured for."""
    values: dict[Metric, dict[str, Any]] = {}
    if "fd" in measured and (sampled := measured["fd"].statistics) is not None:
        distance = frechet_distance(sampled.mean, sampled.covariance, reference.mean, reference.covariance)
        values["fd"] = {"value": distance}
    if "is" in measured and (logits := measured["is"].logits) is not None:
        splits = min(SPLITS, len(logits))
        mean, std = inception_score(logits, splits)
        values["is"] = {"value": mean, "std": std, "splits": splits}
    if "kid" in measured:
        features, real = _features(measured["kid"], reference)
        size = min(KID_SUBSET_SIZE, len(features), len(real))
        mean, std = kernel_inception_distance(features, real, size)
        values["kid"] = {"value": mean, "std": std, "subsets": KID_SUBSETS, "subset_size": size}
    if shared := measured.get("precision") or measured.get("recall"):
        values |= _precision_recall(*_features(shared, reference))
    return {metric: values[metric] for metric in measured}


def _precision_recall(features: Rows, real: Rows) -> dict[Metric, dict[str, Any]]:
    from sadpm.running.device import select_device

    precision, recall = precision_recall(features, real, select_device())
    return {"precision": {"value": precision}, "recall": {"value": recall}}


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
