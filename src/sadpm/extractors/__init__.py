"""What looks at images for the metrics: one kind in each module.

A kind says which metrics it gives and what tables call them; when a job needs it, it makes what does the looking
(:mod:`sadpm.extractors.looking`), whose networks and libraries take seconds to import.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from pydantic import BeforeValidator, SerializeAsAny

from sadpm.kinds import Axis, Kind
from sadpm.kinds.section import OF_LIKELIHOOD, Metric
from sadpm.running.files import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sadpm.extractors.looking.features import FeatureExtractor

BY_FEATURES: frozenset[Metric] = frozenset({"kid", "precision", "recall", "memorised"})
"""Metrics that compare the features of single images; the others need no more than statistics or logits."""


class Extractor(Kind):
    """Turns uint8 images into features, and perhaps logits."""

    labels: ClassVar[Mapping[Metric, str]]
    """The metrics that it gives, in order, each with what tables call it."""

    free: ClassVar[tuple[Metric, ...]] = ("fd",)
    """Metrics that are measured wherever it looks, because they cost nothing more."""

    is_trained: ClassVar[bool] = False
    """Whether it learns from the data set's labels first, in a job of its own."""

    num_published_features: ClassVar[int | None] = None
    """How many features published statistics of real images have; None where nobody publishes any."""

    memory_mb: ClassVar[int] = 2000
    """What a job that looks at images asks for, beside the other resources."""

    minutes: ClassVar[int] = 30
    """A walltime of such a job; scoring asks for ten minutes more for each cell."""

    uses_gpu: ClassVar[bool] = False
    """Whether a GPU makes it faster."""

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        known = [metric for metric in get_args(Metric) if metric not in OF_LIKELIHOOD]
        if unknown := {*getattr(cls, "labels", ())}.difference(known):
            raise TypeError(f"labels: no metric {', '.join(sorted(unknown))}; there are {', '.join(known)}")

    @property
    def flops(self) -> int:
        """Floating-point operations of one image through one network."""
        return 0

    def files(self) -> dict[str, str]:
        """Return files that the section names, by the key that does; each must be there before a job starts."""
        return {}

    def passes(self, metrics: Collection[Metric]) -> int:
        """Return how many networks look at an image for some metrics; 0 where they are not worth counting."""
        return 0

    @abstractmethod
    def create(self, metrics: Collection[Metric], trained: Path | None) -> Mapping[Metric, FeatureExtractor]:
        """Return what each of some metrics looks with; those that look alike share one.

        Args:
            metrics: some of `labels`.
            trained: what `train` left, for an extractor that is trained.

        Raises:
            UserError: weights are missing or damaged.
        """

    def train(self, images: NDArray[np.uint8], labels: NDArray[np.integer], weights: Path) -> dict[str, Any]:
        """Learn from images (n, H, W, C) and classes (n,), leave a file, and return what its report says.

        Raises:
            UserError: the images can't be learned from, or nothing was learned.
        """
        raise TypeError(f"nothing is trained for the extractor {self.kind!r}")

    def looking(self, metrics: Iterable[Metric], trained: Path | None = None) -> dict[Metric, FeatureExtractor]:
        """Return what each metric looks with, after a look at whether it is to be had; see :meth:`create`.

        Raises:
            UserError: a metric is not one of the kind's, a trained extractor's file was not given, or as `create`.
        """
        metrics = list(metrics)
        if refused := [metric for metric in metrics if metric not in self.labels]:
            raise UserError(f"the extractor {self.kind!r} gives {', '.join(self.labels)}, and not {', '.join(refused)}")
        if self.is_trained and trained is None:
            raise UserError(f"the extractor {self.kind!r} needs the file of its weights")
        return dict(self.create(metrics, trained))


EXTRACTORS: Axis[Extractor] = Axis(Extractor)  # type: ignore[type-abstract]
ExtractorSection = Annotated[SerializeAsAny[Extractor], BeforeValidator(EXTRACTORS.parse)]
"""A field of the configuration that holds one of the kinds."""
