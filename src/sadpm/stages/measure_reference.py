"""Measure the real images, against which samples are scored, or import what others measured of them."""

from collections.abc import Sequence
from pathlib import Path

from sadpm.config.jobs import ReferenceJob
from sadpm.extractors import BY_FEATURES
from sadpm.extractors.looking.features import measure_all
from sadpm.extractors.looking.references import Reference, import_published
from sadpm.kinds.section import Metric
from sadpm.running.files import UserError, provenance, sha256, write_atomically, write_json
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command


def measure_reference(
    params: ReferenceJob,
    reference: Path,
    report: Path,
    images: Sequence[Path] = (),
    weights: Sequence[Path] = (),
    published: Sequence[Path] = (),
) -> None:
    """Write mean and covariance of the features, the features if a metric needs them, and a report.

    One of images (``images.npy``) and published (an npz with ``mu`` and ``sigma``) is needed; weights is
    what the extractor has learned, where it is trained.
    """
    if len(images) + len(published) != 1:
        raise UserError("give one file, either of images or of published statistics")
    found = _import(params, published[0]) if published else _measure(params, images[0], next(iter(weights), None))
    write_atomically(reference, found.save)
    given = {"published": published[0]} if published else {"images": images[0]}
    write_json(report, {"provenance": provenance(params, **given)})


def _measure(params: ReferenceJob, images: Path, trained: Path | None) -> Reference:
    by_features: list[Metric] = sorted(BY_FEATURES.intersection(params.metrics))
    extractors = params.extractor.looking(["fd", *by_features], trained)
    try:
        measured = measure_all(load_pixels(images), extractors)
        statistics = measured["fd"].statistics
        assert statistics is not None
        mean, covariance = statistics.mean, statistics.covariance
    except ValueError as error:
        raise UserError(f"{images}: can't be measured: {error}") from error
    facts = {"extractor": params.extractor.kind, "dataset_sha256": sha256(images), **extractors["fd"].facts()}
    features = None
    for metric in by_features[:1]:  # the others look with the same network
        features = measured[metric].features
        facts |= {f"features_{name}": fact for name, fact in extractors[metric].facts().items()}
    return Reference(mean, covariance, statistics.n, facts, features)


def _import(params: ReferenceJob, published: Path) -> Reference:
    kind, features = params.extractor.kind, params.extractor.num_published_features
    if features is None:
        raise UserError(f"{published}: {kind!r} has no published statistics")
    if wanting := sorted(BY_FEATURES.intersection(params.metrics)):
        raise UserError(
            f"{published}: {', '.join(wanting)} need the features of real images, and a published file has only their "
            "mean and covariance; leave out datasets.<name>.reference to have them measured, or these metrics"
        )
    return import_published(published, kind, features)


if __name__ == "__main__":
    command(measure_reference)
