"""Fit covariances to one network: what a pass over the images shows of it is shown to all of them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sadpm.config.jobs import CovarianceJob
from sadpm.covariances import Estimate, Fitting
from sadpm.diffusion.covariance import probed_hessian
from sadpm.diffusion.schedule import NoiseSchedule, network_time
from sadpm.networks.execution import Executed
from sadpm.networks.memory import See
from sadpm.networks.predictor import Seen, load_network, write_fitted
from sadpm.networks.section import PLAIN, Execution
from sadpm.running.checkpoints import Checkpoints
from sadpm.running.device import device_name, memory_advice, select_device
from sadpm.running.distributed import ALONE
from sadpm.running.files import provenance, sha256, write_json
from sadpm.running.randomness import generator, position_seed, random_signs
from sadpm.running.transfers import to_device
from sadpm.sources.reading.prepared import load_pixels
from sadpm.stages import command
from sadpm.training.batches import TrainingBatches


def fit_covariances(
    params: CovarianceJob,
    images: Path,
    model: Path,
    fitted: Path,
    report: Path,
    checkpoints: Path,
    checkpoint_seconds: int = 600,
    execution: Execution = PLAIN,
) -> None:
    """Write what all the job's covariances have learned, as one file; go on where an earlier try was left."""
    device = select_device()
    unet = load_network(model, device).train(params.heads.backbone_dropout)
    executed = Executed(execution, params.precision, device)
    inputs = {"images": sha256(images), "model": sha256(model), **executed.inputs()}
    saved = Checkpoints(checkpoints, params, checkpoint_seconds, ALONE, **inputs)
    schedule = NoiseSchedule.create(**params.schedule.model_dump()).to(device)
    needs_hessian = any(covariance.needs_hessian for covariance in params.covariances.values())
    fitting = Fitting(unet, schedule, params.heads, params.seed, device, needs_hessian)
    batches = TrainingBatches(load_pixels(images), params.heads.batch_size, params.seed, device)
    estimates = {name: covariance.estimate(fitting) for name, covariance in params.covariances.items()}
    if (found := saved.latest(device)) is not None:
        for name, estimate in estimates.items():
            estimate.load_state_dict(found[name])

    def state() -> dict[str, Any]:
        return {name: estimate.state_dict() for name, estimate in estimates.items()}

    def losses() -> dict[str, float]:
        return {name: estimate.history[-1][1] for name, estimate in estimates.items() if estimate.history}

    def sound() -> bool:
        return all(getattr(estimate, "sound", True) for estimate in estimates.values())  # an average can't be lost

    with memory_advice("set execution.precision: bfloat16, or a smaller heads.batch_size; both make other results"):
        within = torch.enable_grad if needs_hessian else torch.no_grad
        shown = params.heads.batch_size
        see = executed.seeing(unet, shown, within, gradients=needs_hessian, times=shown)
        for step in saved.steps(params.heads.steps, state, f"fitting {', '.join(estimates)}", losses, sound):
            fit_step(step, fitting, estimates, batches.at(step), see)

    write_fitted(fitted, {name: estimate.tensors() for name, estimate in estimates.items()})
    facts = {
        "seconds": saved.seconds,
        "device": device_name(device),
        "torch": torch.__version__,
        "execution": executed.report(),
    }
    histories = {name: estimate.history for name, estimate in estimates.items() if estimate.history}
    origin = provenance(params, images=images, model=model)
    write_json(report, {**facts, "columns": ["step", "loss"], "losses": histories, "provenance": origin})
    saved.remove()


def fit_step(step: int, fitting: Fitting, estimates: dict[str, Estimate], x0: Tensor, see: See | None = None) -> None:
    """Show one batch of noisy images to the frozen network, and let all estimates learn from it.

    ``see`` is how the network is run; None stands for as it is.
    """
    schedule, seed = fitting.schedule, fitting.seed
    draws = generator(seed, "covariance", step, x0.device)
    torch.manual_seed(position_seed(seed, "covariance-dropout", step))
    n = stratified_levels(step, len(x0), schedule.num_train_timesteps, seed)
    n = to_device(n, x0.device)
    eps = torch.randn(x0.shape, generator=draws, device=x0.device)
    x, hessian = schedule.add_noise(x0, eps, n).requires_grad_(fitting.needs_hessian), None
    with torch.set_grad_enabled(fitting.needs_hessian):
        noise, h, emb = (see or fitting.unet.see)(x, network_time(n).float())
    if fitting.needs_hessian:
        signs = random_signs(x.shape, generator(seed, "covariance-probe", step, x.device))
        hessian = probed_hessian(schedule, noise, x, n, signs)
    seen = Seen(x.detach(), n, noise.detach(), h.detach(), emb.detach(), hessian)
    for estimate in estimates.values():
        estimate.learn(seen, eps)


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
