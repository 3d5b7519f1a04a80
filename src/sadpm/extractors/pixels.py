"""The image itself: what needs no network, and says little."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from sadpm.extractors import Extractor
from sadpm.kinds.section import Metric

if TYPE_CHECKING:
    from sadpm.extractors.looking.features import FeatureExtractor


class PixelsExtractor(Extractor):
    """Grey values in [0, 1], flattened."""

    kind: Literal["pixels"] = "pixels"

    labels: ClassVar[Mapping[Metric, str]] = {"fd": "FD (pixels)", "memorised": "memorised (pixels)"}

    def create(self, metrics: Collection[Metric], trained: Path | None) -> Mapping[Metric, FeatureExtractor]:
        """Return one that flattens."""
        from sadpm.extractors.looking.features import FeatureExtractor

        flat = FeatureExtractor(
            name=self.kind,
            network="none: the image itself",
            weights_sha256="",
            preprocessing="uint8 / 255, flattened",
            batch_size=64,
            compute=lambda images: (images.reshape(len(images), -1) / 255.0, None),
        )
        return dict.fromkeys(metrics, flat)
