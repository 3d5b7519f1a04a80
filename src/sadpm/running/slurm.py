"""What a job can ask SLURM about itself."""

from __future__ import annotations

import os
import re
import subprocess

TIME = re.compile(r"(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+)")


def job_id() -> str | None:
    """Return the id of the SLURM job in which this process runs, or None."""
    return os.environ.get("SLURM_JOB_ID")


def seconds_left() -> float | None:
    """Return the seconds until this job's walltime is over; None outside of SLURM, or where there is no limit."""
    if (job := job_id()) is None:
        return None
    try:
        command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_time(answer.strip())


def parse_time(text: str) -> float | None:
    """Return the seconds of a time as squeue prints it, such as 1-02:03:04 or 3:04; None for UNLIMITED and the like."""
    found = TIME.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
