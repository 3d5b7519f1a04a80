"""Draw samples of one model: by several samplers, covariances and numbers of steps."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from sadpm.artifacts import UserError, provenance, write_atomically, write_json
from sadpm.data import write_samples
from sadpm.device import device_name, select_device
from sadpm.diffusion.samplers import DDIMStep, DDPMStep, ReverseStep, Step, pixel_variance, reverse_process, to_uint8
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.jobs import Chain, SampleJob
from sadpm.predictor import Predictor, load_network
from sadpm.randomness import ImageNoise
from sadpm.resume import Checkpoints
from sadpm.stages import command


def sample(
    params: SampleJob,
    model: Path,
    samples: Path,
    report: Path,
    checkpoints: Path,
    covariances: Sequence[Path] = (),
    checkpoint_seconds: int = 600,
) -> None:
    """Write uint8 images (cells, n, H, W, C) and a report; ``covariances`` are files named by their kind.

    Nothing is written before all cells are finished, because the workflow deletes what a failed job has written. Until
    then their images are in the checkpoints, and those of one cell at a time in memory.
    """
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    unet = load_network(model, device)
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    fitted = {path.stem: path for path in covariances}
    origin = provenance(params, model=model, **fitted)
    part = ".part{}-of-{}".format(*params.shard) if params.shard != (0, 1) else ""
    draws: list[dict[str, Any]] = []
    finished: list[Checkpoints] = []
    for chain in params.chains:
        kind = chain.covariance.kind
        predict = Predictor(unet, schedule, chain.covariance, fitted.get(kind), clip=chain.recipe.clip_sample)
        inputs = {name: origin["inputs"][name] for name in ("model", kind) if name in origin["inputs"]}
        chain_only = params.model_copy(update={"chains": (chain,)})
        saved = Checkpoints(checkpoints / f"{chain.cell.draw}{part}", chain_only, checkpoint_seconds, **inputs)
        draw_images(params, chain, predict, shape, schedule, device, saved)
        draws.append({"cell": chain.cell.as_dict(), "network_calls": chain.steps, "seconds": saved.seconds})
        finished.append(saved)

    def write(file: IO[bytes]) -> None:
        whole = (len(draws), sum(map(len, params.batches())), *shape[1:], shape[0])
        hashes = write_samples(file, whole, ([saved.last()["drawn"].numpy()] for saved in finished))
        for draw, content in zip(draws, hashes, strict=True):
            draw["sha256"] = content

    write_atomically(samples, write)
    write_json(report, {"device": device_name(device), "draws": draws, "provenance": origin})
    for saved in finished:
        saved.remove()


def draw_images(
    params: SampleJob,
    chain: Chain,
    predict: Predictor,
    shape: tuple[int, int, int],
    schedule: NoiseSchedule,
    device: torch.device,
    saved: Checkpoints,
) -> None:
    """Run the reverse process for the job's images, some at once; ``shape`` is (C, H, W).

    Goes on in the middle of a chain where an earlier try was left. The images are in the state that is saved last:
    ``drawn``, (n, H, W, C) uint8.

    Raises:
        UserError: a finished image, or one that would go into a checkpoint, is not finite.
    """
    levels = exact_timesteps(chain.recipe.timesteps, schedule.num_train_timesteps, chain.steps)
    step, bound = reverse_step(chain), last_variance(chain)
    batches = params.batches()
    x, drawn = torch.empty(0), torch.empty(0, *shape[1:], shape[0], dtype=torch.uint8)
    if (found := saved.latest()) is not None:
        x, drawn = found["x"].to(device), found["drawn"]
    images, first = [drawn], saved.done

    def state() -> dict[str, Tensor]:
        check_finite(x, chain)
        return {"x": x, "drawn": torch.cat(images)}

    what = f"{chain.sampler.family}, {chain.covariance.kind}, {chain.steps} steps, batches of {params.batch_size}"
    states: Iterator[ReverseStep] = iter(())
    with torch.inference_mode():
        for done in saved.steps(len(batches) * chain.steps, state, what):
            batch, j = divmod(done, chain.steps)
            if j == 0 or done == first:
                noise = ImageNoise(params.seed, "samples", batches[batch], shape, device)
                x = noise.at_start() if j == 0 else x
                states = reverse_process(predict, x, levels, schedule, step, noise.of_step, max_variance=bound, first=j)
            x = next(states).x
            if j == chain.steps - 1:
                check_finite(x, chain)
                images.append(to_uint8(x).cpu())


def check_finite(x: Tensor, chain: Chain) -> None:
    """Raise UserError for images (B, C, H, W) of which the cast to uint8 would make black ones in silence."""
    if not x.isfinite().all():
        which = f"{chain.steps} steps ({chain.sampler.family}, {chain.covariance.kind})"
        raise UserError(
            f"images of a chain of {which} are not finite: the network has diverged, or the covariance fitted to it, or"
            " the chain itself; look at the losses in log.csv and covariance/covariance.json beside the samples, and"
            " train or fit again with a lower learning_rate"
        )


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
