"""What the workflow's jobs took, from the benchmark files that Snakemake writes, beside what was planned."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sadpm.config.jobs import RULES
from sadpm.running.files import UserError

COLUMNS = {"wall": "s", "cpu": "cpu_time", "memory": "max_rss"}
"""Snakemake's names of seconds, CPU seconds and MB of resident memory."""


class Measured(NamedTuple):
    """One job of the workflow: its rule, data set and run ("" where it has none), seconds and MB; NaN if unknown."""

    rule: str
    dataset: str
    run: str
    wall: float
    cpu: float
    memory: float


class Sum(NamedTuple):
    """A sum, or a maximum, and from how many jobs it is missing."""

    value: float
    missing: int = 0


@dataclass(frozen=True)
class RuleCost:
    """What all jobs of a rule took; ``planned`` are the plan's numbers of them, empty where there is no plan."""

    rule: str
    jobs: int
    wall: Sum
    cpu: Sum
    memory: Sum
    planned: Mapping[str, str]


def rule_of(file: Path) -> str:
    """Return the rule whose job wrote a benchmark file or a log."""
    if file.parent.name in ("tables", "figures"):
        return file.parent.name.removesuffix("s")
    name = file.stem.split("-")[0]
    return "sample_part" if name == "sample" and re.search(r"\.part\d+-of-\d+$", file.stem) else name


def measured_jobs(
    folder: Path, runs: Collection[str], tables: Collection[str], figures: Collection[str]
) -> list[Measured]:
    """Return the jobs with a benchmark file below a folder that belong to these runs, tables and figures, or to claims.

    Others are of an earlier configuration, or no part of the data flow; an earlier page is not told of.

    Raises:
        UserError: a file is not one of Snakemake's benchmarks.
    """
    datasets, found = {run.split("/")[0] for run in runs}, []
    for file in sorted(folder.rglob("*.tsv")):
        place = file.parent.relative_to(folder).as_posix()
        run = place if place in runs else ""
        dataset = place.split("/")[0] if run or place in datasets else ""
        outputs = {"tables": {*tables, *figures}, "figures": figures, ".": ("claims",)}
        is_output = file.stem in outputs.get(place, ())
        rule = "theory_table" if place == "tables" and file.stem in figures else rule_of(file)
        if rule in RULES and (dataset or is_output):
            found.append(Measured(rule, dataset, run, *_numbers(file)))
    return found


def by_rule(jobs: Sequence[Measured], plan: Mapping[str, Mapping[str, str]]) -> list[RuleCost]:
    """Return one line for each rule that was run or planned, in the order of the data flow."""
    rules = [rule for rule in RULES if rule in plan or any(job.rule == rule for job in jobs)]
    return [_summed(rule, [job for job in jobs if job.rule == rule], plan.get(rule, {})) for rule in rules]


def total(jobs: Sequence[Measured], plan: Mapping[str, Mapping[str, str]]) -> RuleCost:
    """Return the line of all jobs together."""
    planned = {
        "jobs": str(sum(int(row["jobs"]) for row in plan.values())),
        "hours": repr(math.fsum(float(row["hours"]) for row in plan.values())),
        "complete": str(all(row["complete"] == "True" for row in plan.values())),
    }
    return _summed("total", jobs, planned if plan else {})


def read_plan(path: Path) -> dict[str, dict[str, str]]:
    """Return what ``plan.csv`` says of each rule, all data sets together: jobs, hours, complete, device, measured.

    Raises:
        UserError: it is no plan.
    """
    found: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["target"] == "all"]
        for row in rows:
            before = found.get(row["rule"], {"jobs": "0", "hours": "0", "complete": "True"})
            found[row["rule"]] = {
                "jobs": str(int(before["jobs"]) + int(row["jobs"])),
                "hours": repr(float(before["hours"]) + float(row["hours"])),
                "complete": str(before["complete"] == row["complete"] == "True"),
                "device": row["device"],
                "measured": row["measured"],
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a plan ({error!r}); delete it, or make it again with `snakemake plan`") from None
    return found


def _numbers(file: Path) -> list[float]:
    """Seconds, CPU seconds and MB of the last try; what Snakemake could not measure is "-" or "NA"."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            *_, row = csv.DictReader(stream, delimiter="\t")
        return [math.nan if row[name] in ("-", "NA", "") else float(row[name]) for name in COLUMNS.values()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not one of Snakemake's benchmark files ({error!r}); delete it") from None


def _summed(rule: str, jobs: Sequence[Measured], planned: Mapping[str, str]) -> RuleCost:
    def known(name: str) -> list[float]:
        return [value for job in jobs if not math.isnan(value := getattr(job, name))]

    wall, cpu, memory = known("wall"), known("cpu"), known("memory")
    return RuleCost(
        rule,
        len(jobs),
        wall=Sum(math.fsum(wall), len(jobs) - len(wall)),
        cpu=Sum(math.fsum(cpu), len(jobs) - len(cpu)),
        memory=Sum(max(memory, default=0.0), len(jobs) - len(memory)),
        planned=planned,
    )
