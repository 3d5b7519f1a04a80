"""What the target `plan` supposes about the device."""

from __future__ import annotations

from pydantic import Field

from sadpm.kinds.section import ConfigPath, Section


class PlanConfig(Section):
    """The device's speed: measured by ``benchmarks/throughput.py`` or ``bench.py`` into a file, or else assumed.

    25 TFLOP/s is two fifths of the 67 that an H100 (SXM) can do in float32 without tensor cores.
    """

    throughput: ConfigPath | None = None
    assumed_device: str = "NVIDIA H100"
    assumed_tflops: float = Field(25.0, gt=0)
