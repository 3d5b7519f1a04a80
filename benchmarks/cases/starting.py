"""What is paid before any work begins, in CPU seconds: the graph of jobs, and the start of each kind of process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from paired.rounds import Side
from paired.running import Case

ROOT = Path(__file__).parents[2]
STAGES = ("prepare_data", "train", "fit_covariances", "sample", "score", "table", "figure")
BARE = "import torch"


def cases(config: Path, stages: tuple[str, ...] = STAGES) -> Iterator[Case]:
    """Yield the start of stages, beside that of torch alone, and a dry run of a configuration."""
    yield Case("starting/stages", "CPU seconds until it runs", partial(_stages, stages), clock=of_children)
    about = f"CPU seconds of a dry run of {config.name}"
    yield Case("starting/workflow", about, partial(_workflow, config), clock=of_children)


def of_children() -> float:
    """Return the CPU seconds of all processes that were waited for."""
    times = os.times()
    return times.children_user + times.children_system


@contextmanager
def _stages(stages: tuple[str, ...], _: int) -> Iterator[list[Side]]:
    starts = {BARE: ("-c", BARE), "import sadpm.config.jobs": ("-c", "import sadpm.config.jobs")}
    starts |= {f"sadpm.stages.{stage} --help": ("-m", f"sadpm.stages.{stage}", "--help") for stage in stages}
    yield [Side(name, partial(python, *arguments)) for name, arguments in starts.items()]


@contextmanager
def _workflow(config: Path, _: int) -> Iterator[list[Side]]:
    workflow = ("--snakefile", str(ROOT / "workflow/Snakefile"), "--configfile", str(config.absolute()))
    with TemporaryDirectory() as folder:
        asked = (*workflow, "--directory", folder, "--dry-run", "--quiet", "all")
        yield [Side("snakemake --dry-run", partial(python, "-m", "snakemake", *asked))]


def python(*arguments: str) -> None:
    """Run Python with the sources that lie beside, and say what it said where it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
