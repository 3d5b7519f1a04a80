"""What each job of a run is at, by the files that are there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sadpm.running.status import INTERVAL, read_status, status_file
from sadpm.watch.jobs import FILE, ListedJob, Run

Standing = Literal["running", "failed", "stopped", "waiting", "done"]

SILENCE = 12
"""So many times its interval without a word, and a process is taken for gone."""

IDLE = 300
"""Seconds without a step after which a job that is alive is said to be at none."""


@dataclass(frozen=True)
class Seen:
    """One job and what it is at.

    Attributes:
        job: the job.
        standing: what it is at.
        status: what it says of itself, if anything.
        note: what else there is to know, in words.
    """

    job: ListedJob
    standing: Standing
    status: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Time until its last step at its rate; None where that is not known."""
        rate, total = self.status.get("rate"), self.status.get("total")
        return (total - self.status["done"]) / rate if rate and total and self.standing == "running" else None


def look(folder: Path, run: Run, now: float) -> list[Seen]:
    """Return what each job is at, in the order of the run; ``now`` is the time since the epoch in seconds."""
    begun = (folder / FILE).stat().st_mtime
    seen = {job.name: _seen(folder, job, begun, now) for job in run.jobs}
    # What is gone because all that needed it is made, such as the parts of samples, is done as well.
    for job in reversed(run.jobs):
        if seen[job.name].standing in ("done", "running"):
            seen |= {need: Seen(seen[need].job, "done") for need in job.needs}
    return list(seen.values())


def starts_jobs(run: Run) -> bool | None:
    """Return whether Snakemake is there still; None on another machine, where that can't be seen."""
    return _exists(run.pid) if run.host == socket.gethostname() else None


def is_alive(status: dict[str, Any], now: float) -> bool:
    """Return whether the process that wrote a status is there still, as far as can be seen from here.

    It writes every few seconds, wherever it is; where it is on this machine, it also has to be among the processes.
    """
    fresh = now - status["updated"] <= SILENCE * INTERVAL
    return fresh and (status["host"] != socket.gethostname() or _exists(status["pid"]))


def _seen(folder: Path, job: ListedJob, begun: float, now: float) -> Seen:
    outputs = [folder / output for output in job.outputs]
    found = [(status, path) for path in outputs if (status := read_status(status_file(path))) is not None]
    made = _made(outputs, since=begun if job.again else 0.0)
    if not found:
        return Seen(job, "done") if made is not None else _without_a_word(folder / job.log, job, begun, now)
    status, told_of = max(found, key=lambda one: one[0]["updated"])
    if made is not None and made >= status["updated"]:
        return Seen(job, "done")
    if status["state"] == "running" and is_alive(status, now):
        return Seen(job, "running", status, _at(status))
    goes_on = _goes_on(status, told_of.parent)
    if status["updated"] < begun:  # what became of it in an earlier run
        return Seen(job, "waiting", status, goes_on)
    if status["state"] == "failed":
        return Seen(job, "failed", status, f"{status.get('message', '')} (log: {folder / job.log})")
    return Seen(job, "stopped", status, f"{status.get('message') or 'killed?'}; {goes_on}")


def _made(outputs: Iterable[Path], since: float) -> float | None:
    """When the last of the outputs was made; None while one is missing, or older than the run that makes it again."""
    try:
        times = [path.stat().st_mtime for path in outputs]
    except OSError:
        return None
    return max(times) if min(times) >= since else None


def _without_a_word(log: Path, job: ListedJob, begun: float, now: float) -> Seen:
    """A job that says nothing has not begun, or is just starting, or has ended before it could."""
    try:
        written, lines = log.stat().st_mtime, log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return Seen(job, "waiting")
    if written < begun:
        return Seen(job, "waiting")
    if now - written <= SILENCE * INTERVAL:
        return Seen(job, "waiting", note="starting")
    if lines:
        return Seen(job, "failed", note=f"{lines[-1]} (log: {log})")
    return Seen(job, "stopped", note="killed? before it said anything")


def _exists(pid: int) -> bool:
    """Whether a process of this machine lives; one that is dead keeps its number until its parent has looked at it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's, or there is no /proc
        return True


def _at(status: dict[str, Any]) -> str:
    """What a running job does, and where."""
    where = status["host"] + (f", SLURM job {status['slurm']}" if status.get("slurm") else "")
    words = [status.get("what") or "starting", f"on {where}"]
    if status.get("resumed"):
        words.append(f"went on from {status['resumed']:,}")
    if status.get("idle", 0) > IDLE:
        words.append(f"no step for {int(status['idle']) // 60} min")
    return ", ".join(words)


def _goes_on(status: dict[str, Any], folder: Path) -> str:
    """From where the job goes on, if a checkpoint is there.

    The status tells of one; a newer one may have been written since, or that one may not have been finished. Names
    of checkpoints end in their step.
    """
    if saved := status.get("saved"):
        told = folder / saved["file"]
        name, _, step = told.stem.rpartition("-")
        steps = [int(path.stem.rpartition("-")[2]) for path in told.parent.glob(f"{name}-*{told.suffix}")]
        if steps:
            whole = saved["step"] - int(step) + max(steps)
            return f"checkpoint found, goes on from {whole:,} of {status.get('total') or 0:,}"
    return "no checkpoint, starts anew"
