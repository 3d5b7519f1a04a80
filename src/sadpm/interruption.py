"""Being asked to stop: a process saves what it has, ends with a status of its own, and is started again to go on.

A scheduler asks by a signal some time before it kills: at the end of a job's walltime, for preemption, for a
cancellation. Where no signal comes, a job of SLURM's asks itself, :data:`MARGIN` seconds before its walltime is over.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from sadpm.slurm import seconds_left

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STATUS = os.EX_TEMPFAIL
"""Exit status of a process that was asked to stop: not a mistake, try again."""

MARGIN = 60
"""Seconds in which a checkpoint is written before the scheduler kills."""


class Interrupted(SystemExit):
    """Ends the process with :data:`STATUS`; nothing that was saved is lost."""

    def __init__(self) -> None:
        super().__init__(STATUS)


def stop_when_asked() -> None:
    """End the process at once from now on when a signal asks for it, except within a :class:`StopRequest`.

    A stage calls this before it imports torch, because a signal may come in those seconds, too.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    # Python's buffered stderr may be in use by the code that the signal interrupted.
    os.write(2, f"stopped by {signal.Signals(number).name} with nothing to save\n".encode())
    raise Interrupted


class StopRequest:
    """In its ``with`` block, signals are noted and nothing else: the work asks at each step whether to stop.

    Outside of the main thread, where Python has no signals, the walltime alone counts.
    """

    def __init__(self) -> None:
        self._made = False
        self._handlers: dict[signal.Signals, Any] = {}
        left = seconds_left()
        self._deadline = None if left is None else time.monotonic() + left - MARGIN

    @property
    def made(self) -> bool:
        """Whether somebody asked, or the walltime is nearly over."""
        return self._made or (self._deadline is not None and time.monotonic() > self._deadline)

    def __enter__(self) -> Self:
        for number in SIGNALS:
            try:
                self._handlers[number] = signal.signal(number, self._note)
            except ValueError:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._made = True


def leave(saved: str) -> NoReturn:
    """Say what was saved, and end the process with :data:`STATUS`."""
    print(f"asked to stop; {saved}; start the same command again to go on", file=sys.stderr, flush=True)
    raise Interrupted
