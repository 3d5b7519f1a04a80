"""Stages that can't be through before a test has done to them what it wants, however fast or slow the machine is."""

import os
import signal
import time
from pathlib import Path


class Hold:
    """Stages started with this environment wait before the step of a number, and before all that follow.

    They go on when the test releases them. One that is asked to stop goes on as well, and does as it does then.
    """

    def __init__(self, file):
        self._file = file

    @property
    def environment(self):
        path = [str(Path(__file__).with_name("hold")), os.environ.get("PYTHONPATH")]
        return {"PYTHONPATH": os.pathsep.join(filter(None, path)), "HELD_STEP": str(self._file)}

    def at(self, step):
        self._file.write_text(str(step))
        return self

    def release(self):
        self._file.unlink(missing_ok=True)


def stop(process):
    """Stop a process, and wait until it has stopped: a signal that comes before it has would reach it still."""
    os.kill(process, signal.SIGSTOP)
    while Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        time.sleep(0.002)
