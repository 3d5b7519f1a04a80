"""Which network looks at the images for each metric."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sadpm.extractors import METRICS_OF_EXTRACTOR, InceptionWeights
from sadpm.extractors.base import FeatureExtractor, Pixels, Rows
from sadpm.kinds.section import Extractor, Metric
from sadpm.running.files import UserError, sha256


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
