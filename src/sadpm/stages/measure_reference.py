"""Measure the feature statistics of the real images, against which samples are scored."""

from collections.abc import Sequence
from pathlib import Path

from sadpm.artifacts import sha256, write_atomically
from sadpm.data import load_pixels
from sadpm.extractors import extract_features
from sadpm.jobs import ReferenceJob
from sadpm.metrics import FeatureStatistics
from sadpm.stages import command


def measure_reference(params: ReferenceJob, images: Path, reference: Path, weights: Sequence[Path] = ()) -> None:
    """Write mean and covariance of the features, with n and what they were made with."""
    classifier = weights[0] if weights else None
    features, _ = extract_features(params.extractor, load_pixels(images), classifier)
    statistics = FeatureStatistics()
    statistics.update(features)
    facts = {
        "extractor": params.extractor,
        "weights_sha256": sha256(classifier) if classifier else "",
        "dataset_sha256": sha256(images),
    }
    write_atomically(reference, lambda file: statistics.save(file, **facts))


if __name__ == "__main__":
    command(measure_reference)
