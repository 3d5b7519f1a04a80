"""Holds a stage before a step, for ``tests/holding.py``, and has Snakemake ask SLURM often.

Python imports this module where its folder is in the path.
"""

import os
import signal
import sys
import time
from pathlib import Path

WITH_CHECKPOINTS = {f"sadpm.stages.{stage}" for stage in ("train", "fit_covariances", "sample")}
FORGOTTEN = 1800
"""Seconds after which nobody will release the stage any more."""


def hold_stages(file: Path) -> None:
    import sadpm.running.progress

    progress = sadpm.running.progress.progress

    def held(steps, *arguments):
        for step in progress(steps, *arguments):
            end = time.monotonic() + FORGOTTEN
            while is_held(file, step) and not is_asked_to_stop():
                assert time.monotonic() < end, f"nobody has released step {step}"
                time.sleep(0.01)
            yield step

    sadpm.running.progress.progress = held


def ask_often() -> None:
    """Let Snakemake wait for as long as a test can't be slowed down by, instead of 10 seconds more each time."""
    import asyncio

    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    async def sleep(_):
        await asyncio.sleep(0.5)

    RemoteExecutor.sleep = sleep


def is_held(file, step):
    try:
        return step >= int(file.read_text())
    except (OSError, ValueError):  # released, or not written yet
        return False


def is_asked_to_stop():
    request = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return request is not None and request.made


if "HELD_STEP" in os.environ and WITH_CHECKPOINTS.intersection(sys.orig_argv):
    hold_stages(Path(os.environ["HELD_STEP"]))
if "HELD_STEP" in os.environ and "--profile" in sys.orig_argv:
    ask_often()
