"""Inception-v3: pytorch-fid's for FID, as the paper, and torch-fidelity's for the Inception Score and what is newer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from sadpm.extractors import Extractor
from sadpm.kinds.section import ConfigPath, Metric

if TYPE_CHECKING:
    from sadpm.extractors.looking.features import FeatureExtractor

FEATURES = 2048
FLOPS = 11_422_336_192
"""Of one image, resized to 299x299, up to the features; as docs/plan.md counts."""


class InceptionExtractor(Extractor):
    """Two packages' networks; their weights come from the packages' usual cache where no file is named."""

    kind: Literal["inception"] = "inception"
    fid_weights: ConfigPath | None = None
    is_weights: ConfigPath | None = None

    labels: ClassVar[Mapping[Metric, str]] = {
        "fd": "FID", "is": "IS", "kid": "KID", "precision": "precision", "recall": "recall",
        "memorised": "memorised",
    }  # fmt: skip
    num_published_features: ClassVar[int | None] = FEATURES
    memory_mb: ClassVar[int] = 8000
    minutes: ClassVar[int] = 120
    uses_gpu: ClassVar[bool] = True

    @property
    def flops(self) -> int:
        """Those of either network, up to the features."""
        return FLOPS

    def files(self) -> dict[str, str]:
        """Return the files of weights."""
        named = {"fid_weights": self.fid_weights, "is_weights": self.is_weights}
        return {key: path for key, path in named.items() if path is not None}

    def passes(self, metrics: Collection[Metric]) -> int:
        """pytorch-fid's network, and torch-fidelity's where a metric other than FID is asked for."""
        return ("fd" in metrics) + bool({*metrics} - {"fd"})

    def create(self, metrics: Collection[Metric], trained: Path | None) -> Mapping[Metric, FeatureExtractor]:
        """Build each network only if it is asked for."""
        from sadpm.extractors.looking.inception import pytorch_fid_extractor, torch_fidelity_extractor

        found: dict[Metric, FeatureExtractor] = {}
        if "fd" in metrics:
            found["fd"] = pytorch_fid_extractor(self.fid_weights)
        if others := [metric for metric in metrics if metric != "fd"]:
            found |= dict.fromkeys(others, torch_fidelity_extractor(self.is_weights))
        return found
