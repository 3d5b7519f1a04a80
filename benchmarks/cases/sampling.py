"""A step of sampling, and whole chains beside diffusers' pipeline with the same weights."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cases.subject import Subject
from paired.rounds import Side
from paired.running import Case
from sadpm.config.grid import Cell
from sadpm.config.telling import sample_job
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.predictor import Predictor
from sadpm.networks.unet import UNet, save_unet
from sadpm.running.checkpoints import Checkpoints
from sadpm.stages.sample import draw_images, predictor

OURS, DIFFUSERS = "sadpm", "diffusers' DDIMPipeline"
LEVEL = 500
STEPS = 10


def cases(subject: Subject) -> Iterator[Case]:
    """Yield one step."""
    yield Case(
        f"sampling/{subject.name}",
        "a step of sampling",
        partial(_step, subject),
        batch=batch_of(subject),
        flops=subject.flops,
        precision=subject.precision,
    )


def chains(subject: Subject, steps: int = STEPS) -> Iterator[Case]:
    """Yield chains of some steps."""
    has_diffusers = find_spec("diffusers") is not None
    yield Case(
        f"chain/{subject.name}",
        f"DDIM in {steps} steps, from noise to pixels",
        partial(_chains, subject, steps, has_diffusers),
        batch=batch_of(subject),
        flops=(1 + has_diffusers) * steps * subject.flops,
        precision=subject.precision,
        absent={} if has_diffusers else {DIFFUSERS: "not installed"},
    )


def batch_of(subject: Subject) -> int:
    """Return how many images the stage `sample` draws at once."""
    return min(subject.dataset.sampling_batch_size, subject.dataset.num_samples)


def seeing(subject: Subject, batch: int) -> Callable[[], object]:
    """Return one call of the predictor, as the stage `sample` makes it."""
    unet, x = subject.frozen(), subject.images(batch)
    predict = Predictor(unet, see=subject.executed().seeing(unet, batch, torch.inference_mode))

    def step() -> None:
        with torch.inference_mode():
            predict(x, LEVEL)

    return step


@contextmanager
def _step(subject: Subject, batch: int) -> Iterator[list[Side]]:
    yield [Side(OURS, seeing(subject, batch), batch * subject.flops)]


@contextmanager
def _chains(subject: Subject, steps: int, has_diffusers: bool, batch: int) -> Iterator[list[Side]]:
    unet, flops = subject.frozen(), batch * steps * subject.flops
    with TemporaryDirectory() as folder:
        sides = [Side(OURS, _ours(subject, unet, steps, batch, Path(folder)), flops)]
        if has_diffusers:
            save_unet(unet, Path(folder, "model"))
            sides.append(Side(DIFFUSERS, _diffusers(subject, Path(folder, "model"), steps, batch), flops))
        yield sides


def _ours(subject: Subject, unet: UNet, steps: int, batch: int, folder: Path) -> Callable[[], object]:
    """Return what draws a batch as the stage `sample` does, its last checkpoint included."""
    cell = Cell(subject.name, next(iter(subject.config.models)), 0, "ddim", "fixed", steps)
    job = sample_job(subject.config, [cell]).model_copy(update={"num_samples": batch, "batch_size": batch})
    (chain,) = job.chains
    schedule = NoiseSchedule.create(**job.schedule.model_dump())  # samplers keep it on the host
    see = subject.executed().seeing(unet, batch, torch.inference_mode)
    predict, drawn = predictor(chain, unet, schedule, None, see), count()

    def draw() -> None:
        with redirect_stderr(io.StringIO()):
            saved = Checkpoints(folder / f"{next(drawn)}", job)
            draw_images(job, chain, predict, subject.image, schedule, subject.device, saved)
            saved.remove()

    return draw


def _diffusers(subject: Subject, model: Path, steps: int, batch: int) -> Callable[[], object]:
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    told = subject.config.schedule.model_dump()
    scheduler = DDIMScheduler(
        num_train_timesteps=told["num_train_timesteps"],
        beta_start=told["beta_start"],
        beta_end=told["beta_end"],
        clip_sample=False,
    )
    pipeline = DDIMPipeline(UNet2DModel.from_pretrained(model, low_cpu_mem_usage=False), scheduler).to(subject.device)
    pipeline.set_progress_bar_config(disable=True)
    executed = subject.executed(plain=True)

    def draw() -> None:
        with executed.autocast():
            pipeline(batch_size=batch, num_inference_steps=steps, eta=0.0, output_type="np")

    return draw
