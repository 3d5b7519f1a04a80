"""What is known of the real images: measured here, or imported from a published file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sadpm.extractors.looking.features import FeatureExtractor, Rows
from sadpm.metrics.features import FloatArray
from sadpm.metrics.frechet import checked_gaussian, covariance_factor
from sadpm.running.files import UserError, sha256


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images as metrics see them.

    Attributes:
        mean, covariance: (d,) and (d, d) float64, of the features that "fd" compares.
        n: how many images; None where a published file does not say.
        facts: strings: ``extractor``, ``weights_sha256``, ``preprocessing``, ``dataset_sha256``; the first two of
            ``features`` with that prefix. Of an imported file only ``extractor``, ``published`` (its name) and
            ``published_sha256`` are known.
        features: (n, d), of all images, for the metrics of ``BY_FEATURES``; None where none was kept.
    """

    mean: FloatArray
    covariance: FloatArray
    n: int | None
    facts: Mapping[str, str]
    features: Rows | None = None

    @property
    def is_published(self) -> bool:
        """Whether the statistics were imported, so that nothing is known of how they were made."""
        return "published_sha256" in self.facts

    def save(self, file: IO[bytes]) -> None:
        """Write an npz with pytorch-fid's names ``mu`` and ``sigma``, and beside them ``n``, facts and features."""
        known = {key: value for key, value in (("n", self.n), ("features", self.features)) if value is not None}
        contents: dict[str, Any] = {"mu": self.mean, "sigma": self.covariance, **known, **self.facts}
        np.savez(file, **contents)

    def check(self, path: Path, extractor: FeatureExtractor, prefix: str = "") -> None:
        """Refuse to compare with samples that this extractor looks at.

        Args:
            path: this reference's file, for the message.
            extractor: what looks at the samples.
            prefix: "" for mean and covariance, "features_" for the features.

        Raises:
            UserError: it was made with another extractor, other weights or another preprocessing.
        """
        expected: dict[str, str] = {"extractor": extractor.name}
        if not self.is_published:
            expected |= {prefix + name: fact for name, fact in extractor.facts().items()}
        for name, value in expected.items():
            if (found := self.facts.get(name)) != value:
                raise UserError(
                    f"{path}: made with {name} {found!r}, and samples would be scored with {value!r}; "
                    "delete it to have it made again"
                )


def load_reference(path: Path, with_features: bool = False) -> Reference:
    """Read what `Reference.save` wrote; the features, which may be large, only if asked for and there.

    Raises:
        UserError: the file is missing, damaged or not of this kind.
    """
    contents = _read(path, ("mu", "sigma"), () if with_features else ("features",))
    mean, covariance = _gaussian(path, contents)
    n, features = contents.pop("n", None), contents.pop("features", None)
    facts = {name: str(value) for name, value in contents.items()}
    return Reference(mean, covariance, None if n is None else int(n), facts, features)


def import_published(path: Path, extractor: str, num_features: int) -> Reference:
    """Read a published npz of an extractor's statistics: ``mu`` (d,), ``sigma`` (d, d) and, if given, ``n``.

    Raises:
        UserError: the file is missing or damaged, has not these arrays, or they are not those of a Gaussian.
    """
    contents = _read(path, ("mu", "sigma"))
    mean, covariance = _gaussian(path, contents)
    if mean.size != num_features:
        raise UserError(f"{path}: mu has {mean.size} numbers, statistics of {extractor!r} have {num_features}")
    try:
        covariance_factor(covariance)
    except ValueError as error:
        raise UserError(f"{path}: sigma is no covariance: {error}") from error
    n = contents.get("n")
    if n is not None and (n.size != 1 or n.dtype.kind not in "iu" or n < 2):
        raise UserError(f"{path}: n must be the number of images, a whole number of 2 or more, not {n}")
    facts = {"extractor": extractor, "published": path.name, "published_sha256": sha256(path)}
    return Reference(mean, covariance, None if n is None else int(n), facts)


def _read(path: Path, required: Iterable[str], left_out: Iterable[str] = ()) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            contents = {key: archive[key] for key in archive.files if key not in left_out}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz file ({error})") from error
    if missing := [key for key in required if key not in contents]:
        raise UserError(f"{path}: no {', '.join(missing)} in this npz, found {', '.join(contents)}")
    return contents


def _gaussian(path: Path, contents: dict[str, Any]) -> tuple[FloatArray, FloatArray]:
    try:
        return checked_gaussian(contents.pop("mu"), contents.pop("sigma"), ("mu", "sigma"))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
