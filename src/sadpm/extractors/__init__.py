"""What looks at images for the metrics: the pixels, a small classifier, or Inception. Takes no time to import."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from sadpm.kinds.section import ConfigPath, Section

METRICS_OF_EXTRACTOR: Mapping[str, tuple[str, ...]] = {
    "pixels": ("fd",),
    "classifier": ("fd", "is"),
    "inception": ("fd", "is", "kid", "precision", "recall"),
}


class InceptionWeights(Section):
    """Files of Inception weights, where they are not in the packages' usual cache."""

    fid: ConfigPath | None = None
    inception_score: ConfigPath | None = Field(None, alias="is")
