"""How the jobs of a run are shown: on a terminal in colours, elsewhere as plain lines that no width cuts off."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from sadpm.watch.look import Seen, Standing

COLOURS: Mapping[str, str] = {"running": "green", "failed": "bold red", "stopped": "yellow", "done": "dim"}
STANDINGS: Sequence[Standing] = get_args(Standing)
COLUMNS = ("job", "is", "at", "rate", "loss", "left", "GPU", "")


def view(seen: Sequence[Seen], title: str, snakemake: bool | None, every_job: bool, rows: int | None = None) -> Group:
    """Return what is shown.

    Args:
        seen: the jobs.
        title: which experiment.
        snakemake: whether the process is there that starts jobs; None where that is not known.
        every_job: also those that wait and are done; otherwise they are only counted.
        rows: lines that there are for jobs and the notes on them; None for any number, and notes beside the jobs.
    """
    listed = [one for one in seen if every_job or one.standing in ("running", "failed", "stopped") or one.note]
    listed.sort(key=lambda one: STANDINGS.index(one.standing))
    left_out = 0 if rows is None else max(0, len(listed) - rows // 2)
    listed = listed[: len(listed) - left_out]
    parts: list[Text | Table] = [_heading(seen, title, snakemake)]
    if listed:
        parts += [Text(), _jobs(listed, with_notes=rows is None)]
    if listed and rows is not None:
        parts += [Text(), *(_note(one) for one in listed if one.note)]
    if left_out:
        parts.append(Text(f"and {left_out} more, which `--once` shows", style="dim"))
    return Group(*parts, Text(), _rules(seen))


def plain(shown: Group) -> str:
    """Return what is shown as text without colours."""
    console = Console(file=io.StringIO(), width=10_000, color_system=None)
    with console.capture() as capture:
        console.print(shown)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def duration(seconds: float) -> str:
    """Return a time in the two largest of its units."""
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s" if minutes else f"{round(seconds)} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def _heading(seen: Iterable[Seen], title: str, snakemake: bool | None) -> Text:
    counts = Counter(one.standing for one in seen)
    told = ", ".join(f"{counts[standing]} {standing}" for standing in STANDINGS if counts[standing])
    open_jobs = counts.total() - counts["done"]
    words = {True: "Snakemake runs", False: "Snakemake does not run", None: "Snakemake was started on another machine"}
    return Text(f"{title}: {told or 'no jobs'}" + (f"; {words[snakemake]}" if open_jobs else ""), style="bold")


def _jobs(listed: Iterable[Seen], with_notes: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in COLUMNS:
        amount = name in ("at", "rate", "loss", "left", "GPU")
        table.add_column(name, justify="right" if amount else "left", no_wrap=amount)
    for one in listed:
        cells = [one.job.name, one.standing, *_amounts(one), *([one.note] if with_notes else [])]
        # Text, because a message may hold what would be markup.
        table.add_row(*map(Text, cells), style=COLOURS.get(one.standing, ""))
    return table


def _note(one: Seen) -> Text:
    return Text(f"{one.job.name}: {one.note}", style=COLOURS.get(one.standing, ""), overflow="fold")


def _amounts(one: Seen) -> tuple[str, str, str, str, str]:
    """Step, rate, losses, time left, and the GPU's memory."""
    status, left = one.status, one.seconds_left
    running = one.standing == "running"
    return (
        _at(status) if one.standing != "waiting" else "",
        f"{status['rate']:.3g} {status.get('unit', '')}/s" if running and status.get("rate") else "",
        _losses(status.get("losses") or {}),
        duration(left) if left is not None else "",
        _memory(status.get("gpu")) if running else "",
    )


def _at(status: Mapping[str, Any]) -> str:
    total, done = status.get("total"), status.get("done", 0)
    if not total:
        return ""
    return f"{done:,} of {total:,} ({done / total:.0%})"


def _losses(losses: Mapping[str, float]) -> str:
    """The loss, or where several things are learned at once, each with its name."""
    if "loss" in losses:
        return f"{losses['loss']:.4g}"
    return ", ".join(f"{name} {loss:.4g}" for name, loss in losses.items())


def _memory(gpu: Mapping[str, float] | None) -> str:
    return f"{gpu['taken'] / 2**30:.1f} of {gpu['total'] / 2**30:.0f} GiB" if gpu else ""


def _rules(seen: Iterable[Seen]) -> Table:
    """How many jobs of each rule are at what."""
    counts: dict[str, Counter[str]] = {}
    for one in seen:
        counts.setdefault(one.job.rule, Counter())[one.standing] += 1
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rule")
    for standing in STANDINGS:
        table.add_column(standing, justify="right")
    for rule, of_rule in counts.items():
        cells = [Text(f"{of_rule[standing] or ''}", style=COLOURS.get(standing, "")) for standing in STANDINGS]
        table.add_row(rule, *cells)
    return table
