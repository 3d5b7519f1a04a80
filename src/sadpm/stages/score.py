"""Score sets of samples of one model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sadpm.artifacts import UserError, code_version, read_json, sha256, write_json
from sadpm.data import load_pixels
from sadpm.extractors import LABELS, extract_features
from sadpm.grid import Cell
from sadpm.jobs import Extractor, ScoreJob
from sadpm.metrics import FeatureStatistics, frechet_distance, inception_score
from sadpm.stages import command

SPLITS = 10


def score(
    params: ScoreJob,
    samples: Sequence[Path],
    reports: Sequence[Path],
    reference: Path,
    scores: Sequence[Path],
    weights: Sequence[Path] = (),
) -> None:
    """Write every metric of each cell with its n, recipe, cost and provenance."""
    classifier = weights[0] if weights else None
    statistics = load_reference(reference, params.extractor, classifier)
    for draw, recipe, path, report, out in zip(params.draws, params.recipes, samples, reports, scores, strict=True):
        sampling, images = read_json(report), load_pixels(path)
        if sampling["sha256"] != sha256(path):
            raise UserError(f"{path}: not the file that {report} describes; delete both to have them made again")
        cell = Cell(params.dataset, params.model, params.seed, draw.sampler, draw.covariance, draw.steps)
        inputs = {"samples": sampling["sha256"], **sampling["provenance"]["inputs"], "reference": sha256(reference)}
        content = {
            "cell": cell.as_dict(),
            "recipe": {"name": recipe, **recipe_of(sampling)},
            "metrics": metrics_of(params.extractor, images, statistics, classifier),
            **{key: sampling[key] for key in ("network_calls", "seconds", "device")},
            "provenance": {"code": code_version(), "sampling": sampling["provenance"], "inputs": inputs},
        }
        write_json(out, content)


def load_reference(path: Path, extractor: str, weights: Path | None) -> FeatureStatistics:
    """Read the real images' statistics, and refuse those of another extractor."""
    try:
        statistics = FeatureStatistics.load(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}; delete it to have it made again") from error
    expected = {"extractor": extractor, "weights_sha256": sha256(weights) if weights else ""}
    for name, value in expected.items():
        if (found := statistics.metadata.get(name)) != value:
            raise UserError(f"{path}: made with {name} {found!r}, and samples would be scored with {value!r}")
    return statistics


def metrics_of(
    extractor: Extractor, images: np.ndarray, reference: FeatureStatistics, weights: Path | None
) -> dict[str, Any]:
    """Return the Frechet distance and, where there are logits, the Inception Score."""
    features, logits = extract_features(extractor, images, weights)
    sampled = FeatureStatistics()
    sampled.update(features)
    label, n = LABELS[extractor], len(images)
    distance = frechet_distance(sampled.mean, sampled.covariance, reference.mean, reference.covariance)
    metrics: dict[str, Any] = {"fd": {"value": distance, "label": f"FD ({label})", "n": n, "reference_n": reference.n}}
    if logits is not None:
        mean, std = inception_score(logits, min(SPLITS, n))
        metrics["is"] = {"value": mean, "std": std, "splits": min(SPLITS, n), "label": f"IS ({label})", "n": n}
    return metrics


def recipe_of(sampling: dict[str, Any]) -> dict[str, Any]:
    """Return how the chain was run, from the report of the sampling job."""
    (chain,) = sampling["provenance"]["job"]["chains"]
    recipe = chain["recipe"]
    pixels = recipe["max_variance_pixels"].get(chain["sampler"]["family"])
    return {"timesteps": recipe["timesteps"], "clip_sample": recipe["clip_sample"], "max_variance_pixels": pixels}


if __name__ == "__main__":
    command(score)
