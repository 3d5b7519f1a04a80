"""What was measured, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADINGS = ("case", "side", "time", "quartiles", "times the first", "quartiles", "floor", "reached")
NONE = "-"
NAMED = {"float32": "float32", "tf32": "TF32", "bfloat16": "bfloat16"}


def markdown(content: Mapping[str, Any]) -> str:
    """Return the whole result of a run as Markdown."""
    lines = [f"{about(content['machine'])} {of_rates(content['rates'])}", "", *table(content["cases"])]
    if left_out := [case for case in content["cases"] if "left_out" in case]:
        lines += ["", "Left out:", ""]
        lines += [f"* {title(case)}: {case['left_out']}" for case in left_out]
    return "\n".join(lines) + "\n"


def about(machine: Mapping[str, Any]) -> str:
    """Return a sentence on the machine."""
    device = "CPU" if machine["device"] == "cpu" else machine["device"]
    cuda = f" with CUDA {machine['cuda']}" if machine["cuda"] else ""
    commit = (machine["commit"] or "of no checkout") + (", with changes" if machine["dirty"] else "")
    return (
        f"{device}; processor {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads of torch;"
        f" torch {machine['torch']}{cuda}, Python {machine['python']}; commit {commit}; {machine['date']}."
    )


def of_rates(rates: Mapping[str, Any]) -> str:
    """Return a sentence on what the device can do at most."""
    products = ", ".join(f"{rate / 1e9:,.1f} GFLOP/s in {NAMED[name]}" for name, rate in rates["flops"].items())
    return f"Products of large matrices: {products}; a large copy: {rates['bytes'] / 1e9:,.1f} GB/s."


def table(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table with a row for each side."""
    rows = [HEADINGS, ("---", "---", *["---:"] * (len(HEADINGS) - 2))]
    for case in cases:
        if "left_out" in case:
            continue
        for place, side in enumerate(case["sides"]):
            rows.append((title(case) if place == 0 else "", side["side"], *_numbers(side, len(case["sides"]) > 1)))
        rows += [("", name, reason, *[NONE] * 5) for name, reason in case["absent"].items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def title(case: Mapping[str, Any]) -> str:
    """Return what was done, on what, and how much at once."""
    _, _, subject = case["name"].partition("/")
    what = f"{subject.split('/')[0]}: {case['about']}" if "/" in case["name"] else case["about"]
    batch = f", batch {case['batch']}" if case.get("batch") else ""
    precision = f", {NAMED[case['precision']]}" if case["precision"] != "float32" else ""
    return what + batch + precision


def _numbers(side: Mapping[str, Any], is_compared: bool) -> tuple[str, ...]:
    seconds, ratio, count = side["seconds"], side["times_the_first"], len(side["rounds"])
    spread = f"{time(seconds['low'])} to {time(seconds['high'])}, {count} rounds" if count > 1 else "one round"
    ratios = f"{ratio['low']:.2f} to {ratio['high']:.2f}" if is_compared and count > 1 else NONE
    floor = NONE if side["floor"] is None else time(side["floor"])
    reached = NONE if side["reached"] is None else f"{100 * side['reached']:.0f} %"
    return (
        time(seconds["median"]), spread, f"{ratio['median']:.2f}" if is_compared else NONE, ratios, floor, reached
    )  # fmt: skip


def time(seconds: float) -> str:
    """Return seconds with three digits and the unit in which they are readable."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
