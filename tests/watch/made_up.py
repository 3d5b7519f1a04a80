"""A made-up folder of an experiment: what jobs leave there, without any job."""

import json
import os
import socket
from dataclasses import asdict
from pathlib import Path

from sadpm.running.status import status_file
from sadpm.watch.jobs import FILE, ListedJob, Run

NOW = 1_800_000_000.0
STARTED = NOW - 7200
GONE = 2**22 + 1  # more than any process's number
ELSEWHERE = "node17"


class Experiment:
    """Files with times of their own, so that no test depends on the clock."""

    def __init__(self, folder: Path, pid: int = GONE) -> None:
        self.folder, self.pid, self.jobs = folder, pid, []
        folder.mkdir()

    def job(self, name, *, needs=(), again=True, outputs=None, rule=None):
        outputs = (f"{name}.npy", f"{name}.json") if outputs is None else outputs
        rule = rule or name.partition("-")[0]
        self.jobs.append(ListedJob(rule, name, f"logs/{name}.log", outputs, needs, again))
        run = Run(socket.gethostname(), self.pid, STARTED, tuple(self.jobs))
        self.write(FILE, json.dumps(asdict(run)), STARTED)
        return self.jobs[-1]

    def write(self, name, text="", time=NOW):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (time, time))
        return path

    def make(self, job, time=NOW - 60):
        for output in job.outputs:
            self.write(output, "made", time)

    def tell(self, job, **changes):
        """The status of a job that runs on another machine."""
        status = {
            **{"stage": job.rule, "state": "running", "started": STARTED, "updated": NOW - 4, "host": ELSEWHERE},
            **{"pid": 17, "slurm": None, "what": "training", "unit": "steps", "done": 1000, "total": 5000},
            **{"resumed": 0, "rate": 8.0, "idle": 0.1, "losses": {"loss": 0.0375}, "gpu": None},
            **changes,
        }
        return self.write(status_file(Path(job.outputs[-1])), json.dumps(status))
