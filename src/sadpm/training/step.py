"""One step of training: what is random in it, and the gradients of its loss."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sadpm.diffusion.schedule import NoiseSchedule, network_time
from sadpm.running.distributed import ALONE, Group
from sadpm.running.files import UserError
from sadpm.running.randomness import generator, position_seed

if TYPE_CHECKING:
    from sadpm.config.jobs import TrainJob
    from sadpm.diffusion.losses import PredictNoise
    from sadpm.objectives import Loss


def draws_at(
    step: int, params: TrainJob, schedule: NoiseSchedule, x0: Tensor, group: Group = ALONE
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return this process's part of a batch x0 (B, C, H, W) and of what is random in its step.

    Each process of a group draws for the whole batch, so that all see the numbers of one that is alone.

    Raises:
        UserError: the objective does not keep its contract.
    """
    torch.manual_seed(position_seed(params.seed, group.stream("dropout"), step))
    numbers = generator(params.seed, "training", step, x0.device)
    draws = params.objective.draw(tuple(x0.shape), schedule.num_train_timesteps, numbers)
    if wrong := [name for name, values in draws.items() if len(values) != len(x0)]:
        raise UserError(
            f"objective {params.objective.kind!r}: what draw returns as {wrong[0]!r} has not one entry for each of"
            f" {len(x0)} images"
        )
    mine = group.part(len(x0))
    return x0[mine], {name: values[mine] for name, values in draws.items()}


def loss_of(
    params: TrainJob, schedule: NoiseSchedule, network: torch.nn.Module, x0: Tensor, draws: dict[str, Tensor]
) -> Loss:
    """Return the loss of images x0 (b, C, H, W), given what was drawn for them.

    Raises:
        UserError: the objective does not keep its contract.
    """
    loss = params.objective.loss(_predictor(network), schedule, x0, draws)
    if loss.total.ndim or len(loss.parts) != len(params.objective.parts):
        told = f"a total of shape {tuple(loss.total.shape)} and {len(loss.parts)} parts"
        raise UserError(
            f"objective {params.objective.kind!r}: the loss is {told}, not one number and the parts"
            f" {params.objective.parts}"
        )
    return loss


def add_gradients(
    params: TrainJob,
    schedule: NoiseSchedule,
    network: torch.nn.Module,
    x0: Tensor,
    draws: dict[str, Tensor],
    parts: int = 1,
    group: Group = ALONE,
) -> Tensor:
    """Add the gradients of the mean loss of images x0 (b, C, H, W) to those that are there.

    The images are shown to the network in equal parts, one after the other: their mean losses average to that of all.

    Returns the values of the loss and its parts, one-dimensional.
    """
    values: list[Tensor] = []
    for part in range(parts):
        mine = Group(part, parts).part(len(x0))
        with group.apart(network) if part < parts - 1 else nullcontext():
            loss = loss_of(params, schedule, network, x0[mine], {name: drawn[mine] for name, drawn in draws.items()})
            (loss.total / parts).backward()
        values.append(torch.stack([loss.total, *loss.parts]).detach() / parts)
    return torch.stack(values).sum(0)


def _predictor(network: torch.nn.Module) -> PredictNoise:
    return lambda x, n: network(x, network_time(n))
