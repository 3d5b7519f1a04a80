"""A clone of the repository, and Snakemake as it is typed at its top."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from throwaway_slurm import LAST_RESORT, wait_until

from holding import Hold
from sadpm.running.files import sha256

REPOSITORY = Path(__file__).parents[2]
STEPS = 60
RUNS = [f"digits/base/seed{seed}" for seed in range(3)]
PARTS = ("Snakefile", "workflow", "config", "profiles", "slurm", "environment.yml")


class Clone:
    """Files of the workflow in a folder of their own, where ``digits`` are trained in another way than in the tests."""

    def __init__(self, folder, snakemake=("snakemake",), path=(), **training):
        """The command for Snakemake, and folders in which its jobs look for ``python`` first, may be others."""
        folder.mkdir(exist_ok=True)
        for name in PARTS:
            source = REPOSITORY / name
            if source.is_dir() and not source.is_symlink():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name, follow_symlinks=False)
        self.folder, self.results = folder, folder / "results/test"
        values = yaml.safe_load((folder / "config/test.yaml").read_text())
        values |= {"checkpoint_seconds": 0, "samples_per_job": "model"}
        values["datasets"]["digits"]["training"] |= training
        (folder / "config/mine.yaml").write_text(yaml.safe_dump(values))
        path = (folder / "profiles/slurm/without-accounting", *path, Path(sys.executable).parent, os.environ["PATH"])
        self.snakemake = snakemake
        self.hold = Hold(folder / "held")
        self._environment = {**os.environ, **self.hold.environment, "PATH": ":".join(map(str, path))}

    def start(self, *arguments):
        """Start Snakemake; what it says goes to a file."""
        with (self.folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(
                [*self.snakemake, "--configfile", "config/mine.yaml", *arguments],
                cwd=self.folder, env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, *arguments):
        assert self.start(*arguments).wait() == 0, self.said()

    def start_on_cluster(self, *targets, options=()):
        return self.start(
            *("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1"),
            *("--max-status-checks-per-second", "2", *options, "--", *targets),
        )

    @contextmanager
    def on_cluster(self, *targets, options=()):
        """Let things happen to a run, which then has to end well."""
        process = self.start_on_cluster(*targets, options=options)
        try:
            yield process
            assert process.wait(timeout=LAST_RESORT) == 0
        except BaseException:
            print(self.said())
            raise
        finally:
            kill_group(process)

    def said(self):
        return (self.folder / "snakemake.log").read_text()

    def submitted(self):
        """The ids of the jobs that Snakemake has submitted so far, each with its log file."""
        return re.findall(r"submitted with SLURM jobid (\d+) \(log: (\S+)\)", self.said())

    def jobs_of(self, run):
        """The ids of the jobs that train a run's model, one at least."""
        folder = run.replace("/", "_")
        return wait_until(lambda: [job for job, log in self.submitted() if f"/{folder}/" in log], f"a job of {run}")

    def job_of(self, run):
        """The id of the last job that trains a run's model."""
        return self.jobs_of(run)[-1]

    def processes(self):
        """The processes at work in this folder, each with the words of its command."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "cwd").readlink() == self.folder:
                    found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
        return found

    def process_of(self, run):
        """The process that trains a run's model, or None."""
        for process, words in self.processes().items():
            if words[1:3] == ["-m", "sadpm.stages.train"] and any(run in word for word in words):
                return process
        return None

    def kill_all(self):
        """A Snakemake that SLURM has forgotten may wait for ever: on a cluster, its node would be cleaned up."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def held_process(self, run, step=20):
        """Let the training of a run come to a step that it can't finish, and return the id of its process."""
        self.hold.at(step)

        def found():
            process = self.process_of(run)
            return process if self.steps_done(run) == step and self.owner_of_checkpoints(run) == process else None

        return wait_until(found, f"step {step} of {run}")

    def steps_done(self, run):
        """The number of steps in the newest checkpoint."""
        steps = [int(path.stem[-9:]) for path in (self.results / f".checkpoints/{run}/train").glob("*.ckpt")]
        return max(steps, default=0)

    def owner_of_checkpoints(self, run):
        """The process that writes them."""
        return json.loads((self.results / f".checkpoints/{run}/train/lease.json").read_text())["pid"]

    def log(self, run):
        path = self.results / f"logs/{run}/train.log"
        return path.read_text() if path.exists() else ""

    def weights(self, run):
        return sha256(self.results / f"{run}/model/diffusion_pytorch_model.safetensors")


def warm_snakemake(warm):
    """A command, for where no signal is meant for Snakemake: those of SLURM don't reach the jobs' processes then."""
    return [warm / "python", "-m", "snakemake"]


def kill_group(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
