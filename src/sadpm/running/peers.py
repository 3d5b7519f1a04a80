"""What a launcher such as torchrun says about the processes of one training, and the wait until they meet."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Timer
from typing import Self

import torch.distributed as dist

from sadpm.running.files import UserError

PATIENCE = 600
"""Seconds for which processes wait for each other where SADPM_PEER_TIMEOUT does not say it."""

SILENCE = 5
"""Seconds in which processes that a launcher watches over meet without a word."""

ADVICE = "to train in one process, unset WORLD_SIZE"


@dataclass(frozen=True)
class Meeting:
    """Where the processes of a training meet: at the address of the one with rank 0."""

    rank: int
    size: int
    address: str
    port: int

    @classmethod
    def from_environment(cls) -> Self:
        """Read what the launcher says.

        Raises:
            UserError: a variable is missing or wrong.
        """
        size = started()
        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name, "").strip()]:
            raise UserError(
                f"WORLD_SIZE={size}, but the processes can't meet without {', '.join(missing)}, which a launcher such "
                f"as torchrun sets; {ADVICE}"
            )
        port = number_from_environment("MASTER_PORT", least=1, most=65535)
        rank = number_from_environment("RANK", most=size - 1)
        return cls(rank, size, os.environ["MASTER_ADDR"].strip(), port)

    def attend(self, backend: str, watched: bool) -> None:
        """Wait for the others and say so, at once or, where a launcher watches, when it takes long.

        Raises:
            UserError: they have not come in time.
        """
        who = f"process {self.rank} of {self.size} (RANK, WORLD_SIZE)"
        where = f"at {self.address}:{self.port} (MASTER_ADDR, MASTER_PORT)"
        limit = f"for up to {patience()} s (SADPM_PEER_TIMEOUT)"
        say = partial(print, f"{who} waits for {self.size - 1} more {where} {limit}; {ADVICE}", file=sys.stderr)
        telling = Timer(SILENCE if watched else 0, say)
        telling.daemon = True
        telling.start()
        try:
            if self.rank > 0:
                self._wait_for_the_first()
            dist.init_process_group(backend, timeout=timedelta(seconds=patience()))
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise UserError(f"{who} did not meet the others {where}: {reason}; {ADVICE}") from error
        finally:
            telling.cancel()

    def _wait_for_the_first(self) -> None:
        """Return when the process of rank 0 is there; torch would print what its C++ was doing for each failed try."""
        end = time.monotonic() + patience()
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=patience()).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)


def started() -> int:
    """Return how many processes a launcher says that it started; 1 without a launcher.

    Raises:
        UserError: WORLD_SIZE is no such number.
    """
    return number_from_environment("WORLD_SIZE", least=1, default=1)


def patience() -> int:
    """Return the seconds for which processes wait for each other, at the start and later on.

    Raises:
        UserError: SADPM_PEER_TIMEOUT is no such number.
    """
    return number_from_environment("SADPM_PEER_TIMEOUT", least=1, default=PATIENCE)


def number_from_environment(name: str, least: int = 0, most: int = 2**31, default: int | None = None) -> int:
    """Return an environment variable, or the default where it is not set or empty.

    Raises:
        UserError: it is not a whole number from ``least`` to ``most``.
    """
    text = os.environ.get(name, "").strip()
    if not text and default is not None:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        limits = f"of {least} or more" if most == 2**31 else f"from {least} to {most}"
        raise UserError(f"{name}={text} in the environment: must be a whole number {limits}")
    return int(text)
