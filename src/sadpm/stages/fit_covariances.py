"""Fit Analytic's ms_eps and the NPR and SN heads in one pass: they share the frozen network's forward."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sadpm.artifacts import provenance, sha256, write_atomically, write_json
from sadpm.batches import TrainingBatches
from sadpm.data import load_pixels
from sadpm.device import device_name, select_device
from sadpm.diffusion.covariance import mean_squared_prediction, mean_squared_prediction_controlled
from sadpm.diffusion.losses import npr_head_loss, sn_head_loss
from sadpm.diffusion.schedule import NoiseSchedule, network_time
from sadpm.jobs import CovarianceJob
from sadpm.networks import CovarianceHead, UNet
from sadpm.optimisation import TrainingState
from sadpm.predictor import load_network, new_head, save_head
from sadpm.randomness import generator, position_seed
from sadpm.resume import Checkpoints
from sadpm.stages import command

HEADS_OF_ZERO = 6
"""E eps^4 = 3 a pixel is the loss of a head that always answers 0: SN's exactly, NPR's for a network that does so."""


class MomentEstimate:
    """Running mean and variance of the images' ||f(x_n, n)||^2 / d for each level n; shapes (N + 1,), on the device."""

    def __init__(self, num_train_timesteps: int, device: torch.device) -> None:
        self.sums = torch.zeros(3, num_train_timesteps + 1, dtype=torch.float64, device=device)

    def add(self, n: Tensor, values: Tensor) -> None:
        """Add one value (B,) for each image at its level (B,)."""
        values = values.double()
        self.sums.index_add_(1, n, torch.stack([torch.ones_like(values), values, values.square()]))

    def summary(self) -> dict[str, np.ndarray]:
        """Return ms_eps, its standard error, and how many images each level saw; level 0 is 0.

        A level that no image saw has NaN: it is not known, and 0 would mean the largest of all covariances.
        """
        count, total, squares = self.sums.cpu().numpy()
        seen = np.where(count > 0, count, np.nan)
        seen[0] = 1
        mean = total / seen
        variance = np.maximum(squares / np.maximum(count, 1) - mean**2, 0) * count / np.maximum(count - 1, 1)
        return {"ms_eps": mean, "standard_error": np.sqrt(variance / np.maximum(count, 1)), "count": count}


def fit_covariances(
    params: CovarianceJob,
    images: Path,
    model: Path,
    analytic: Path,
    npr: Path,
    sn: Path,
    report: Path,
    checkpoints: Path,
    checkpoint_seconds: int = 600,
) -> None:
    """Write ``analytic.npz`` and the two heads' averaged weights; go on where an earlier try was left."""
    device = select_device()
    saved = Checkpoints(checkpoints, params, checkpoint_seconds, images=sha256(images), model=sha256(model))
    schedule = NoiseSchedule.create(**params.schedule.model_dump()).to(device)
    unet = load_network(model, device).train(params.heads.backbone_dropout)
    batches = TrainingBatches(load_pixels(images), params.heads.batch_size, params.seed, device)
    moments = MomentEstimate(schedule.num_train_timesteps, device)
    state = TrainingState(
        new_heads(params, unet).to(device),
        learning_rate=params.heads.learning_rate,
        ema_decay=params.heads.ema_decay,
        max_grad_norm=None,
        log_every=params.heads.log_every,
        loss_of_zero=HEADS_OF_ZERO * unet.in_channels * unet.sample_size**2,
    )
    if (found := saved.latest(device)) is not None:
        state.load_state_dict(found["heads"])
        moments.sums = found["moments"]

    def everything() -> dict[str, Any]:
        return {"heads": state.state_dict(), "moments": moments.sums}

    for step in saved.steps(params.heads.steps, everything, "fitting covariances"):
        fit_step(step, params, schedule, unet, state, moments, batches.at(step))

    write_atomically(analytic, lambda file: np.savez(file, allow_pickle=False, **moments.summary()))
    heads = state.ema
    assert isinstance(heads, nn.ModuleDict)
    for kind, path in (("npr", npr), ("sn", sn)):
        head = heads[kind]
        assert isinstance(head, CovarianceHead)
        save_head(head, path)
    facts = {"seconds": saved.seconds, "device": device_name(device), "torch": torch.__version__}
    losses = {"columns": ["step", "loss", "npr", "sn"], "history": state.history}
    write_json(report, {**facts, "losses": losses, "provenance": provenance(params, images=images, model=model)})
    saved.remove()


def new_heads(params: CovarianceJob, unet: UNet) -> nn.ModuleDict:
    """Return initialised NPR and SN heads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(position_seed(params.seed, "heads", 0))
        return nn.ModuleDict({kind: new_head(unet, params.heads.kind) for kind in ("npr", "sn")})


def fit_step(
    step: int,
    params: CovarianceJob,
    schedule: NoiseSchedule,
    unet: UNet,
    state: TrainingState,
    moments: MomentEstimate,
    x0: Tensor,
) -> None:
    """Show one batch of noisy images to the frozen network, and let all three estimates learn from it."""
    draws = generator(params.seed, "covariance", step, x0.device)
    torch.manual_seed(position_seed(params.seed, "covariance-dropout", step))
    n = stratified_levels(step, len(x0), schedule.num_train_timesteps, params.seed).to(x0.device, non_blocking=True)
    noise = torch.randn(x0.shape, generator=draws, device=x0.device)
    with torch.no_grad():
        h, emb = unet.features(schedule.add_noise(x0, noise, n), network_time(n))
        predicted = unet.output(h)
        if params.heads.ms_eps == "controlled":
            moments.add(n, mean_squared_prediction_controlled(predicted, noise))
        else:
            moments.add(n, mean_squared_prediction(predicted))
    heads = state.module
    assert isinstance(heads, nn.ModuleDict)
    npr = npr_head_loss(heads["npr"](h, emb), predicted, noise).mean()
    sn = sn_head_loss(heads["sn"](h, emb), noise).mean()
    state.update(npr + sn, npr, sn)


def stratified_levels(step: int, count: int, num_train_timesteps: int, seed: int) -> Tensor:
    """Return the levels (count,) of one step: uniform on 1..N, and each level as often as any other in the long run.

    The levels are consecutive entries of an endless sequence of shuffled 1..N, so that ms_eps of every level comes
    from the same number of images.
    """
    positions = range(step * count, (step + 1) * count)
    rounds = range(positions.start // num_train_timesteps, positions[-1] // num_train_timesteps + 1)
    shuffled = [torch.randperm(num_train_timesteps, generator=generator(seed, "strata", r)) + 1 for r in rounds]
    offset = positions.start - rounds.start * num_train_timesteps
    return torch.cat(shuffled)[offset : offset + count]


if __name__ == "__main__":
    command(fit_covariances)
