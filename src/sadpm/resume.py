"""Checkpoints of unfinished work: found again after any kind of death, checked before they are trusted."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from sadpm.artifacts import write_atomically

KEPT = 2


class Checkpoints:
    """The checkpoints of one job, in a folder of its own outside of what the workflow declares as output.

    A file is the SHA-256 of the rest, then a tensor archive that is read without unpickling code. The newest two are
    kept, so that a damaged one costs one interval. Checkpoints of a job with other parameters are not used.
    """

    def __init__(self, folder: Path, job: BaseModel, **inputs: str) -> None:
        """Set up the folder's name for a job; ``inputs`` are hashes of the files that the job reads."""
        self._folder = folder
        described = job.model_dump_json(by_alias=True) + repr(sorted(inputs.items()))
        self._job = hashlib.sha256(described.encode()).hexdigest()[:16]

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Write the state after ``step`` steps, and forget all but the newest ones before it."""
        buffer = io.BytesIO()
        torch.save(content, buffer)
        payload = buffer.getbuffer()
        digest = hashlib.sha256(payload).digest()
        write_atomically(self._path(step), lambda file: (file.write(digest), file.write(payload)))
        for path in self._newest_first()[KEPT:]:
            path.unlink()

    def latest(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """Return the newest state that is whole, or None."""
        for path in self._newest_first():
            raw = path.read_bytes()
            if hashlib.sha256(raw[32:]).digest() == raw[:32]:
                print(f"resuming from {path}", file=sys.stderr)
                state: dict[str, Any] = torch.load(io.BytesIO(raw[32:]), map_location=device, weights_only=True)
                return state
            print(f"{path} is damaged and ignored", file=sys.stderr)
        return None

    def remove(self) -> None:
        """Delete the folder: the output is complete, or another job's checkpoints lie there."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self._folder / f"{self._job}-{step:09d}.ckpt"

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._job}-*.ckpt"), reverse=True)
