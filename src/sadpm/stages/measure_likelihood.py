"""Measure the variational bound on the negative log-likelihood of images, in bits/dim, by chains of one model."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sadpm.config.jobs import Chain, LikelihoodJob
from sadpm.diffusion.likelihood import prior_term, transition_term
from sadpm.diffusion.samplers import Predict, Prediction, Step
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import exact_timesteps
from sadpm.metrics.uncertainty import standard_error
from sadpm.networks.predictor import load_network
from sadpm.running import status
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, select_device
from sadpm.running.files import UserError, provenance, sha256, write_atomically, write_json
from sadpm.running.randomness import ImageNoise
from sadpm.samplers.one_step import OneStep
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command
from sadpm.stages.measure_gap import choose_images
from sadpm.stages.sample import manner, predictor

SPLITS = {"train": "training", "test": "test"}
NOTE = (
    "Bits/dim are of the variational bound on the negative log-likelihood, of images that are drawn for each training"
    " seed, with noise that is the same for all models"
)


def measure_likelihood(
    params: LikelihoodJob,
    images: Path,
    model: Path,
    scores: Path,
    influence: Path,
    checkpoints: Path,
    covariances: Sequence[Path] = (),
    checkpoint_seconds: int = 600,
) -> None:
    """Write the mean bound of each cell with its error, n, recipe, cost and provenance, and each image's part in it.

    ``images`` are those of the job's split; ``covariances`` are files of what was fitted.
    """
    status.current.expect(len(params.batches()) * sum(chain.steps for chain in params.chains))
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    unet = load_network(model, device)
    x0 = choose_images(params, images, "likelihood-images")
    if x0.shape[1:] != (unet.in_channels, unet.sample_size, unet.sample_size):
        raise UserError(f"{images}: images of shape {tuple(x0.shape[1:])} (C, H, W), and {model} is for others")
    files = {name: path for path in covariances for name in path.stem.split("+")}
    of_split = {"images" if params.split == "train" else "held_out": images}
    made = provenance(params, **of_split, model=model, **{path.stem: path for path in covariances})
    there, name = len(load_pixels(images)), device_name(device)
    contents: list[dict[str, Any]] = []
    parts: dict[str, Any] = {}
    finished: list[Checkpoints] = []
    for chain, recipe in zip(params.chains, params.recipes, strict=True):
        file = None if chain.fit is None else files.get(chain.fit)
        predict = in_double(predictor(chain, unet, schedule, file))
        inputs = {key: made["inputs"][key] for key in (*of_split, "model", *([file.stem] if file else []))}
        chain_only = params.model_copy(update={"chains": (chain,), "recipes": (recipe,)})
        saved = Checkpoints(checkpoints / chain.cell.draw, chain_only, checkpoint_seconds, **inputs)
        bits = bounds(params, chain, predict, x0, schedule, device, saved).numpy() / (x0[0].numel() * math.log(2))
        parts[f"{chain.cell.draw}/bpd"] = (bits - bits.mean()).astype(np.float32)
        measured = {"value": float(bits.mean()), "standard_error": standard_error(bits)}
        facts = {"n": len(bits), "reference_n": there, "dims": x0[0].numel(), "split": params.split, "notes": [NOTE]}
        label = f"bits/dim ({SPLITS[params.split]} images)"
        way = {"timesteps": chain.recipe.timesteps, "clip_sample": chain.recipe.clip_sample}
        fitted = {"covariance": inputs.pop(file.stem)} if file else {}
        content = {
            "cell": chain.cell.as_dict(),
            "recipe": {"name": recipe, **way, "max_variance_pixels": None},
            "metrics": {"bpd": {**measured, "label": label, **facts}},
            **{"network_calls": chain.steps, "seconds": saved.seconds, "device": name},
            "provenance": {"code": made["code"], "inputs": {**inputs, **fitted}},
        }
        contents.append(content)
        finished.append(saved)
    write_atomically(influence, lambda file: np.savez(file, **parts))
    kept = {"file": influence.name, "sha256": sha256(influence)}
    seconds = sum(content["seconds"] for content in contents)
    write_json(scores, {"scores": contents, "influence": kept, "device": name, "seconds": seconds, "provenance": made})
    for saved in finished:
        saved.remove()


def bounds(
    params: LikelihoodJob,
    chain: Chain,
    predict: Predict,
    x0: Tensor,
    schedule: NoiseSchedule,
    device: torch.device,
    saved: Checkpoints,
) -> Tensor:
    """Return the bound of each image in nats, (n,) float64; ``x0`` is (n, C, H, W) in [-1, 1].

    Goes on at the step where an earlier try was left: what is saved are the sums of the terms so far.

    Raises:
        UserError: a bound is not finite, or the sampler has none, or a chain that does not go by its step.
    """
    way = chain.sampler
    if (objection := way.objection_to_bound()) or not isinstance(way, OneStep):
        raise UserError(f"{chain.cell.draw}: {objection or f'{way.kind!r} has no step, which the bound is made of'}")
    levels = exact_timesteps(chain.recipe.timesteps, schedule.num_train_timesteps, chain.steps)
    step, pairs = way.step(manner(chain)), list(pairwise([*reversed(levels), 0]))
    check_step(chain, step, predict, x0[:2].to(device).double(), levels, schedule)
    found, batches = saved.latest(device), params.batches()
    nats = torch.zeros(len(x0), dtype=torch.float64, device=device) if found is None else found["nats"]
    first = saved.done

    def state() -> dict[str, Tensor]:
        check_finite(nats, chain)
        return {"nats": nats}

    with torch.inference_mode():
        for done in saved.steps(len(batches) * chain.steps, state, f"{chain.cell.draw}, bounds"):
            batch, j = divmod(done, chain.steps)
            which, (t, s) = batches[batch], pairs[j]
            if j == 0 or done == first:
                clean = x0[which.start : which.stop].to(device).double()
                noise = ImageNoise(params.seed, "likelihood", which, tuple(x0.shape[1:]), device)
            term = transition_term(predict, clean, s, t, schedule, step, noise.of_step(j).double())
            nats[which.start : which.stop] += term if j else term + prior_term(schedule, clean, t)
    check_finite(nats, chain)
    return nats.cpu()


def check_step(
    chain: Chain, step: Step, predict: Predict, x: Tensor, levels: Sequence[int], schedule: NoiseSchedule
) -> None:
    """Raise UserError where the first step of a chain from some states (B, C, H, W) is not the one that is given."""
    with torch.inference_mode():
        t, s = levels[-1], [0, *levels][-2]
        meant = step(schedule, x, predict(x, t), s, t)
        expected = meant.mean + (meant.variance.sqrt() if s else 0)
        found = next(chain.sampler.chain(predict, x, levels, schedule, lambda j: torch.ones_like(x), manner(chain), 0))
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise UserError(
            f"{chain.cell.draw}: the chain of {chain.sampler.kind!r} does not go by its step, so it has no bound"
        )


def in_double(predict: Predict) -> Predict:
    """Return a model that is asked in float32, as it was trained, and whose answers are gone on with in float64.

    The mass of a grey level that is five standard deviations away is lost in float32.
    """

    def predicted(x: Tensor, t: int) -> Prediction:
        found = predict(x.float(), t)
        covariance = None if found.covariance is None else found.covariance.double()
        return Prediction(found.noise.double(), covariance)

    return predicted


def check_finite(nats: Tensor, chain: Chain) -> None:
    """Raise UserError for bounds (n,) of which one is no number."""
    if not nats.isfinite().all():
        raise UserError(
            f"the bound of {chain.cell.draw} is not finite: the network has diverged, or the covariance fitted to it"
            " is negative where its recipe does not clip it; look at the losses in log.csv and in the report below"
            " covariance/, and train or fit again with a lower learning_rate, or take a recipe with clip_sample: true"
        )


if __name__ == "__main__":
    command(measure_likelihood, report="scores")
