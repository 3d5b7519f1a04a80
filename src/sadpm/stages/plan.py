"""Write what an experiment will cost, before any of it runs."""

from __future__ import annotations

import csv as csv_format
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from sadpm.config.experiment import Config
from sadpm.cost.graph import outputs_of
from sadpm.cost.plan import EVERYTHING, Cost, Row, Throughput, plan_rows, precisions_of
from sadpm.kinds.section import ConfigError
from sadpm.running.files import UserError, provenance, read_json, write_json, write_text
from sadpm.stages import command

COLUMNS = (
    "target",
    "rule",
    "dataset",
    "jobs",
    "network_calls",
    "flops",
    "hours",
    "bytes",
    "complete",
    "device",
    "measured",
)
HEADINGS = ("jobs", "network calls", "FLOPs", "hours", "disk")
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def plan(
    params: Config, snakefile: str, markdown: Path, csv: Path, report: Path, throughput: Sequence[Path] = ()
) -> None:
    """Write the plan as Markdown and CSV, and print its first part.

    ``snakefile`` is the path or address of the workflow, ``throughput`` at most one measurement.
    """
    speed = read_throughput(throughput[0]) if throughput else Throughput.assumed(params)
    try:
        rows = plan_rows(params, outputs_of(params, snakefile), speed)
    except ConfigError as error:
        raise UserError(str(error)) from None
    summary = "\n\n".join([f"# Plan of {params.experiment}", *notes(params, speed), by_target(params, rows)])
    details = "\n\n".join(
        ["## Everything by rule and data set", by_rule(rows), "## Everything by data set", by_dataset(rows)]
    )
    write_text(markdown, f"{summary}\n\n{details}\n")
    write_text(csv, as_csv(rows, speed))
    write_json(report, {"provenance": provenance(params)})
    print(f"{summary}\n\n{markdown} has it by rule and data set, {csv} all numbers.")


def read_throughput(path: Path) -> Throughput:
    """Read what ``benchmarks/throughput.py`` wrote, or the part of ``benchmarks/bench.py``'s file that says the same.

    Raises:
        UserError: the file can't be read, or is something else.
    """
    content = read_json(path)
    if isinstance(content, dict) and "cases" in content:
        content = content.get("throughput", {})
    try:
        return Throughput.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"{path}: not a file of benchmarks/throughput.py, nor one of benchmarks/bench.py with its cases `training`"
            f" and `sampling` ({error})"
        ) from None


def notes(config: Config, throughput: Throughput) -> list[str]:
    """Return what the numbers suppose, and what they leave out."""
    shapes = {f"`{name}`": dataset.source.shape() for name, dataset in config.datasets.items()}
    lines = [_about_speed(config, throughput)]
    if absent := ", ".join(name for name, shape in shapes.items() if shape is None):
        lines.append(f"The files of {absent} are not there yet: what depends on the images' size is left out (≥).")
    if uncounted := ", ".join(name for name, shape in shapes.items() if shape and shape.number is None):
        lines.append(
            f"How many images there are is not known before they are read: the disk of {uncounted} and the"
            " measurement of their reference are left out (≥)."
        )
    return [*lines, "Hours are of one device. `docs/plan.md` says what is counted and what is not."]


def _about_speed(config: Config, throughput: Throughput) -> str:
    speeds = {name: throughput.of(name) for name in config.datasets}
    if not throughput.measured:
        tflops = next(iter(speeds.values())).training / 1e12
        return (
            f"**Assumed, not measured:** {throughput.device} at {tflops:g} TFLOP/s in {throughput.dtype}, whatever the"
            " network. `benchmarks/throughput.py` measures your device, and `plan: {throughput: ..}` names its file."
        )
    parts = [
        f"{name} {speed.training / 1e12:.3g} in training and {speed.sampling / 1e12:.3g} in sampling"
        + ("" if name in throughput.networks else " (not measured: as the first)")
        for name, speed in speeds.items()
    ]
    measured = f"Measured on {throughput.device} in {throughput.dtype}, in TFLOP/s: {', '.join(parts)}."
    asked = precisions_of(config)
    return measured if throughput.dtype == asked else f"{measured} **The configuration asks for {asked}.**"


def by_target(config: Config, rows: Iterable[Row]) -> str:
    """Return a Markdown table of each table and figure alone, as if nothing were there yet, and of all together."""
    claims = ["claims"] if config.claims else []
    names = dict.fromkeys([*config.tables, *config.figures, *claims, EVERYTHING])
    return _table(("target",), _summed(rows, lambda row: (row.target,), start=names))


def by_rule(rows: Iterable[Row]) -> str:
    """Return a Markdown table of all jobs by rule and data set."""
    everything = [row for row in rows if row.target == EVERYTHING]
    return _table(("rule", "data set"), _summed(everything, lambda row: (row.rule, row.dataset or "all")))


def by_dataset(rows: Iterable[Row]) -> str:
    """Return a Markdown table of the jobs of each data set."""
    everything = [row for row in rows if row.target == EVERYTHING and row.dataset]
    return _table(("data set",), _summed(everything, lambda row: (row.dataset,)))


def as_csv(rows: Iterable[Row], throughput: Throughput) -> str:
    """Return all rows, with the device that the hours are of."""
    text = io.StringIO()
    writer = csv_format.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for target, rule, dataset, cost in rows:
        writer.writerow([target, rule, dataset, *vars(cost).values(), throughput.device, throughput.measured])
    return text.getvalue()


Places = dict[tuple[str, ...], Cost]


def _summed(rows: Iterable[Row], key: Callable[[Row], tuple[str, ...]], start: Iterable[str] = ()) -> Places:
    sums: Places = {(name,): Cost() for name in start}
    for row in rows:
        sums[key(row)] = sums.get(key(row), Cost()) + row.cost
    return sums


def _table(names: Sequence[str], sums: Places) -> str:
    header = [[*names, *HEADINGS], ["---"] * len(names) + ["---:"] * len(HEADINGS)]
    body = [[*place, *_cells(cost)] for place, cost in sums.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in header + body)


def _cells(cost: Cost) -> list[str]:
    least = "" if cost.complete else "≥ "
    amounts = [_amount(cost.flops, "FLOP"), _hours(cost.hours), _amount(cost.bytes, "B")]
    return [f"{cost.jobs:,}", _amount(cost.calls), *(least + amount for amount in amounts)]


def _amount(value: float, unit: str = "") -> str:
    """Three digits with a decimal prefix."""
    power = 0
    while value >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}".strip()


def _hours(hours: float) -> str:
    if 0 < hours < 0.001:
        return "< 0.001"
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


if __name__ == "__main__":
    command(plan)
