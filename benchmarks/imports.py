"""Time `python -c "import ..."` for what the stages import, the fastest of five, in CPU seconds."""

import os
import subprocess
import sys

STAGES = ("prepare_data", "score", "table", "figure", "train", "sample")
MODULES = ("sadpm.config.jobs", *(f"sadpm.stages.{stage}" for stage in STAGES), "torch")


def main() -> None:
    for module in MODULES:
        print(f"{module:26s} {min(cpu_seconds(module) for _ in range(5)):.2f} s")


def cpu_seconds(module: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
