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
from tiny import FITTED, chain, covariance_job, covariance_outputs, sampling_job, training_job, training_outputs

from holding import Hold
from sadpm.running.files import sha256

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

    def command(self, python: str | Path) -> list[str]:
        words = [str(python), "-m", f"sadpm.stages.{self.stage}", "--params", self.job.model_dump_json(by_alias=True)]
        paths = {**self.inputs, **self.outputs, "checkpoints": self.checkpoints}
        for name, value in paths.items():
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
        return [*words, "--checkpoint-seconds", "0"]

    def start(self, hold: Hold | None = None, python: str | Path = sys.executable) -> subprocess.Popen[str]:
        threads = str(torch.get_num_threads())  # sums are rounded differently with another number
        environment = {**os.environ, "OMP_NUM_THREADS": threads, **(hold.environment if hold else {})}
        return subprocess.Popen(self.command(python), env=environment, stderr=subprocess.PIPE, text=True)

    def start_and_hold(self, hold: Hold) -> subprocess.Popen[str]:
        """Start, and wait until the stage waits with two checkpoints."""
        process = self.start(hold.at(5))
        while len(list(self.checkpoints.rglob("*.ckpt"))) < 2 or self.steps_done() < 5:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        return process

    def leases(self) -> set[bytes]:
        """Return who has taken over the checkpoints' folders."""
        return {path.read_bytes() for path in self.checkpoints.rglob("lease.json")}

    def steps_done(self) -> int:
        """Return the number of steps in the newest checkpoint."""
        return max((int(path.stem[-9:]) for path in self.checkpoints.rglob("*.ckpt")), default=0)

    def durations(self) -> tuple[float, float]:
        """Run to the end; return the seconds until the stage took over the checkpoints' folder, and those after."""
        begun = time.monotonic()
        process = self.start()
        while process.poll() is None and not self.leases():
            time.sleep(0.005)
        started = time.monotonic()
        _, said = process.communicate()
        assert process.returncode == 0, said
        return started - begun, time.monotonic() - started

    def finish(self, python: str | Path) -> str:
        """Run to the end; return what was said."""
        process = self.start(python=python)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return said

    def run_and_kill(self, rng: random.Random, starting: float, working: float) -> tuple[str, int, str]:
        """Kill a run at a random moment, while it starts or while it works, which take so many seconds.

        Returns the signal's name, the exit status, and what was said.
        """
        number, early, before = rng.choice(SIGNALS), rng.random() < 0.2, self.leases()
        process = self.start()
        while not early and process.poll() is None and self.leases() <= before:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, starting if early else working))
        process.send_signal(number)
        _, said = process.communicate()
        return number.name, process.returncode, said


def training(trained, digits, folder):
    outputs = training_outputs(folder)
    checkpoints = outputs.pop("checkpoints")
    return StageProcess("train", training_job(steps=150), {"images": digits}, outputs, checkpoints)


def heads(trained, digits, folder):
    outputs = covariance_outputs(folder)
    checkpoints = outputs.pop("checkpoints")
    inputs = {"images": digits, "model": trained / "model"}
    return StageProcess("fit_covariances", covariance_job(steps=150), inputs, outputs, checkpoints)


def sampling(trained, digits, folder):
    chains = [chain("ddpm", "fixed", 25), chain("ddim", "fixed", 10), chain("ddpm", "sn", 25)]
    job = sampling_job(*chains, num_samples=110, batch_size=50)
    inputs = {"model": trained / "model", "covariances": [trained / FITTED]}
    outputs = {"samples": folder / "s.npy", "report": folder / "s.json"}
    return StageProcess("sample", job, inputs, outputs, folder / "checkpoints")


def hashes(process):
    """Of all outputs but the reports, which tell the seconds."""
    wanted = {name: value for name, value in process.outputs.items() if not name.startswith("report")}
    files = [path for value in wanted.values() for path in (value if isinstance(value, list) else [value])]
    return [sha256(path) for path in files]
