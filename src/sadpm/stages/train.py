"""Train one noise predictor by an objective."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadpm.config.jobs import TrainJob
from sadpm.config.watch import WatchConfig, watch_from_environment
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.networks.execution import Executed
from sadpm.networks.section import PLAIN, Execution
from sadpm.networks.unet import UNet, save_unet
from sadpm.running import distributed
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, memory_advice, select_device
from sadpm.running.distributed import Group
from sadpm.running.files import UserError, provenance, sha256, write_json, write_text
from sadpm.running.randomness import position_seed
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command, options_of
from sadpm.training.batches import TrainingBatches
from sadpm.training.curves import Curves, Samples, require_tensorboard
from sadpm.training.learning_rate import learning_rate_at
from sadpm.training.state import LOSS_COLUMNS, TrainingState
from sadpm.training.step import add_gradients, draws_at

OUT_OF_MEMORY = (
    "set execution.gradient_accumulation (2, 4, ..) or execution.activation_checkpointing, which make no other result,"
    " or execution.precision: bfloat16, which does; a smaller training.batch_size is another training"
)


def train(
    params: TrainJob,
    images: Path,
    model: Path,
    log: Path,
    report: Path,
    checkpoints: Path,
    checkpoint_seconds: int = 600,
    processes: int = 1,
    execution: Execution = PLAIN,
) -> None:
    """Write the averaged weights as a folder that diffusers opens, the losses, and a report.

    Several processes, each with a GPU of its own where there are any, share each batch; under a launcher such as
    torchrun there are as many as it started, on one machine or on several. The result is that of one process, but for
    rounding and other dropout masks. So it is whatever ``execution`` says. No ``processes``, as of a job without a GPU,
    are one.
    """
    given = dict(locals())
    watch = watch_from_environment()
    if watch.tensorboard:
        require_tensorboard()
    started, processes = distributed.started(), max(1, processes)
    check_batch(params.training.batch_size, processes if started == 1 else started, execution.gradient_accumulation)
    if started == 1 and processes > 1:
        distributed.launch(processes, "sadpm.stages.train", options_of(given))
        return
    with distributed.join() as group:
        device = select_device()
        executed = Executed(execution, params.precision, device, group, params.network.dropout)
        inputs = {"images": sha256(images), **executed.inputs()}
        saved = Checkpoints(checkpoints, params, checkpoint_seconds, group=group, **inputs)
        curves = report.parent / "tensorboard"
        with memory_advice(OUT_OF_MEMORY):
            state = optimise(params, load_pixels(images), saved, device, group, executed, watch, curves)
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
        "execution": executed.report(trained=True),
    }
    write_json(report, {**facts, "provenance": provenance(params, images=images)})
    saved.remove()


def optimise(
    params: TrainJob,
    pixels: NDArray[np.uint8],
    saved: Checkpoints,
    device: torch.device,
    group: Group,
    executed: Executed | None = None,
    watch: WatchConfig = WatchConfig(),  # noqa: B008 (can't be changed)
    curves: Path = Path("tensorboard"),
) -> TrainingState:
    """Train to the last step, from the last checkpoint on; ``pixels`` are the images (n, H, W, C).

    A step's random numbers are drawn first; what follows is work of the device alone, of which it may keep a record.
    What is watched of it goes into the folder ``curves``.

    Raises:
        UserError: the network does not fit the images, training diverges, or not all processes see the checkpoints.
    """
    executed = executed or Executed(PLAIN, params.precision, device, group)
    training, schedule = params.training, NoiseSchedule.create(**params.schedule.model_dump()).to(device)
    batches = TrainingBatches(pixels, training.batch_size, params.seed, device, training.flip)
    state = new_state(params, pixels.shape, device, group, executed.graphs)
    if (found := saved.latest(device)) is not None:
        state.load_state_dict(found)
    if not group.agrees_on(state.step):
        raise UserError(f"{saved.folder}: the processes see different checkpoints; they need a folder that they share")

    at_once = training.batch_size // (group.size * executed.parts) * params.objective.images_per_training_image()
    shape = (pixels.shape[3], *pixels.shape[1:3])
    network = executed.training(state.module, (at_once, *shape))
    drawn_names: list[str] | None = None

    def work(x0: Tensor, *drawn: Tensor) -> None:
        state.optimizer.zero_grad()
        assert drawn_names is not None
        draws = dict(zip(drawn_names, drawn, strict=True))
        state.learn(add_gradients(params, schedule, network, x0, draws, executed.parts, group))

    work_of_device = executed.replayed(work)
    names = loss_names(params)
    shown: Curves | None = None
    if watch.tensorboard and group.writes:
        samples = Samples(shape, watch.images, schedule, params.seed) if watch.images else None
        shown = Curves(curves, state, names, training.batch_size, samples)

    def losses() -> dict[str, float]:
        return dict(zip(names, state.history[-1][1:], strict=True)) if state.history else {}

    for step in saved.steps(training.steps, state.state_dict, "training", losses, sound=lambda: state.sound):
        x0, draws = draws_at(step, params, schedule, batches.at(step), group)
        drawn_names = drawn_names or list(draws)
        if list(draws) != drawn_names:
            raise UserError(f"objective {params.objective.kind!r}: draw returns {list(draws)} after {drawn_names}")
        state.begin()
        work_of_device(x0, *draws.values())
        state.end()
        if shown is not None:
            shown.after_step(watch.every, training.steps)
    return state


def new_state(
    params: TrainJob, shape: tuple[int, ...], device: torch.device, group: Group, replayed: bool
) -> TrainingState:
    """Return the state before the first step, for images of this shape (n, H, W, C)."""
    training = params.training
    return TrainingState(
        new_network(params, shape).to(device).to(memory_format=torch.channels_last),
        learning_rate=lambda step: learning_rate_at(
            step, training.learning_rate, training.steps, training.warmup_steps, training.decay
        ),
        ema_decay=training.ema_decay,
        max_grad_norm=training.max_grad_norm,
        log_every=training.log_every,
        loss_of_zero=params.objective.loss_of_zero(math.prod(shape[1:])),
        group=group,
        replayed=replayed,
    )


def loss_names(params: TrainJob) -> tuple[str, ...]:
    """Return what the numbers in a row of the history are, after the step."""
    return (*LOSS_COLUMNS[1:], *params.objective.parts)


def check_batch(batch_size: int, processes: int, parts: int = 1) -> None:
    """Raise UserError where processes, or the parts in which each shows its images, can't share a batch equally."""
    if batch_size % processes:
        raise UserError(f"{processes} processes can't share a batch of {batch_size} images equally")
    if batch_size % (processes * parts):
        share = f" on each of {processes} processes" if processes > 1 else ""
        raise UserError(f"gradient_accumulation: {parts} parts{share} can't share {batch_size} images equally")


def new_network(params: TrainJob, shape: tuple[int, ...]) -> UNet:
    """Return an initialised U-Net for images of this shape (n, H, W, C)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(position_seed(params.seed, "initialisation", 0))
        try:
            return UNet.for_images(shape, **params.network.model_dump())
        except ValueError as error:
            raise UserError(f"network: {error}") from error


if __name__ == "__main__":
    with distributed.ending_at_once():
        command(train)
