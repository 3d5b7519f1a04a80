"""Score the samples of one model."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadpm.config.grid import Cell
from sadpm.config.jobs import ScoreJob
from sadpm.extractors.base import (
    INCEPTION_FEATURES,
    KEEP_FEATURES,
    FeatureExtractor,
    Measurement,
    Pixels,
    Rows,
    measure_all,
)
from sadpm.extractors.choice import create_extractors
from sadpm.extractors.references import Reference, load_reference
from sadpm.kinds.section import Metric
from sadpm.metrics.frechet import frechet_distance
from sadpm.metrics.inception_score import inception_score
from sadpm.metrics.kernel_distance import KID_SUBSETS, kernel_inception_distance
from sadpm.metrics.precision_recall import precision_recall
from sadpm.running.files import UserError, provenance, read_json, sha256, write_json
from sadpm.sources.reading.prepared import load_samples
from sadpm.stages import command

SPLITS = 10
KID_SUBSET_SIZE = 1000
LABELS: Mapping[str, Mapping[Metric, str]] = {
    "inception": {"fd": "FID", "is": "IS", "kid": "KID", "precision": "precision", "recall": "recall"},
    "classifier": {"fd": "FD (digits classifier)", "is": "IS (digits classifier)"},
    "pixels": {"fd": "FD (pixels)"},
}


def score(
    params: ScoreJob,
    samples: Path,
    report: Path,
    reference: Path,
    scores: Path,
    weights: Sequence[Path] = (),
    images: Sequence[Path] = (),
) -> None:
    """Write every metric of each cell with its n, recipe, cost and provenance.

    Weights is the classifier, for the extractor of that name; images is the data set of which the reference must be,
    and is needed unless the reference was published.
    """
    classifier = weights[0] if weights else None
    extractors = create_extractors(params.extractor, params.metrics, classifier, params.weights)
    real = checked_reference(reference, extractors, images)
    made, sampling, pixels = provenance(params, reference=reference), read_json(report), load_samples(samples)
    drawn = sampling["provenance"]
    if [Cell(**draw["cell"]) for draw in sampling["draws"]] != list(params.cells) or len(pixels) != len(params.cells):
        raise UserError(f"{samples}: holds other cells than are to be scored; delete it to have it made again")
    contents = []
    for recipe, found, draw, chain in zip(
        params.recipes, pixels, sampling["draws"], drawn["job"]["chains"], strict=True
    ):
        if draw["sha256"] != hashlib.sha256(found).hexdigest():
            raise UserError(f"{samples}: not the file that {report} describes; delete both to have them made again")
        fitted = [sha for file, sha in drawn["inputs"].items() if chain["fit"] in file.split("+")]
        covariance = {"covariance": fitted[0]} if fitted else {}
        inputs = {"samples": draw["sha256"], "model": drawn["inputs"]["model"], **covariance, **made["inputs"]}
        content = {
            "cell": draw["cell"],
            "recipe": {"name": recipe, **recipe_of(chain)},
            "metrics": checked_metrics(f"{samples}: {Cell(**draw['cell']).draw}", found, extractors, real),
            **{key: draw[key] for key in ("network_calls", "seconds")},
            "device": sampling["device"],
            "provenance": {"code": made["code"], "inputs": inputs},
        }
        contents.append(content)
    write_json(scores, {"scores": contents, "provenance": {**made, "sampling": drawn}})


def checked_reference(path: Path, extractors: Mapping[Metric, FeatureExtractor], images: Sequence[Path]) -> Reference:
    """Read what is known of the real images, and refuse what can't be compared with the samples.

    Raises:
        UserError: the file was made with another extractor, other weights, another preprocessing or other images, or
            has no features where a metric needs them.
    """
    by_features = sorted(KEEP_FEATURES.intersection(extractors))
    reference = load_reference(path, with_features=bool(by_features))
    if "fd" in extractors:
        reference.check(path, extractors["fd"])
    if by_features and reference.features is None:
        raise UserError(f"{path}: has no features of the real images, which {', '.join(by_features)} need; delete it")
    for metric in by_features:
        reference.check(path, extractors[metric], "features_")
    if not reference.is_published:
        if len(images) != 1:
            raise UserError(f"{path}: was measured here, so give the file of images that it must be of")
        if (found := reference.facts.get("dataset_sha256")) != (expected := sha256(images[0])):
            raise UserError(
                f"{path}: made of a data set with sha256 {found}, and {images[0]} has {expected}; delete it"
            )
    return reference


def checked_metrics(
    what: str, images: Pixels, extractors: Mapping[Metric, FeatureExtractor], reference: Reference
) -> dict[Metric, dict[str, Any]]:
    """Return the metrics of the images of a cell, each a number that can be relied on; ``what`` is for messages.

    Raises:
        UserError: they can't be computed, or one of them is not finite.
    """
    try:
        metrics = metrics_of(images, extractors, reference)
    except ValueError as error:
        raise UserError(f"{what}: can't be scored: {error}") from error
    for result in metrics.values():
        if not math.isfinite(result["value"]):
            raise UserError(f"{what}: its {result['label']} is {result['value']}; look at the samples and features")
    return metrics


def metrics_of(
    images: Pixels, extractors: Mapping[Metric, FeatureExtractor], reference: Reference
) -> dict[Metric, dict[str, Any]]:
    """Return each metric of uint8 images (n, H, W, C) with all that its value depends on."""
    measured = measure_all(images, extractors)
    metrics = {}
    for metric, values in _values(measured, reference).items():
        extractor = extractors[metric]
        compared = {} if metric == "is" else {"reference_n": reference.n}
        notes = [*extractor.notes, *_notes(metric, extractor, len(images), reference)]
        described = {"name": extractor.name, "network": extractor.network, **extractor.facts()}
        metrics[metric] = {
            **values, "label": LABELS[extractor.name][metric], "n": len(images), **compared,
            "extractor": described, "notes": notes,
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


def _notes(metric: Metric, extractor: FeatureExtractor, n: int, reference: Reference) -> list[str]:
    """What a reader must know of a metric besides its number."""
    notes = []
    if metric == "fd" and extractor.name == "inception":
        for what, count in (("n", n), ("real n", reference.n)):
            if count is not None and count < INCEPTION_FEATURES:
                notes.append(f"{what} = {count:,} < 2,048: FID is biased upwards and its covariance is singular")
        if reference.is_published:
            notes.append("Real statistics come from a published file, whose weights and preprocessing are not known")
    if metric == "kid" and (size := min(n, reference.n or n)) < KID_SUBSET_SIZE:
        notes.append(f"KID subsets have {size:,} images instead of {KID_SUBSET_SIZE:,}")
    return notes


def recipe_of(chain: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a chain was run, from the report of the sampling job."""
    recipe = chain["recipe"]
    pixels = recipe["max_variance_pixels"].get(chain["sampler"]["kind"])
    return {"timesteps": recipe["timesteps"], "clip_sample": recipe["clip_sample"], "max_variance_pixels": pixels}


if __name__ == "__main__":
    command(score)
