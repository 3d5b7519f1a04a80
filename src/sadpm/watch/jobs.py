"""The list of a run's jobs: Snakemake's graph, written down when the first job starts, for it is dear to build.

All paths are relative to the folder of the experiment, which may be seen under other names on other machines.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sadpm.running.files import UserError, read_json, write_json

FILE = "jobs.json"


@dataclass(frozen=True)
class ListedJob:
    """One job of a run.

    Attributes:
        rule: the rule's name.
        name: the job's, as that of its log.
        log: what it says.
        outputs: what it makes.
        needs: names of the jobs whose outputs it reads.
        again: whether it is to run although its outputs may be there, or because they are not.
    """

    rule: str
    name: str
    log: str
    outputs: tuple[str, ...]
    needs: tuple[str, ...]
    again: bool


@dataclass(frozen=True)
class Run:
    """One run of the workflow: the process that starts the jobs, when, and the jobs."""

    host: str
    pid: int
    started: float
    jobs: tuple[ListedJob, ...]


def write_jobs(graph: Mapping[Any, Iterable[Any]], again: Iterable[Any], root: str, logs: str) -> None:
    """Write the list of a run's jobs, those that make nothing left out.

    Args:
        graph: Snakemake's jobs, and which jobs each of them needs.
        again: those that are to run.
        root: folder of the experiment.
        logs: folder of the logs.
    """
    running = set(again)
    named = {job: os.path.relpath(job.log[0], logs).removesuffix(".log") for job in graph if job.output and job.log}
    jobs = [
        ListedJob(
            rule=job.rule.name,
            name=name,
            log=os.path.relpath(job.log[0], root),
            outputs=tuple(os.path.relpath(path, root) for path in job.output),
            needs=tuple(named[need] for need in graph[job] if need in named),
            again=job in running,
        )
        for job, name in named.items()
    ]
    run = Run(socket.gethostname(), os.getpid(), time.time(), tuple(jobs))
    write_json(Path(root, FILE), asdict(run))


def read_jobs(folder: Path) -> Run:
    """Read the list of the last run's jobs.

    Raises:
        UserError: there is none, or it is not whole.
    """
    path = folder / FILE
    if not path.exists():
        raise UserError(
            f"{folder}: no {FILE} is there, which the workflow writes before its first job; name the folder of an"
            " experiment, such as results/laptop"
        )
    try:
        content = read_json(path)
        jobs = tuple(
            ListedJob(**{**job, "outputs": tuple(job["outputs"]), "needs": tuple(job["needs"])})
            for job in content.pop("jobs")
        )
        return Run(**content, jobs=jobs)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: is no list of jobs ({error}); the next run of the workflow writes it anew") from None


def newest(results: Path) -> Path:
    """Return the folder of the experiment whose workflow was started last.

    Raises:
        UserError: none was.
    """
    found = sorted(results.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"{results}: no experiment in it has jobs yet; start one, such as by `make tables`")
    return found[-1].parent
