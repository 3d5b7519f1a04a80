"""A SLURM of two nodes on this machine."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

UP, DOWN = (Path(__file__).with_name(f"slurm_{way}.sh") for way in ("up", "down"))
FOLDER, LOCK = Path("/tmp/sadpm-test-slurm"), Path("/tmp/sadpm-test-slurm.lock")
NOT_HERE = 77
LAST_RESORT = 1200
"""Seconds after which a test fails that waits in vain."""


class SlurmMissing(Exception):
    """Why SLURM can't be brought up here."""


class Slurm:
    """What an administrator does."""

    def __init__(self, folder):
        self._folder = folder

    def up(self):
        done = subprocess.run([UP, self._folder], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == NOT_HERE:
            raise SlurmMissing(f"SLURM can't be brought up: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr

    def down(self):
        subprocess.run([DOWN, self._folder], check=True)

    def stop_controller(self):
        pid = int((self._folder / "run/slurmctld.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the controller's end")

    def set_node(self, node, state):
        ask("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def end_soon(self, job):
        """Let a job's time be over in some two minutes, well after SLURM has asked it to end."""
        hours, minutes, _ = map(int, facts(job)["RunTime"].split(":"))
        ask("scontrol", "update", f"jobid={job}", f"timelimit={60 * hours + minutes + 3}")

    def cancel_all(self):
        """End all jobs, and wait until they are over."""
        if jobs := ask("squeue", "--noheader", "--format=%A").split():
            ask("scancel", *jobs)
            wait_until(lambda: not ask("squeue", "--noheader"), "an empty queue")


@contextmanager
def slurm_on_this_machine():
    """Bring SLURM up and down again; other test processes wait for their turn.

    Its files have a place of their own, where what a killed test process left running is found, and ended.
    """
    if os.geteuid() != 0:
        raise SlurmMissing("SLURM's daemons need root")
    if not shutil.which("apt-get") or not Path("/etc/debian_version").exists():
        raise SlurmMissing("SLURM is installed from Debian's packages, and this is not Debian")
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        slurm = Slurm(FOLDER)
        slurm.down()
        shutil.rmtree(FOLDER, ignore_errors=True)
        try:
            slurm.up()
            yield slurm
        finally:
            slurm.down()


def ask(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def facts(job):
    """What the controller knows about a job."""
    return dict(re.findall(r"(\S+?)=(\S*)", ask("scontrol", "show", "job", "--oneliner", job)))


def wait_until(found, what):
    """Return the first true result of a function."""
    end = time.monotonic() + LAST_RESORT
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    raise TimeoutError(f"waited {LAST_RESORT} s in vain for {what}")
