"""What jobs hand on to each other, by its hashes in their reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadpm.config.grid import Cell
from sadpm.config.reports import Report
from sadpm.running.files import UserError

Records = Mapping[Report, Mapping[str, Any]]
"""The contents of the reports."""

Key = tuple[str, str]
"""A file that jobs hand on: the data set or run, and what it is of it."""


def inputs_of(report: Report, content: Mapping[str, Any]) -> dict[Key, str]:
    """Return the hashes of what a job has read, as far as its report has them."""
    found = {}
    for name, sha256 in content["provenance"]["inputs"].items():
        of_dataset = name in ("images", "held_out", "reference", "published")
        key = report.dataset if of_dataset else report.about, name
        if name.startswith("tuned "):  # perhaps of another run
            _, run, pack = name.split(" ")
            key = run, f"tuned {pack}"
        found[key] = sha256
    for score in content["scores"] if report.rule == "score" else ():
        found[report.about, f"samples {Cell(**score['cell']).draw}"] = score["provenance"]["inputs"]["samples"]
    return found


def outputs_of(report: Report, content: Mapping[str, Any]) -> dict[Key, str | None]:
    """Return what a job hands on to others; None where only those that read it know the hash."""
    match report.rule:
        case "prepare_data":
            return {(report.about, "images"): content["sha256"]}
        case "prepare_held_out":
            return {(report.about, "held_out"): content["sha256"]}
        case "train" | "import_model":
            return {(report.about, "model"): None}
        case "fit_covariances":
            return {(report.about, report.name): None}
        case "tune":
            return {(report.about, f"tuned {report.name}"): None}
        case "measure_reference":
            return {(report.about, "reference"): None}
        case "sample" | "join_parts":
            draws = {Cell(**draw["cell"]).draw: draw["sha256"] for draw in content["draws"]}
            return {(report.about, f"samples {draw}"): sha256 for draw, sha256 in draws.items()}
        case "score" if "influence" in content:
            return {(report.about, f"influence {report.name}"): content["influence"]["sha256"]}
        case "measure_likelihood":
            return {(report.about, f"influence of bounds {report.name}"): content["influence"]["sha256"]}
    return {}


def hashes(records: Records) -> dict[Key, str]:
    """Return the hash of each file that jobs hand on.

    Raises:
        UserError: a report is none of its job, or two jobs have seen different files, so they are not of one run.
    """
    found: dict[Key, tuple[str, str]] = {}
    for report, content in records.items():
        try:
            told = [*outputs_of(report, content).items(), *inputs_of(report, content).items()]
        except (AttributeError, LookupError, TypeError):
            raise UserError(
                f"{report.path}: not the report of a job of {report.rule}; delete it, and the workflow makes it again"
            ) from None
        for (about, name), sha256 in told:
            if sha256 is None:
                continue
            other, place = found.setdefault((about, name), (sha256, report.path))
            if other != sha256:
                raise UserError(
                    f"{place} and {report.path} tell of different {name} of {about}, so one of them is left from "
                    "earlier; delete both, and the workflow makes them again"
                )
    return {key: sha256 for key, (sha256, _) in found.items()}
