"""Measure the paper's two theorems for one model: they hold for every network, and these are this one's numbers.

The network computes in float32, as everywhere; what is summed up around it is float64, so that both sides of Theorem 1
agree to nine digits or more. Where a theorem does not hold, this program is wrong, and the job ends with a traceback.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sadpm.config.jobs import TheoryJob
from sadpm.diffusion.samplers import Predict, Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.theory import SequenceBounds, errors_by_level, sequence_bounds, two_sides
from sadpm.networks.predictor import Predictor, load_network
from sadpm.running.device import device_name, select_device
from sadpm.running.files import UserError, provenance, write_json
from sadpm.running.progress import progress
from sadpm.running.randomness import ImageNoise
from sadpm.stages import command
from sadpm.stages.measure_gap import choose_images

LARGEST_RESIDUAL = 1e-9
"""Of the two sides of Theorem 1, relative to the gap."""
WEIGHTS = ("theory", "unit")


def measure_theory(params: TheoryJob, images: Path, model: Path, report: Path) -> None:
    """Write the numbers of both theorems as JSON, in the form of :class:`sadpm.report.theorems.Theorems`."""
    device = select_device()
    schedule = NoiseSchedule.create(**params.schedule.model_dump())
    network = Predictor(load_network(model, device))
    x0 = choose_images(params, images).to(device, torch.float64)

    def predict(x: Tensor, n: int) -> Prediction:
        return Prediction(network(x.float(), n).noise.double())

    with torch.inference_mode():
        chain = along_the_chain(params, predict, schedule, x0)
        levels, bounds = over_all_levels(params, predict, schedule, x0)
    sides = [
        {"weights": weights, "K": length, **{side: value[row].item() for side, value in vars(found).items()}}
        for row, weights in enumerate(WEIGHTS)
        for length, found in bounds.items()
    ]
    values = [*chain["gap"], *chain["by_errors"], *levels["error"], *(side["upper"] for side in sides)]
    if not np.isfinite(values).all():
        raise UserError(f"{model}: the errors of the network are not finite: it has diverged; train it again")
    check(chain, bounds)
    facts = {"device": device_name(device), "torch": torch.__version__}
    theorems = {"chain": chain, "levels": levels, "sides": sides}
    write_json(report, {**theorems, **facts, "provenance": provenance(params, images=images, model=model)})


def along_the_chain(params: TheoryJob, predict: Predict, schedule: NoiseSchedule, x0: Tensor) -> dict[str, list[float]]:
    """Return, by level, root mean squares of the gap, of the same by Theorem 1, and of their difference.

    Images and noise are those of a gap curve with the same ``start``, ``num_images`` and seed.
    """
    noise = ImageNoise(params.seed, "gap", range(len(x0)), tuple(x0.shape[1:]), x0.device)
    abar = schedule.alphas_cumprod[params.start]
    x = abar.sqrt() * x0 + (1 - abar).sqrt() * noise.at_start().to(x0)
    steps = two_sides(predict, schedule, x0, x, params.start, noise.of_step)
    found: dict[str, list[float]] = {"level": [], "gap": [], "by_errors": [], "residual": []}
    for step in progress(steps, params.start - 1, "along the chain"):
        found["level"].append(step.level)
        for key, value in {"gap": step.gap, "by_errors": step.by_errors, "residual": step.gap - step.by_errors}.items():
            found[key].append(root_mean_square(value))
    return found


def over_all_levels(
    params: TheoryJob, predict: Predict, schedule: NoiseSchedule, x0: Tensor
) -> tuple[dict[str, list[float]], dict[int, SequenceBounds]]:
    """Return tau and the root mean square of the errors by level, and Theorem 2's sides by K for :data:`WEIGHTS`.

    The network sees each image once at each level.
    """
    noise = ImageNoise(params.seed, "theory", range(len(x0)), tuple(x0.shape[1:]), x0.device)
    sizes = []

    def errors() -> Iterator[Tensor]:
        for error in errors_by_level(predict, schedule, x0, noise.of_step):
            sizes.append(root_mean_square(error))
            yield error

    total = schedule.num_train_timesteps
    weights = torch.stack([schedule.tau, torch.ones_like(schedule.tau)])
    bounds = sequence_bounds(weights, progress(errors(), total - 1, "all levels"), params.lengths)
    return {"level": [*range(2, total + 1)], "tau": schedule.tau[2:].tolist(), "error": sizes}, bounds


def check(chain: Mapping[str, list[float]], bounds: Mapping[int, SequenceBounds]) -> None:
    """See that both theorems hold.

    Raises:
        ArithmeticError: one does not, which is no user's mistake.
    """
    for level, gap, residual in zip(chain["level"], chain["gap"], chain["residual"], strict=True):
        if residual > LARGEST_RESIDUAL * gap:
            raise ArithmeticError(f"Theorem 1 fails at level {level}: its sides differ by {residual:.2g} of {gap:.2g}")
    for length, found in bounds.items():
        if not found.hold():
            raise ArithmeticError(f"Theorem 2 fails for K = {length}, weights {' and '.join(WEIGHTS)}: {found}")


def root_mean_square(values: Tensor) -> float:
    """Return the root mean square over images and pixels."""
    return values.square().mean().sqrt().item()


if __name__ == "__main__":
    command(measure_theory)
