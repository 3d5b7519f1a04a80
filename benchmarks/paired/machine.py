"""On what was measured, and what."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sadpm.running.device import device_name
from sadpm.running.files import code_version

CPUINFO = Path("/proc/cpuinfo")


def described(device: torch.device) -> dict[str, Any]:
    """Return device, processor, threads, versions, commit and date."""
    version, _, commit = code_version().partition("+")
    return {
        "device": device_name(device),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "python": platform.python_version(),
        "sadpm": version,
        "commit": commit.removesuffix("-dirty") or None,
        "dirty": commit.endswith("-dirty"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def processor() -> str:
    """Return the processor's name, as Linux or else as Python knows it."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
