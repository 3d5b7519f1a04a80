"""A small classifier of the data set's own labels, for images that a network of photographs says nothing about."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sadpm.extractors import Extractor
from sadpm.kinds.section import Metric
from sadpm.running.files import UserError, sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sadpm.extractors.looking.features import FeatureExtractor

SEED = 0


class ClassifierExtractor(Extractor):
    """Its 64 penultimate features, and its logits."""

    kind: Literal["classifier"] = "classifier"
    steps: int = Field(600, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)

    labels: ClassVar[Mapping[Metric, str]] = {
        "fd": "FD (digits classifier)", "is": "IS (digits classifier)", "memorised": "memorised (digits classifier)",
    }  # fmt: skip
    free: ClassVar[tuple[Metric, ...]] = ("fd", "is")
    is_trained: ClassVar[bool] = True

    def create(self, metrics: Collection[Metric], trained: Path | None) -> Mapping[Metric, FeatureExtractor]:
        """Return one that all metrics share."""
        from sadpm.extractors.looking.features import FeatureExtractor
        from sadpm.networks.classifier import extract, load_classifier

        assert trained is not None
        model = load_classifier(trained)
        shared = FeatureExtractor(
            name=self.kind,
            network="sadpm.networks.classifier.DigitsClassifier, penultimate layer",
            weights_sha256=sha256(trained),
            preprocessing="uint8 / 127.5 - 1",
            batch_size=250,
            compute=lambda images: extract(model, images),
        )
        return dict.fromkeys(metrics, shared)

    def train(self, images: NDArray[np.uint8], labels: NDArray[np.integer], weights: Path) -> dict[str, Any]:
        """Leave the weights, and report the accuracy on the fifth of the images that it was not trained on."""
        import numpy as np

        from sadpm.networks.classifier import save_classifier, train_classifier
        from sadpm.running.finite import first_not_finite

        settings = {name: getattr(self, name) for name in ("steps", "batch_size", "learning_rate", "weight_decay")}
        num_classes = int(labels.max(initial=0)) + 1
        try:
            model, accuracy = train_classifier(images, labels, num_classes=num_classes, seed=SEED, **settings)
        except ValueError as error:
            raise UserError(str(error)) from error
        chance = float(np.bincount(labels).max() / len(labels))
        if not accuracy > chance or first_not_finite(model.state_dict()) is not None:
            raise UserError(
                f"the classifier has learned nothing: it is right for {accuracy:.0%} of the images that were held out,"
                f" and naming the most frequent class would be for {chance:.0%}; change extractor.learning_rate (now"
                f" {self.learning_rate:g}) or extractor.steps (now {self.steps})"
            )
        save_classifier(model, weights)
        return {"held_out_accuracy": accuracy}
