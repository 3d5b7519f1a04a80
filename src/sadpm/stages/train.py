"""Train one noise predictor by an objective."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadpm.config.jobs import TrainJob
from sadpm.config.watch import WatchConfig, watch_from_environment
from sadpm.diffusion.losses import PredictNoise
from sadpm.diffusion.schedule import NoiseSchedule, network_time
from sadpm.networks.unet import UNet, save_unet
from sadpm.objectives import Loss
from sadpm.running import distributed
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, select_device
from sadpm.running.distributed import ALONE, Group
from sadpm.running.files import UserError, provenance, sha256, write_json, write_text
from sadpm.running.randomness import generator, position_seed
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command, options_of
from sadpm.training.batches import TrainingBatches
from sadpm.training.curves import Curves, Samples, require_tensorboard
from sadpm.training.learning_rate import learning_rate_at
from sadpm.training.state import LOSS_COLUMNS, TrainingState


def train(
    params: TrainJob,
    images: Path,
    model: Path,
    log: Path,
    report: Path,
    checkpoints: Path,
    checkpoint_seconds: int = 600,
    processes: int = 1,
) -> None:
    """Write the averaged weights as a folder that diffusers opens, the losses, and a report.

    Several processes, each with a GPU of its own where there are any, share each batch; under a launcher such as
    torchrun there are as many as it started, on one machine or on several. The result is that of one process, but for
    rounding and other dropout masks.
    """
    given = dict(locals())
    watch = watch_from_environment()
    if watch.tensorboard:
        require_tensorboard()
    started = distributed.started()
    check_batch(params.training.batch_size, processes if started == 1 else started)
    if started == 1 and processes > 1:
        distributed.launch(processes, "sadpm.stages.train", options_of(given))
        return
    with distributed.join() as group:
        device = select_device()
        saved = Checkpoints(checkpoints, params, checkpoint_seconds, group=group, images=sha256(images))
        curves = report.parent / "tensorboard"
        state = optimise(params, load_pixels(images), saved, device, group, watch, curves)
    if not group.writes:
        return
    assert isinstance(state.ema, UNet)
    save_unet(state.ema, model)
    rows = [(LOSS_COLUMNS[0], *loss_names(params)), *state.history]
    write_text(log, "".join(",".join(map(str, row)) + "\n" for row in rows))
    facts = {
        "seconds": saved.seconds,
        "steps_in_this_process": state.step - saved.done,
        "processes": group.size,
        "device": device_name(device),
        "torch": torch.__version__,
    }
    write_json(report, {**facts, "provenance": provenance(params, images=images)})
    saved.remove()


def optimise(
    params: TrainJob,
    pixels: NDArray[np.uint8],
    saved: Checkpoints,
    device: torch.device,
    group: Group,
    watch: WatchConfig = WatchConfig(),  # noqa: B008 (can't be changed)
    curves: Path = Path("tensorboard"),
) -> TrainingState:
    """Train to the last step, from the last checkpoint on; ``pixels`` are the images (n, H, W, C).

    What is watched of it goes into the folder ``curves``.

    Raises:
        UserError: the network does not fit the images, training diverges, or not all processes see the checkpoints.
    """
    training, schedule = params.training, NoiseSchedule.create(**params.schedule.model_dump()).to(device)
    batches = TrainingBatches(pixels, training.batch_size, params.seed, device, training.flip)
    state = TrainingState(
        new_network(params, pixels.shape).to(device).to(memory_format=torch.channels_last),
        learning_rate=lambda step: learning_rate_at(
            step, training.learning_rate, training.steps, training.warmup_steps, training.decay
        ),
        ema_decay=training.ema_decay,
        max_grad_norm=training.max_grad_norm,
        log_every=training.log_every,
        loss_of_zero=params.objective.loss_of_zero(math.prod(pixels.shape[1:])),
        group=group,
    )
    if (found := saved.latest(device)) is not None:
        state.load_state_dict(found)
    if not group.agrees_on(state.step):
        raise UserError(f"{saved.folder}: the processes see different checkpoints; they need a folder that they share")

    network = group.wrap(state.module)
    names = loss_names(params)
    shown: Curves | None = None
    if watch.tensorboard and group.writes:
        shape = (pixels.shape[3], *pixels.shape[1:3])
        samples = Samples(shape, watch.images, schedule, params.seed) if watch.images else None
        shown = Curves(curves, state, names, training.batch_size, samples)

    def losses() -> dict[str, float]:
        return dict(zip(names, state.history[-1][1:], strict=True)) if state.history else {}

    for step in saved.steps(training.steps, state.state_dict, "training", losses, sound=lambda: state.sound):
        loss = loss_at(step, params, schedule, network, batches.at(step), group)
        state.update(loss.total, *loss.parts)
        if shown is not None:
            shown.after_step(watch.every, training.steps)
    return state


def loss_names(params: TrainJob) -> tuple[str, ...]:
    """Return what the numbers in a row of the history are, after the step."""
    return (*LOSS_COLUMNS[1:], *params.objective.parts)


def check_batch(batch_size: int, processes: int) -> None:
    """Raise UserError where processes can't share a batch equally."""
    if processes > 1 and batch_size % processes:
        raise UserError(f"{processes} processes can't share a batch of {batch_size} images equally")


def new_network(params: TrainJob, shape: tuple[int, ...]) -> UNet:
    """Return an initialised U-Net for images of this shape (n, H, W, C)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(position_seed(params.seed, "initialisation", 0))
        try:
            return UNet.for_images(shape, **params.network.model_dump())
        except ValueError as error:
            raise UserError(f"network: {error}") from error


def loss_at(
    step: int,
    params: TrainJob,
    schedule: NoiseSchedule,
    network: torch.nn.Module,
    x0: Tensor,
    group: Group = ALONE,
) -> Loss:
    """Return the loss of one training step; all its randomness comes from the step's position.

    Each process of a group draws for the whole batch ``x0``, and returns the loss of its part.

    Raises:
        UserError: the objective does not keep its contract.
    """
    torch.manual_seed(position_seed(params.seed, group.stream("dropout"), step))
    kind = f"objective {params.objective.kind!r}"
    numbers = generator(params.seed, "training", step, x0.device)
    draws = params.objective.draw(tuple(x0.shape), schedule.num_train_timesteps, numbers)
    if wrong := [name for name, values in draws.items() if len(values) != len(x0)]:
        raise UserError(f"{kind}: what draw returns as {wrong[0]!r} has not one entry for each of {len(x0)} images")
    mine = group.part(len(x0))
    own = {name: values[mine] for name, values in draws.items()}
    loss = params.objective.loss(_predictor(network), schedule, x0[mine], own)
    if loss.total.ndim or len(loss.parts) != len(params.objective.parts):
        told = f"a total of shape {tuple(loss.total.shape)} and {len(loss.parts)} parts"
        raise UserError(f"{kind}: the loss is {told}, not one number and the parts {params.objective.parts}")
    return loss


def _predictor(network: torch.nn.Module) -> PredictNoise:
    return lambda x, n: network(x, network_time(n))


if __name__ == "__main__":
    command(train)
