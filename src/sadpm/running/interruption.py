"""Being asked to stop: a process saves what it has, ends with a status of its own, and is started again to go on.

A scheduler asks by a signal some time before it kills: at the end of a job's walltime, for preemption, for a
cancellation. Where no signal comes, a job of SLURM's asks itself, :data:`MARGIN` seconds before its walltime is over.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from sadpm.running.slurm import seconds_left

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STATUS = os.EX_TEMPFAIL
"""Exit status of a process that was asked to stop: not a mistake, try again."""

MARGIN = 60
"""Seconds in which a checkpoint is written before the scheduler kills."""

GRACE = 1.0
"""Seconds after which a process with nothing to save that does not react to a signal is ended all the same."""


class Interrupted(SystemExit):
    """Ends the process with :data:`STATUS`; nothing that was saved is lost."""

    def __init__(self) -> None:
        super().__init__(STATUS)


_reacted = False  # whether Python has run a handler: what follows is up to the main thread then


def stop_when_asked() -> None:
    """End the process from now on when a signal asks for it, except within a :class:`StopRequest`.

    A stage calls this before it imports torch, because a signal may come in those seconds, too. While the main thread
    waits in C++, as for the other processes of a training, Python runs no handlers there; a thread of its own sees the
    signal then, and ends the process after :data:`GRACE` seconds.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)
    seen, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    threading.Thread(target=_end_where_python_does_not_react, args=(seen,), daemon=True).start()


def _stop(number: int, _: FrameType | None) -> NoReturn:
    global _reacted
    _reacted = True
    _tell(number)
    raise Interrupted


def _end_where_python_does_not_react(seen: int) -> NoReturn:
    while True:
        (number,) = os.read(seen, 1)
        time.sleep(GRACE)
        if not _reacted and signal.getsignal(number) is _stop:
            _tell(number)
            os._exit(STATUS)


def _tell(number: int) -> None:
    # Python's buffered stderr may be in use by the code that the signal interrupted.
    os.write(2, f"stopped by {signal.Signals(number).name} with nothing to save\n".encode())


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
        global _reacted
        _reacted = self._made = True


def leave(saved: str) -> NoReturn:
    """Say what was saved, and end the process with :data:`STATUS`."""
    print(f"asked to stop; {saved}; start the same command again to go on", file=sys.stderr, flush=True)
    raise Interrupted
