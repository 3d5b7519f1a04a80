"""Draw sets of samples of one model: by several samplers, covariances and numbers of steps."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sadpm.artifacts import provenance, sha256, write_atomically, write_json
from sadpm.device import device_name, select_device
from sadpm.diffusion.samplers import DDIMStep, DDPMStep, Step, pixel_variance, reverse_process, to_uint8
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.jobs import Chain, SampleJob
from sadpm.predictor import Predictor, load_network
from sadpm.progress import progress
from sadpm.randomness import ImageNoise
from sadpm.stages import command


def sample(
    params: SampleJob, model: Path, samples: Sequence[Path], reports: Sequence[Path], covariances: Sequence[Path] = ()
) -> None:
    """Write (n, H, W, C) uint8 images and a report for each chain; ``covariances`` are files named by their kind."""
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    unet = load_network(model, device)
    fitted = {path.stem: path for path in covariances}
    for chain, path, report in zip(params.chains, samples, reports, strict=True):
        begun = time.monotonic()
        covariance = fitted.get(chain.covariance.kind)
        predict = Predictor(unet, schedule, chain.covariance, covariance, clip=chain.recipe.clip_sample)
        shape = (unet.in_channels, unet.sample_size, unet.sample_size)
        images = draw_images(params, chain, predict, shape, schedule, device)
        seconds = time.monotonic() - begun
        write_atomically(path, partial(np.save, arr=images))
        inputs = {"model": model, **({"covariance": covariance} if covariance else {})}
        facts = {"network_calls": chain.steps, "seconds": seconds, "device": device_name(device)}
        chain_only = params.model_copy(update={"chains": (chain,)})
        write_json(report, {**facts, "sha256": sha256(path), "provenance": provenance(chain_only, **inputs)})


def draw_images(
    params: SampleJob,
    chain: Chain,
    predict: Predictor,
    shape: tuple[int, int, int],
    schedule: NoiseSchedule,
    device: torch.device,
) -> np.ndarray:
    """Run the reverse process for all images of one chain, some at once; ``shape`` is (C, H, W)."""
    levels = exact_timesteps(chain.recipe.timesteps, schedule.num_train_timesteps, chain.steps)
    step, bound = reverse_step(chain), last_variance(chain)
    images = np.empty((params.num_samples, *shape[1:], shape[0]), np.uint8)
    starts = range(0, params.num_samples, params.batch_size)
    what = f"{chain.sampler.family}, {chain.covariance.kind}, {chain.steps} steps, batches of {params.batch_size}"
    with torch.inference_mode():
        for start in progress(starts, len(starts), what):
            batch = range(start, min(start + params.batch_size, params.num_samples))
            noise = ImageNoise(params.seed, "samples", batch, shape, device)
            x = noise.draw()
            for state in reverse_process(predict, x, levels, schedule, step, noise.draw, max_variance=bound):
                x = state.x
            images[batch.start : batch.stop] = to_uint8(x).cpu().numpy()
    return images


def reverse_step(chain: Chain) -> Step:
    """Return the reverse step that a sampler, a covariance and a recipe mean together."""
    sampler, clip, optimal = chain.sampler, chain.recipe.clip_sample, chain.covariance.kind != "fixed"
    if sampler.family == "ddim":
        return DDIMStep(eta=sampler.eta, variance="optimal" if optimal else "small", clip_sample=clip)
    return DDPMStep(variance="optimal" if optimal else sampler.variance, clip_sample=clip)


def last_variance(chain: Chain) -> float | None:
    """Return the bound of the variance in the step that lands on the lowest level, or None."""
    pixels = chain.recipe.max_variance_pixels.get(chain.sampler.family)
    return None if pixels is None else pixel_variance(pixels)


if __name__ == "__main__":
    command(sample)
