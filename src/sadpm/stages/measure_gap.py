"""Measure the estimation gap of one model along the sampling chain."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sadpm.config.jobs import GapJob, LikelihoodJob
from sadpm.diffusion.gap import GapStep, estimation_gap
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.predictor import Predictor, load_network
from sadpm.running.device import device_name, select_device
from sadpm.running.files import UserError, provenance, write_json, write_text
from sadpm.running.progress import progress
from sadpm.running.randomness import ImageNoise, generator
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command
from sadpm.training.batches import to_model_range

COLUMNS = ("step", "gap", "mean_gap", "official_gap")


def measure_gap(params: GapJob, images: Path, model: Path, curve: Path, report: Path) -> None:
    """Write the gap after each step as CSV: its root mean square, that of its batch mean, and the authors' variant."""
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    predict = Predictor(load_network(model, device))
    x0 = choose_images(params, images).to(device)
    noise = ImageNoise(params.seed, "gap", range(len(x0)), tuple(x0.shape[1:]), device)
    with torch.inference_mode():
        abar = schedule.alphas_cumprod[params.start]
        x = abar.sqrt() * x0 + (1 - abar).sqrt() * noise.at_start()
        steps = estimation_gap(predict, schedule, x0, x, params.start, noise.of_step)
        rows = torch.stack([summary(step) for step in progress(steps, params.start - 1, "gap")]).tolist()
    if not np.isfinite(rows).all():
        raise UserError(f"{model}: the estimation gap is not finite: the network has diverged; train it again")
    numbers = [",".join(map(repr, (params.start - 1 - j, *row))) for j, row in enumerate(rows)]
    write_text(curve, "\n".join([",".join(COLUMNS), *numbers]) + "\n")
    facts = {"device": device_name(device), "torch": torch.__version__}
    write_json(report, {**facts, "provenance": provenance(params, images=images, model=model)})


def choose_images(params: GapJob | LikelihoodJob, images: Path, stream: str = "gap-images") -> Tensor:
    """Return the same random images for every model, (num_images, C, H, W) in [-1, 1]; others for each seed."""
    pixels = load_pixels(images)
    if params.num_images > len(pixels):
        raise UserError(f"num_images: {params.num_images} asked for, and the data set has {len(pixels)}")
    chosen = torch.randperm(len(pixels), generator=generator(params.seed, stream, 0))[: params.num_images]
    return to_model_range(torch.from_numpy(np.array(pixels[chosen.numpy()]))).movedim(-1, 1)


def summary(step: GapStep) -> Tensor:
    """Return the row of one step, (3,): see :data:`COLUMNS`."""
    values = (step.gap, step.gap.mean(0), step.official_gap.mean(0))
    return torch.stack([value.square().mean().sqrt() for value in values])


if __name__ == "__main__":
    command(measure_gap)
