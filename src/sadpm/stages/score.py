"""Score the samples of one model."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sadpm.config.grid import Cell
from sadpm.config.jobs import ScoreJob
from sadpm.extractors import BY_FEATURES
from sadpm.extractors.looking.features import FeatureExtractor, Pixels
from sadpm.extractors.looking.references import Reference, load_reference
from sadpm.extractors.looking.scores import Score, score_images
from sadpm.kinds.section import Metric
from sadpm.running.files import UserError, provenance, read_json, sha256, write_atomically, write_json
from sadpm.sources.reading.prepared import load_samples
from sadpm.stages import command


def score(
    params: ScoreJob,
    samples: Path,
    report: Path,
    reference: Path,
    scores: Path,
    influence: Path,
    weights: Sequence[Path] = (),
    images: Sequence[Path] = (),
) -> None:
    """Write every metric of each cell with its error, n, recipe, cost and provenance, and each image's part in it.

    Weights is what the extractor has learned, where it is trained; images is the data set of which the reference must
    be, and is needed unless the reference was published.
    """
    looking = params.extractor.looking(params.metrics, next(iter(weights), None))
    real = checked_reference(reference, looking, images)
    made, sampling, pixels = provenance(params, reference=reference), read_json(report), load_samples(samples)
    drawn, notes = sampling["provenance"], precision_notes(sampling)
    if [Cell(**draw["cell"]) for draw in sampling["draws"]] != list(params.cells) or len(pixels) != len(params.cells):
        raise UserError(f"{samples}: holds other cells than are to be scored; delete it to have it made again")
    contents = []
    parts: dict[str, Any] = {}
    for recipe, found, draw, chain in zip(
        params.recipes, pixels, sampling["draws"], drawn["job"]["chains"], strict=True
    ):
        if draw["sha256"] != hashlib.sha256(found).hexdigest():
            raise UserError(f"{samples}: not the file that {report} describes; delete both to have them made again")
        fitted = [sha for file, sha in drawn["inputs"].items() if chain["fit"] in file.split("+")]
        covariance = {"covariance": fitted[0]} if fitted else {}
        inputs = {"samples": draw["sha256"], "model": drawn["inputs"]["model"], **covariance, **made["inputs"]}
        name = Cell(**draw["cell"]).draw
        scored = checked_scores(f"{samples}: {name}", found, looking, params.extractor.labels, real)
        parts |= {f"{name}/{key}": score.influence for key, score in scored.items() if score.influence is not None}
        parts |= {
            f"{name}/{key}/{what}": found for key, score in scored.items() for what, found in score.details.items()
        }
        content = {
            "cell": draw["cell"],
            "recipe": {"name": recipe, **recipe_of(chain), **({"tuned": draw["tuned"]} if "tuned" in draw else {})},
            "metrics": {key: {**score.entry, **noted(score.entry, notes)} for key, score in scored.items()},
            **{key: draw[key] for key in ("network_calls", "seconds")},
            "device": sampling["device"],
            "provenance": {"code": made["code"], "inputs": inputs},
        }
        contents.append(content)
    write_atomically(influence, lambda file: np.savez(file, **parts))
    kept = {"file": influence.name, "sha256": sha256(influence)}
    write_json(scores, {"scores": contents, "influence": kept, "provenance": {**made, "sampling": drawn}})


def checked_reference(path: Path, extractors: Mapping[Metric, FeatureExtractor], images: Sequence[Path]) -> Reference:
    """Read what is known of the real images, and refuse what can't be compared with the samples.

    Raises:
        UserError: the file was made with another extractor, other weights, another preprocessing or other images, or
            has no features where a metric needs them.
    """
    by_features = sorted(BY_FEATURES.intersection(extractors))
    reference = load_reference(path, with_features=bool(by_features))
    if "fd" in extractors:
        reference.check(path, extractors["fd"])
    if by_features and reference.features is None:
        raise UserError(f"{path}: has no features of the real images, which {', '.join(by_features)} need; delete it")
    for metric in by_features:
        reference.check(path, extractors[metric], "features_")
    if not reference.is_published:
        if len(images) != 1:
            raise UserError(f"{path}: was measured here, so give the file of images that it must be of")
        if (found := reference.facts.get("dataset_sha256")) != (expected := sha256(images[0])):
            raise UserError(
                f"{path}: made of a data set with sha256 {found}, and {images[0]} has {expected}; delete it"
            )
    return reference


def checked_scores(
    what: str,
    images: Pixels,
    extractors: Mapping[Metric, FeatureExtractor],
    labels: Mapping[Metric, str],
    reference: Reference,
) -> dict[Metric, Score]:
    """Return the metrics of the images of a cell, each a number that can be relied on; ``what`` is for messages.

    Raises:
        UserError: they can't be computed, or one of them is not finite.
    """
    try:
        scores = score_images(images, extractors, labels, reference)
    except ValueError as error:
        raise UserError(f"{what}: can't be scored: {error}") from error
    for result in (score.entry for score in scores.values()):
        for key in ("value", "standard_error"):
            if result[key] is not None and not math.isfinite(result[key]):
                raise UserError(f"{what}: the {key} of its {result['label']} is {result[key]}; look at the samples")
    return scores


def precision_notes(sampling: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of the precision in which samples were drawn; nothing if it is float32, as asked."""
    execution = sampling.get("execution", {})
    used, refused = execution.get("precision", "float32"), execution.get("not_used", {}).get("precision")
    if refused:
        return [f"networks computed in {used}, not in {refused}"]
    return [f"networks computed in {used}"] if used != "float32" else []


def noted(entry: Mapping[str, Any], notes: Sequence[str]) -> dict[str, list[str]]:
    """Return the notes of a metric with further ones; nothing where there are none to add."""
    return {"notes": [*entry.get("notes", ()), *notes]} if notes else {}


def recipe_of(chain: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a chain was run, from the report of the sampling job."""
    recipe = chain["recipe"]
    pixels = recipe["max_variance_pixels"].get(chain["sampler"]["kind"])
    return {"timesteps": recipe["timesteps"], "clip_sample": recipe["clip_sample"], "max_variance_pixels": pixels}


if __name__ == "__main__":
    command(score, report="scores")
