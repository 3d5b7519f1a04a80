"""What a job says of itself while it runs: a small file beside its report, which `sadpm.watch` reads. Imports no torch.

A thread writes it every few seconds, whatever the work is at, so that a file which is not written any more tells of a
process that is gone. Nothing that goes wrong here stops the work.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sadpm.running.interruption import Interrupted
from sadpm.running.slurm import job_id

Item = TypeVar("Item")
Losses = Callable[[], Mapping[str, float]]

INTERVAL = 5.0
"""Seconds between two states of the file."""

OF_RATE = 13
"""States over which the rate is taken: those of the last minute, or where that has few steps, all."""

FEW = 10
"""Steps from which no rate is taken that one can believe."""


def status_file(output: Path) -> Path:
    """Return where the job that makes a file, its report, tells of itself."""
    return output.with_name(f".{output.name}.status")


class Status:
    """What one job says of itself; silent where it has no file.

    The younger of two processes that do the same job writes, as when an older one has outlived its workflow, or has
    started others that share the work.
    """

    def __init__(self, file: Path | None, stage: str = "") -> None:
        self._file, self._ended = file, threading.Event()
        started = time.time()
        self._facts: dict[str, Any] = {"stage": stage, "state": "running", "started": started}
        self._facts |= {"host": socket.gethostname(), "pid": os.getpid(), "slurm": job_id()}
        self._expected: int | None = None
        self._losses: Losses = dict
        self._before = self._done = self._worked = 0
        self._stepped = time.monotonic()
        self._begun = self._stepped
        self._seen: deque[tuple[float, int]] = deque(maxlen=OF_RATE)
        self._writing = threading.RLock()
        self._teller = threading.Thread(target=self._go_on_telling, daemon=True)

    def expect(self, total: int) -> None:
        """Say how many steps the job has, where it takes them in several stretches."""
        self._expected = total

    def follow(
        self, items: Iterable[Item], total: int, what: str, start: int, unit: str, losses: Losses
    ) -> Iterator[Item]:
        """Yield the items of one stretch of work; see `sadpm.running.progress`."""
        self._losses, self._done, self._stepped = losses, start, time.monotonic()
        if not self._worked:
            self._begun = self._stepped
        whole = total if self._expected is None else self._expected
        self._facts |= {"what": what, "unit": unit, "total": whole, "resumed": self._before + start}
        self._tell()
        for done, item in enumerate(items, start):
            yield item
            self._done, self._stepped = done + 1, time.monotonic()
            self._worked += 1
        if self._expected is not None:
            self._before, self._done = self._before + total, 0

    def saved(self, step: int, checkpoint: Path) -> None:
        """Say that a stretch of work can go on from a checkpoint."""
        if self._file is not None:
            place = os.path.relpath(checkpoint, self._file.parent)
            self._facts["saved"] = {"step": self._before + step, "file": place}
            self._tell()

    def begin(self) -> None:
        """Write the file for the first time, and then every few seconds."""
        if self._file is not None:
            self._tell()
            self._teller.start()

    def end(self, state: str | None = None, message: str = "") -> None:
        """Leave a last word, or no file at all: then the job's output is there."""
        with self._writing, suppress(OSError):
            if state is not None:
                self._facts |= {"state": state, "message": message}
                self._tell()
            elif self._file is not None and self._is_mine():
                self._file.unlink()
            self._ended.set()
        if self._teller.is_alive():
            self._teller.join(INTERVAL)  # so that Python does not end a thread at work; a disk that hangs may keep it

    def _go_on_telling(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._seen.append((time.monotonic(), self._worked))
            self._tell()

    def _tell(self) -> None:
        with self._writing, suppress(Exception):
            if self._file is None or self._ended.is_set() or not self._is_mine():
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial = self._file.with_name(f"{self._file.name}.partial")
            try:
                partial.write_text(json.dumps(self._state()))
                partial.replace(self._file)
            finally:
                partial.unlink(missing_ok=True)

    def _is_mine(self) -> bool:
        """Whether no younger process has taken over the file."""
        found = read_status(self._file) if self._file else None
        return found is None or found["started"] <= self._facts["started"]

    def _state(self) -> dict[str, Any]:
        now = time.monotonic()
        state = {**self._facts, "updated": time.time(), "done": self._before + self._done, "rate": self._rate(now)}
        return {**state, "idle": now - self._stepped, "losses": dict(self._losses()), "gpu": _gpu_memory()}

    def _rate(self, now: float) -> float | None:
        """Steps a second; None before the first one."""
        then, worked = self._seen[0] if self._seen else (self._begun, 0)
        if self._worked - worked < FEW:
            then, worked = self._begun, 0
        return (self._worked - worked) / (now - then) if self._worked and now > then else None


def read_status(file: Path) -> dict[str, Any] | None:
    """Return what a job says of itself; None where nothing, or nothing whole, is there."""
    try:
        content = json.loads(file.read_text())
        return content if {"state", "started", "updated", "host", "pid"} <= content.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


current = Status(None)
"""What the job of this process says; silent unless :func:`telling` gives it a file."""


@contextmanager
def telling(stage: str, report: Path | None) -> Iterator[None]:
    """Tell of the work in the ``with`` block, beside the file that is its report.

    Of the processes that do a job together, those that a launcher starts beside the first one are silent.
    """
    global current
    beside = os.environ.get("WORLD_SIZE", "1") not in ("", "1") and os.environ.get("RANK", "0") not in ("", "0")
    before, current = current, Status(None if report is None or beside else status_file(report), stage)
    current.begin()
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        current.end("stopped", "asked to stop")
        raise
    except BaseException as error:
        current.end("failed", str(error) or type(error).__name__)
        raise
    else:
        current.end()
    finally:
        current = before


def _gpu_memory() -> dict[str, int] | None:
    """Bytes that torch has taken of the GPUs which it uses, and what these have; None where it uses none."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)  # None while torch is being imported
    if cuda is None or not hasattr(cuda, "is_initialized") or not cuda.is_initialized():
        return None
    taken = {index: cuda.memory_reserved(index) for index in range(cuda.device_count())}
    totals = [cuda.get_device_properties(index).total_memory for index, amount in taken.items() if amount]
    return {"taken": sum(taken.values()), "total": sum(totals)} if totals else None
