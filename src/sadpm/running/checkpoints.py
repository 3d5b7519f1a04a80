"""Checkpoints of unfinished work: found again after any kind of death, checked before they are trusted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

import torch
from pydantic import BaseModel

from sadpm.running import status
from sadpm.running.beside import Beside, on_host
from sadpm.running.distributed import ALONE, Group
from sadpm.running.files import UserError, write_atomically, write_json
from sadpm.running.interruption import Interrupted, StopRequest, leave
from sadpm.running.progress import progress
from sadpm.running.slurm import job_id

KEPT = 2
DIGEST_SIZE = hashlib.sha256().digest_size

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of one job, in a folder of its own outside of what the workflow declares as output.

    A file is the SHA-256 of the rest, then a tensor archive that is read without unpickling code. The newest two are
    kept, so that a damaged one costs one interval. Checkpoints of a job with other parameters are not used.

    The folder belongs to the process that came last. An older one that still runs, because the workflow that started
    it was killed, finds that out when it saves, and ends.

    Where several processes do the job together, one of them writes and all of them read.

    What is saved now and then is copied into the host's memory, and written while the work goes on.
    """

    def __init__(self, folder: Path, job: BaseModel, every: float = 600, group: Group = ALONE, **inputs: str) -> None:
        """Take over the folder for a job.

        Args:
            folder: where the checkpoints lie.
            job: the job's parameters.
            every: seconds between checkpoints.
            group: the processes that do the job together.
            inputs: hashes of the files that the job reads.
        """
        self.folder, self._every, self._group = folder, every, group
        described = job.model_dump_json(by_alias=True) + repr(sorted(inputs.items()))
        self._job = hashlib.sha256(described.encode()).hexdigest()[:16]
        self._writing = Beside()
        self.done = 0
        self._seconds_before, self._begun = 0.0, time.monotonic()
        self._owner = {"token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "slurm": job_id()}
        if group.writes:
            write_json(self._lease, self._owner)

    @property
    def seconds(self) -> float:
        """Wall time spent on the job so far, in this process and in those before whose work was saved."""
        return self._seconds_before + time.monotonic() - self._begun

    def steps(
        self,
        total: int,
        state: Callable[[], State],
        what: str,
        losses: status.Losses = dict,
        sound: Callable[[], bool] = lambda: True,
    ) -> Iterator[int]:
        """Yield the steps that are left, telling about progress, and save ``state()`` now and then.

        It is saved when the interval is over, when somebody asks the process to stop, which then ends, and after the
        last step: a process that is killed while it writes its output need not work again. All processes of a group
        do so at the same step.

        Args:
            total: number of steps.
            state: what to save, after the step that was yielded last.
            what: the work, in words.
            losses: the last ones, by name, for the status of the job.
            sound: whether the state may take the place of an older one when the interval is over.
        """
        saved_at = time.monotonic()
        left: Iterable[int] = range(self.done, total)
        if self.done:
            status.current.saved(self.done, self._path(self.done))
        with StopRequest() as stop:
            told = progress(left, total, what, self.done, "steps", losses) if self._group.writes else left
            for step in told:
                yield step
                self._writing.check()
                done, now = step + 1, time.monotonic()
                asked = stop.made or self._group.abandoned
                asked, due = self._group.any(asked, now - saved_at >= self._every)
                if done == total or asked or (due and sound()):
                    tell = partial(status.current.saved, done, self._path(done))
                    self.save(done, state(), wait=done == total or asked or not self._every, then=tell)
                    saved_at = now
                if asked and done < total:
                    self._leave(f"{what} is saved at {done} of {total}")

    def _leave(self, saved: str) -> NoReturn:
        """End all processes of the group, but not before the file is written."""
        self._group.any(True)
        if self._group.writes:
            leave(saved)
        raise Interrupted

    def save(self, step: int, state: State, wait: bool = True, then: Callable[[], object] = lambda: None) -> None:
        """Write the state after ``step`` steps, forget all but the newest ones before it, and call ``then``.

        Without ``wait``, a copy of the state is written while the caller goes on; what goes wrong then is raised by the
        next call.

        Raises:
            UserError: another process has taken over the folder, or the disk is full.
        """
        if not self._group.writes:
            return
        self._check_lease()
        self._writing.wait()  # before there is a second copy in memory
        content = {"done": step, "state": state if wait else on_host(state), "seconds": self.seconds}
        if not wait and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # the copies are made

        def write() -> None:
            self._write(step, content)
            then()

        self._writing.start(write)
        if wait:
            self._writing.wait()

    def _write(self, step: int, content: dict[str, Any]) -> None:
        write_atomically(self._path(step), lambda file: _write_archive(file, content))
        for path in self._newest_first()[KEPT:]:
            path.unlink(missing_ok=True)

    def latest(self, device: torch.device | str = "cpu") -> State | None:
        """Return the newest state that is whole, or None; ``done`` is its number of steps then."""
        self._writing.wait()
        for path in self._newest_first():
            content = _read_archive(path, device)
            if content is not None:
                self._tell(f"resuming from {path}")
                self.done, self._seconds_before = content["done"], content["seconds"]
                state: State = content["state"]
                return state
            self._tell(f"{path} is damaged and ignored")
        return None

    def last(self) -> State:
        """Return the newest state again, on the CPU: after the last step it need not stay in memory.

        Raises:
            UserError: it is gone or damaged, as when another process has finished the job meanwhile.
        """
        self._writing.wait()
        for path in self._newest_first()[:1]:
            if (content := _read_archive(path, "cpu")) is not None:
                state: State = content["state"]
                return state
        raise UserError(f"{self.folder}: what was saved last is gone or damaged; start the same command again")

    def remove(self) -> None:
        """Delete the folder: the output is complete, or another job's checkpoints lie there."""
        self._writing.wait()
        if self._group.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, what: str) -> None:
        if self._group.writes:
            print(what, file=sys.stderr)

    @property
    def _lease(self) -> Path:
        return self.folder / "lease.json"

    def _check_lease(self) -> None:
        """End the older of two processes; a lease that somebody deleted is no reason to stop."""
        try:
            owner = json.loads(self._lease.read_text())
        except (OSError, ValueError):
            write_json(self._lease, self._owner)
            return
        if owner != self._owner:
            by = f"process {owner.get('pid')} on {owner.get('host')}, SLURM job {owner.get('slurm') or 'none'}"
            raise UserError(f"{self.folder}: taken over by {by}; this process stops and leaves the work to it")

    def _path(self, step: int) -> Path:
        return self.folder / f"{self._job}-{step:09d}.ckpt"

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self._job}-*.ckpt"), reverse=True)


class _Hashing(io.BytesIO):
    """Passes bytes on to a file, and hashes them: no second copy of a large state in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise


def _write_archive(file: IO[bytes], content: dict[str, Any]) -> None:
    file.write(bytes(DIGEST_SIZE))
    hashing = _Hashing(file)
    try:
        torch.save(content, hashing)
    except RuntimeError as error:
        # torch reports a full disk as an error of its own archive.
        raise hashing.error or error from None
    file.seek(0)
    file.write(hashing.sha256.digest())


def _read_archive(path: Path, device: torch.device | str) -> dict[str, Any] | None:
    """Return what was written, or None if it is not whole."""
    with path.open("rb") as file:
        expected = file.read(DIGEST_SIZE)
        if hashlib.file_digest(file, "sha256").digest() != expected:
            return None
        file.seek(DIGEST_SIZE)
        content: dict[str, Any] = torch.load(io.BytesIO(file.read()), map_location=device, weights_only=True)
        return content
