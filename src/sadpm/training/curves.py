"""Curves and samples of a training while it runs, as event files that TensorBoard shows.

It takes no part in the training: samples come from the averaged weights and from noise of their own, and no random
state is touched, so that the weights are the same with it and without.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadpm.diffusion.samplers import DDIMStep, reverse_process, to_uint8
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import timesteps
from sadpm.networks.predictor import Predictor
from sadpm.networks.unet import UNet
from sadpm.running.files import UserError
from sadpm.running.randomness import ImageNoise
from sadpm.training.state import TrainingState

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

STEPS = 10
"""Of DDIM, from noise to the samples that are shown."""


def require_tensorboard() -> None:
    """Raise UserError where event files can't be written, which is better known before a training than after it."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"watch.tensorboard is true, and TensorBoard is not installed where this job runs ({error}): install it by"
            " `pip install 'tensorboard>=2.18'`, or set watch.tensorboard to false"
        ) from None


class Samples:
    """Images by the averaged weights, always from the same noise."""

    def __init__(self, shape: tuple[int, int, int], count: int, schedule: NoiseSchedule, seed: int) -> None:
        """Draw the noise of ``count`` images of this shape (C, H, W)."""
        device = schedule.alphas_cumprod.device
        self._noise = ImageNoise(seed, "watched", range(count), shape, device).at_start()
        self._schedule = schedule
        total = schedule.num_train_timesteps
        self._levels = timesteps("linear", total, min(STEPS, total))

    @torch.inference_mode()
    def of(self, ema: UNet) -> NDArray[np.uint8]:
        """Return what DDIM makes of the noise, (n, H, W, C)."""
        step = DDIMStep(clip_sample=True)
        *_, last = reverse_process(Predictor(ema), self._noise, self._levels, self._schedule, step, _no_noise)
        return cast("NDArray[np.uint8]", to_uint8(last.x).cpu().numpy())


class Curves:
    """What one training shows: the losses as often as they are logged, and samples now and then."""

    def __init__(
        self, folder: Path, state: TrainingState, names: Sequence[str], batch_size: int, samples: Samples | None
    ) -> None:
        """Go on with the event files of a folder; those of a training that starts anew replace what is there.

        What an earlier process has shown of later steps than the state's is withdrawn.

        Args:
            folder: where the event files lie.
            state: the training.
            names: of the losses in each row of the state's history, without the step.
            batch_size: images of one step.
            samples: what is drawn, if anything.
        """
        from torch.utils.tensorboard.writer import SummaryWriter

        if state.step == 0:
            shutil.rmtree(folder, ignore_errors=True)
        self._writer: SummaryWriter | None = None
        try:
            self._writer = SummaryWriter(str(folder), purge_step=state.step + 1)
        except OSError as error:
            self._end(error)
        self._state, self._names, self._batch_size, self._samples = state, names, batch_size, samples
        self._step, self._time = state.step, time.monotonic()

    def after_step(self, every: int, last: int) -> None:
        """Show what is new: a row of the history, and samples once in ``every`` steps and after the last one."""
        step = self._state.step
        if step % self._state.log_every == 0:
            self._show_losses()
        if self._samples is not None and (step % every == 0 or step == last):
            assert isinstance(self._state.ema, UNet)
            self._write("add_image", "samples", grid(self._samples.of(self._state.ema)), step, dataformats="HWC")
            self._write("flush")

    def _show_losses(self) -> None:
        state, now = self._state, time.monotonic()
        step, *losses = state.history[-1]
        values = {f"loss/{name}": loss for name, loss in zip(self._names, losses, strict=True)}
        values["learning_rate"] = state.last_rate
        if state.gradient_norm is not None:
            values["gradient_norm"] = state.gradient_norm.item()
        values["images_per_second"] = (state.step - self._step) * self._batch_size / (now - self._time)
        self._step, self._time = state.step, now
        for name, value in values.items():
            self._write("add_scalar", name, value, int(step))
        self._write("flush")

    def _write(self, method: str, *arguments: object, **options: str) -> None:
        """Call the writer; a disk that is full ends the curves, not the training."""
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*arguments, **options)
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        self._writer = None
        print(f"curves for TensorBoard end here: {error}", file=sys.stderr)


def grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (n, H, W, C) side by side, in a square or nearly so: (rows H, columns W, C)."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    return (
        padded.reshape(rows, columns, height, width, channels)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width, channels)
    )


def _no_noise(step: int) -> Tensor:
    raise AssertionError(f"DDIM draws no noise, not in step {step} either")
