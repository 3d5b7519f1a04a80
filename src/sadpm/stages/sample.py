"""Draw samples of one model: by several samplers, covariances and numbers of steps."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from sadpm.config.grid import Cell
from sadpm.config.jobs import Chain, SampleJob
from sadpm.diffusion.samplers import pixel_variance, to_uint8
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.networks.execution import Executed
from sadpm.networks.memory import See
from sadpm.networks.predictor import Predictor, load_network, read_fitted
from sadpm.networks.section import PLAIN, Execution
from sadpm.networks.unet import UNet
from sadpm.running import status
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, memory_advice, select_device
from sadpm.running.files import UserError, provenance, write_atomically, write_json
from sadpm.running.randomness import ImageNoise
from sadpm.running.records import entries
from sadpm.running.transfers import Leaving
from sadpm.samplers import Manner
from sadpm.sources.reading.prepared import write_samples
from sadpm.stages import command

OUT_OF_MEMORY = "set a smaller sampling_batch_size, or execution.precision: bfloat16; both draw all again"


def sample(
    params: SampleJob,
    model: Path,
    samples: Path,
    report: Path,
    checkpoints: Path,
    covariances: Sequence[Path] = (),
    tuned: Sequence[Path] = (),
    checkpoint_seconds: int = 600,
    execution: Execution = PLAIN,
) -> None:
    """Write uint8 images (cells, n, H, W, C) and a report.

    ``covariances`` are files of what was fitted, ``tuned`` of what was chosen.

    Nothing is written before all cells are finished, because the workflow deletes what a failed job has written. Until
    then their images are in the checkpoints, and those of one cell at a time in memory.
    """
    status.current.expect(len(params.batches()) * sum(chain.steps for chain in params.chains))
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    unet = load_network(model, device)
    executed = Executed(execution, params.precision, device)
    with memory_advice(OUT_OF_MEMORY):
        see = executed.seeing(unet, min(params.batch_size, params.num_samples), torch.inference_mode)
    shape = (unet.in_channels, unet.sample_size, unet.sample_size)
    files = {name: path for path in covariances for name in path.stem.split("+")}
    choices, chosen_in = load_choices(tuned)
    origin = provenance(params, model=model, **{path.stem: path for path in covariances}, **chosen_in)
    part = ".part{}-of-{}".format(*params.shard) if params.shard != (0, 1) else ""
    draws: list[dict[str, Any]] = []
    finished: list[Checkpoints] = []
    for asked in params.chains:
        chain, choice = resolved(asked, choices)
        file = None if chain.fit is None else files.get(chain.fit)
        predict = predictor(chain, unet, schedule, file, see)
        inputs = {name: origin["inputs"][name] for name in ("model", *([file.stem] if file else []))}
        chain_only = params.model_copy(update={"chains": (chain,)})
        inputs |= executed.inputs()
        saved = Checkpoints(checkpoints / f"{chain.cell.draw}{part}", chain_only, checkpoint_seconds, **inputs)
        with memory_advice(OUT_OF_MEMORY):
            draw_images(params, chain, predict, shape, schedule, device, saved)
        draws.append({"cell": chain.cell.as_dict(), "network_calls": chain.steps, "seconds": saved.seconds, **choice})
        finished.append(saved)

    def write(file: IO[bytes]) -> None:
        whole = (len(draws), sum(map(len, params.batches())), *shape[1:], shape[0])
        hashes = write_samples(file, whole, ([saved.last()["drawn"].numpy()] for saved in finished))
        for draw, content in zip(draws, hashes, strict=True):
            draw["sha256"] = content

    write_atomically(samples, write)
    facts = {"device": device_name(device), "execution": executed.report()}
    write_json(report, {**facts, "draws": draws, "provenance": origin})
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
    stream: str = "samples",
) -> None:
    """Run the reverse process for the job's images, some at once; ``shape`` is (C, H, W), ``stream`` names the noise.

    Goes on in the middle of a chain where an earlier try was left. The images are in the state that is saved last:
    ``drawn``, (n, H, W, C) uint8.

    Raises:
        UserError: a finished image, or one that would go into a checkpoint, is not finite.
    """
    levels = exact_timesteps(chain.recipe.timesteps, schedule.num_train_timesteps, chain.steps)
    batches, way = params.batches(), manner(chain)
    x, drawn = torch.empty(0), torch.empty(0, *shape[1:], shape[0], dtype=torch.uint8)
    if (found := saved.latest()) is not None:
        x, drawn = found["x"].to(device), found["drawn"]
    images, first = [drawn], saved.done
    leaving: list[Leaving] = []

    def state() -> dict[str, Tensor]:
        check_finite(x.isfinite().all(), chain)
        for batch in leaving:
            pixels, finite = batch.arrived()
            check_finite(finite, chain)
            images.append(pixels)
        leaving.clear()
        return {"x": x, "drawn": torch.cat(images)}

    what = f"{chain.cell.draw}, batches of {params.batch_size}"
    chain.sampler.prepare()
    states: Iterator[Tensor] = iter(())
    with torch.inference_mode():
        for done in saved.steps(len(batches) * chain.steps, state, what):
            batch, j = divmod(done, chain.steps)
            if j == 0 or done == first:
                noise = ImageNoise(params.seed, stream, batches[batch], shape, device)
                begin = j if chain.sampler.resumes else 0
                x = noise.at_start() if begin == 0 else x
                states = chain.sampler.chain(predict, x, levels, schedule, noise.of_step, way, begin)
                states = islice(states, j - begin, None)
            x = next(states)
            if x.shape != (len(batches[batch]), *shape):
                raise UserError(
                    f"sampler {chain.sampler.kind!r}: a state of shape {tuple(x.shape)}, not of images {shape}"
                )
            if j == chain.steps - 1:
                leaving.append(Leaving(to_uint8(x), x.isfinite().all()))


def predictor(
    chain: Chain, unet: UNet, schedule: NoiseSchedule, fitted: Path | None, see: See | None = None
) -> Predictor:
    """Return the model with a chain's covariance, and with what its sampler makes of the predicted noise.

    ``see`` is how the network is run, None for as it is.

    Raises:
        UserError: the covariance was not fitted, or to another network.
    """
    covariance, clip = chain.covariance, chain.recipe.clip_sample
    levels = exact_timesteps(chain.recipe.timesteps, schedule.num_train_timesteps, chain.steps)
    divisors = chain.sampler.divisors(levels)
    if not covariance.is_fitted:
        return Predictor(unet, divisors=divisors, see=see)
    if fitted is None or chain.fit is None:
        raise UserError(f"the covariance {covariance.kind!r} needs the file of what was fitted")
    try:
        loaded = covariance.load(read_fitted(fitted, chain.fit), unet, schedule)
    except (ValueError, KeyError) as error:
        raise UserError(f"{fitted}: {chain.fit}: {error}; delete it to have it fitted again") from error
    return Predictor(unet, loaded, average=covariance.average, clip=clip, divisors=divisors, see=see)


def load_choices(files: Sequence[Path]) -> tuple[dict[Cell, Mapping[str, Any]], dict[str, Path]]:
    """Return what was chosen at each cell, and the files by the names under which reports know them.

    Raises:
        UserError: a file tells of no tuning.
    """
    choices: dict[Cell, Mapping[str, Any]] = {}
    names: dict[str, Path] = {}
    for path in files:
        found = {Cell(**entry["cell"]): entry for entry in entries(path, "tuned")}
        names |= {f"tuned {run} {path.stem}": path for run in dict.fromkeys(cell.run for cell in found)}
        choices |= found
    return choices, names


def resolved(chain: Chain, choices: Mapping[Cell, Mapping[str, Any]]) -> tuple[Chain, dict[str, Any]]:
    """Return a chain with the value that was chosen for it, if any of it is tuned, and what a report says of that.

    Raises:
        UserError: there is no choice for this chain.
    """
    if (tuned := chain.tuned) is None:
        return chain, {}
    choice = choices.get(tuned.at)
    if choice is None or choice["option"] != tuned.option:
        place = f"{tuned.at.run}/tuned"
        raise UserError(f"{tuned.option} of {tuned.at.draw} was not tuned; delete what lies in {place} to have it done")
    told = {key: choice[key] for key in ("option", "value", "declared", "metric", "notes")}
    return chain.having(tuned.part, tuned.option, choice["value"]), {"tuned": told}


def manner(chain: Chain) -> Manner:
    """Return what a chain's covariance and recipe ask of its sampler."""
    pixels = chain.recipe.max_variance_pixels.get(chain.sampler.kind)
    bound = None if pixels is None else pixel_variance(pixels)
    return Manner(optimal=chain.covariance.is_fitted, clip_sample=chain.recipe.clip_sample, max_variance=bound)


def check_finite(finite: Tensor, chain: Chain) -> None:
    """Raise UserError for images that are not all finite: the cast to uint8 would make black ones in silence."""
    if not finite:
        raise UserError(
            f"images of {chain.cell.draw} are not finite: the network has diverged, or the covariance fitted to it, or"
            " the chain itself; look at the losses in log.csv and in the report below covariance/, and train or fit"
            " again with a lower learning_rate"
        )


if __name__ == "__main__":
    command(sample)
