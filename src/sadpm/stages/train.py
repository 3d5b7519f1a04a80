"""Train one noise predictor: the DDPM baseline or SA-K."""

import time
from pathlib import Path

import torch
from torch import Tensor

from sadpm.artifacts import UserError, provenance, sha256, write_json, write_text
from sadpm.batches import TrainingBatches
from sadpm.data import load_pixels
from sadpm.device import device_name, select_device
from sadpm.diffusion.losses import PredictNoise, SequenceAwareLoss, antithetic_levels, sequence_aware_loss
from sadpm.diffusion.schedule import NoiseSchedule, network_time
from sadpm.jobs import TrainJob
from sadpm.networks import UNet, save_unet
from sadpm.optimisation import LOSS_COLUMNS, TrainingState
from sadpm.progress import progress
from sadpm.randomness import generator, position_seed
from sadpm.resume import Checkpoints
from sadpm.stages import command


def train(params: TrainJob, images: Path, model: Path, log: Path, report: Path, checkpoints: Path) -> None:
    """Write the averaged weights as a folder that diffusers opens, the losses, and a report."""
    begun = time.monotonic()
    device = select_device()
    pixels, schedule = load_pixels(images), NoiseSchedule.create(**params.schedule.model_dump()).to(device)
    training = params.training
    batches = TrainingBatches(pixels, training.batch_size, params.seed, device, training.flip)
    state = TrainingState(
        new_network(params, pixels.shape).to(device).to(memory_format=torch.channels_last),
        learning_rate=training.learning_rate,
        ema_decay=training.ema_decay,
        max_grad_norm=training.max_grad_norm,
        log_every=training.log_every,
    )
    saved = Checkpoints(checkpoints, params, images=sha256(images))
    if (found := saved.latest(device)) is not None:
        state.load_state_dict(found)

    first = state.step
    for step in progress(range(first, training.steps), training.steps, "training", first):
        loss = loss_at(step, params, schedule, state.module, batches.at(step))
        state.update(loss.total, loss.simple, loss.sequence)
        if state.step % training.checkpoint_every == 0 and state.step < training.steps:
            saved.save(state.step, state.state_dict())

    assert isinstance(state.ema, UNet)
    save_unet(state.ema, model)
    rows = [LOSS_COLUMNS, *state.history]
    write_text(log, "".join(",".join(map(str, row)) + "\n" for row in rows))
    seconds = time.monotonic() - begun
    facts = {"seconds": seconds, "steps_in_this_process": training.steps - first, "device": device_name(device)}
    write_json(report, {**facts, "torch": torch.__version__, "provenance": provenance(params, images=images)})
    saved.remove()


def new_network(params: TrainJob, shape: tuple[int, ...]) -> UNet:
    """Return an initialised U-Net for images of this shape (n, H, W, C)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(position_seed(params.seed, "initialisation", 0))
        try:
            return UNet.for_images(shape, **params.network.model_dump())
        except ValueError as error:
            raise UserError(f"network: {error}") from error


def loss_at(
    step: int, params: TrainJob, schedule: NoiseSchedule, network: torch.nn.Module, x0: Tensor
) -> SequenceAwareLoss:
    """Return the loss of one training step; all its randomness comes from the step's position."""
    draws = generator(params.seed, "training", step, x0.device)
    torch.manual_seed(position_seed(params.seed, "dropout", step))
    total, sequence = schedule.num_train_timesteps, params.sequence
    n = antithetic_levels(len(x0), total, draws)
    if sequence is None:
        noise = torch.randn(1, *x0.shape, generator=draws, device=x0.device)
        return sequence_aware_loss(_predictor(network), schedule, x0, n, noise, lam=0)
    sliding = sequence.window == "sliding"
    noise = torch.randn(sequence.K + sliding, *x0.shape, generator=draws, device=x0.device)
    start = None
    if sliding:
        start = torch.randint(1 - sequence.K, total + 1, (len(x0),), generator=draws, device=x0.device)
    return sequence_aware_loss(
        _predictor(network), schedule, x0, n, noise, lam=sequence.lam, weights=sequence.weights, window_start=start
    )


def _predictor(network: torch.nn.Module) -> PredictNoise:
    return lambda x, n: network(x, network_time(n))


if __name__ == "__main__":
    command(train)
