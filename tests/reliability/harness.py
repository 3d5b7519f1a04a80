"""Stages as processes that are killed at random moments and started again until they are through."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
"""What a death may be, the worst kind twice as often."""


@dataclass(frozen=True)
class StageProcess:
    """A stage with its job; ``outputs`` are options that name files."""

    stage: str
    job: BaseModel
    inputs: dict[str, Path | list[Path]]
    outputs: dict[str, Path | list[Path]]
    checkpoints: Path

    def command(self) -> list[str]:
        words = [
            sys.executable,
            "-m",
            f"sadpm.stages.{self.stage}",
            "--params",
            self.job.model_dump_json(by_alias=True),
        ]
        paths = {**self.inputs, **self.outputs, "checkpoints": self.checkpoints}
        for name, value in paths.items():
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
        return [*words, "--checkpoint-seconds", "0"]

    def start(self) -> subprocess.Popen[str]:
        threads = str(torch.get_num_threads())  # sums are rounded differently with another number
        return subprocess.Popen(
            self.command(), env={**os.environ, "OMP_NUM_THREADS": threads}, stderr=subprocess.PIPE, text=True
        )

    def finish(self) -> str:
        """Run to the end; return what was said."""
        process = self.start()
        _, said = process.communicate()
        assert process.returncode == 0, said
        return said

    def run_and_kill(self, rng: random.Random, longest: float) -> tuple[str, int, str]:
        """Kill a run at a random moment, up to ``longest`` seconds after it took over the checkpoints' folder.

        Returns the signal's name, the exit status, and what was said.
        """
        number, early = rng.choice(SIGNALS), rng.random() < 0.2
        lease = self.checkpoints / "lease.json"
        before = lease.read_bytes() if lease.exists() else b""
        process = self.start()
        while not early and process.poll() is None and (not lease.exists() or lease.read_bytes() == before):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 2 if early else longest))
        process.send_signal(number)
        _, said = process.communicate()
        return number.name, process.returncode, said
