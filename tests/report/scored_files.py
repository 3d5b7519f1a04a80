"""Score files, and files of influence values beside them, as the scoring stage writes them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sadpm.metrics.uncertainty import standard_error
from sadpm.running.files import sha256, write_json


def make_score(cell: Any, value: float, metric: str = "fd", **changes: Any) -> dict[str, Any]:
    """What a score file says of one cell; ``changes`` are those of its metric."""
    recipe: dict[str, Any] = {
        "name": "sa-dpm", "timesteps": "uniform", "clip_sample": False, "max_variance_pixels": None
    }  # fmt: skip
    if cell.covariance != "fixed":
        pixels = 2.0 if cell.sampler == "ddpm" else 1.0
        recipe = {"name": "bao", "timesteps": "linear", "clip_sample": True, "max_variance_pixels": pixels}
    measured = {"value": value, "label": "FD (digits classifier)", "n": 1000, "reference_n": 1797}
    if metric != "fd":
        measured = {"value": value, "std": 0.2, "splits": 10, "label": "IS (digits classifier)", "n": 1000}
    return {
        "cell": cell.as_dict(),
        "recipe": recipe,
        "metrics": {metric: {**measured, "standard_error": None, "no_error": "it is a test", **changes}},
        "network_calls": cell.steps,
        "seconds": 1.25,
        "device": "cpu",
        "provenance": {
            "code": "0.1.0+abc", "python": "3.11.7", "job": {},
            "inputs": {"samples": "5a" * 32, "model": "30" * 32, "reference": "4e" * 32},
        },
    }  # fmt: skip


def write_scores(
    folder: Path, entries: Iterable[Mapping[str, Any]], metric: str = "fd", damage: bytes | None = None
) -> tuple[list[Path], list[Path]]:
    """Write one pair of files for each run and return the paths of scores and of influence values.

    An entry has a cell, its value, and influence values (n,) or None; what else it has are changes of the metric.
    ``damage`` is written in place of the influence values.
    """
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        runs.setdefault(entry["cell"].run, []).append(entry)
    paths: tuple[list[Path], list[Path]] = ([], [])
    for run, held in runs.items():
        scores, influence = (folder / run / f"all{ending}" for ending in (".json", ".influence.npz"))
        scores.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"{e['cell'].draw}/{metric}": np.float32(e["influence"]) for e in held if e["influence"] is not None}
        np.savez(influence, **arrays)  # type: ignore[arg-type]
        if damage is not None:
            influence.write_bytes(damage)
        contents = [_score(entry, metric) for entry in held]
        write_json(scores, {"scores": contents, "influence": {"sha256": sha256(influence)}})
        for found, path in zip(paths, (scores, influence), strict=True):
            found.append(path)
    return paths


def _score(entry: Mapping[str, Any], metric: str) -> dict[str, Any]:
    changes = dict(entry)
    cell, value, influence = (changes.pop(key) for key in ("cell", "value", "influence"))
    if influence is not None and "standard_error" not in changes:
        changes |= {"n": len(influence), "standard_error": standard_error(influence), "no_error": None}
    return make_score(cell, value, metric, **changes)
