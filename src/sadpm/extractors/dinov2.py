"""DINOv2, a vision transformer that was trained without labels: FD-DINOv2 and what else Stein et al. (2023) compare."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from sadpm.extractors import Extractor
from sadpm.kinds.section import ConfigPath, Metric

if TYPE_CHECKING:
    from sadpm.extractors.looking.features import FeatureExtractor

Name = Literal["vits14", "vitb14", "vitl14", "vitg14"]


class Architecture(NamedTuple):
    """One of the published networks.

    Attributes:
        timm: its name in timm, and with ``.lvd142m`` that of timm's repository of its weights.
        flops: of one image, resized to 224x224; as docs/plan.md counts.
    """

    timm: str
    flops: int


ARCHITECTURES: Mapping[Name, Architecture] = {
    "vits14": Architecture("vit_small_patch14_dinov2", 12_247_123_968),
    "vitb14": Architecture("vit_base_patch14_dinov2", 46_322_454_528),
    "vitl14": Architecture("vit_large_patch14_dinov2", 162_023_964_672),
    "vitg14": Architecture("vit_giant_patch14_dinov2", 598_780_133_376),
}
USUAL: Name = "vitl14"
"""The network whose features the field calls FD-DINOv2."""


class Dinov2Extractor(Extractor):
    """timm's network; its weights come from the cache of the Hugging Face Hub where no file is named."""

    kind: Literal["dinov2"] = "dinov2"
    architecture: Name = USUAL
    weights: ConfigPath | None = None

    labels: ClassVar[Mapping[Metric, str]] = {
        "fd": "FD-DINOv2", "kid": "KID-DINOv2", "precision": "precision (DINOv2)", "recall": "recall (DINOv2)",
        "memorised": "memorised (DINOv2)",
    }  # fmt: skip
    memory_mb: ClassVar[int] = 8000
    minutes: ClassVar[int] = 120
    uses_gpu: ClassVar[bool] = True

    @property
    def flops(self) -> int:
        """Those of the architecture."""
        return ARCHITECTURES[self.architecture].flops

    def files(self) -> dict[str, str]:
        """Return the file of weights."""
        return {} if self.weights is None else {"weights": self.weights}

    def passes(self, metrics: Collection[Metric]) -> int:
        """All metrics look with one network."""
        return int(bool(metrics))

    def create(self, metrics: Collection[Metric], trained: Path | None) -> Mapping[Metric, FeatureExtractor]:
        """Return one that all metrics share."""
        from sadpm.extractors.looking.dinov2 import dinov2_extractor

        return dict.fromkeys(metrics, dinov2_extractor(self.architecture, self.weights))
