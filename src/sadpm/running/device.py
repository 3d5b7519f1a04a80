"""The device of a stage, chosen once."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sadpm.running.files import UserError

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""What glibc's ``mallopt`` calls them (malloc.h)."""

KEPT_BYTES = 2**28
"""Free memory that a process keeps at hand, as far as it has once used it."""


def select_device() -> torch.device:
    """Return the GPU if there is one, else the CPU; the environment variable SADPM_DEVICE overrules.

    Raises:
        UserError: SADPM_DEVICE names no device of this machine.
    """
    name = os.environ.get("SADPM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"SADPM_DEVICE={name}: no such device here; choose cpu, cuda or cuda:<number>") from error
    if device.type == "cpu":
        keep_freed_memory()
    elif device.type == "cuda":
        torch.cuda.set_device(device)  # streams, events and recordings are of the current one
    return device


def keep_freed_memory() -> None:
    """Have the C library keep what tensors leave.

    It would give memory of their size back to the system, and ask for it again a moment later, at each step: clearing
    such pages takes up to a tenth of a small network's step. Does nothing where the C library is not glibc.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(MMAP_THRESHOLD, 2**25)  # the most that glibc takes
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Raise a GPU's lack of memory as a UserError that says what helps."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU's memory is too small: {advice}. The last checkpoint is kept ({str(error).partition(chr(10))[0]})"
        ) from error


def device_name(device: torch.device) -> str:
    """Return what goes into provenance, such as "NVIDIA H100" or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
