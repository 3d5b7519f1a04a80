"""What a device can do at most, measured in the same run, and how long work takes at least by that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from paired.rounds import Side
from sadpm.networks.execution import allow_tf32, missing_precision
from sadpm.networks.section import Precision

TIMES = 8
"""How often each rate is measured; the best one counts, which other work has disturbed least."""


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Attributes:
        flops: FLOP/s of the product of large square matrices, by precision.
        bytes: bytes a second, read and written, of a large copy.
    """

    flops: dict[Precision, float]
    bytes: float

    def floor(self, side: Side, precision: Precision) -> float | None:
        """Return the seconds that a side takes at least; None where nothing is known of it."""
        seconds = max(side.flops / self.flops[precision], side.bytes / self.bytes)
        return seconds or None


@torch.inference_mode()
def measured_rates(device: torch.device, size: int, copied: int) -> Rates:
    """Measure them, for matrices of ``size`` x ``size``, and a copy of so many bytes."""
    finish = waiting_for(device)
    flops: dict[Precision, float] = {}
    precisions: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
    for precision in precisions:
        if missing_precision(precision, device) is not None:
            continue
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        product = torch.empty_like(left)
        flops[precision] = 2 * size**3 / best(lambda: torch.matmul(left, right, out=product), finish)  # noqa: B023
    allow_tf32(device, False)
    source = torch.zeros(copied // 4, device=device)
    target = torch.zeros_like(source)
    return Rates(flops, 2 * source.nbytes / best(lambda: target.copy_(source), finish))


def best(
    work: Callable[[], object], finish: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the shortest of the times that the work takes, in seconds."""
    times = []
    for _ in range(TIMES):
        finish()
        begun = clock()
        work()
        finish()
        times.append(clock() - begun)
    return min(times)


def waiting_for(device: torch.device) -> Callable[[], object]:
    """Return what waits for a device's work."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None
