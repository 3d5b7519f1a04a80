"""Figure 1 of the paper, computed: one-dimensional chains whose small errors cancel out or add up.

Data are standard normal, so that the best noise predictor is known: f*(x, n) = sqrt(1 - abar_n) x. Two predictors add
an error of the same size at every level. One draws its sign anew at each step, the other keeps it along the chain.
L_simple can't tell them apart; the end of the chain can.
"""

from dataclasses import dataclass

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sadpm.config.outputs import IllustrationFigure
from sadpm.diffusion.gap import GapStep, estimation_gap
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.report.figures import PALETTE, PAPER_STYLE, WIDE

SHOWN_CHAINS = 12


@dataclass(frozen=True)
class Chains:
    """Chains of one predictor.

    Attributes:
        errors: (S + 2, B) for S steps, f - f* by level; those of levels S + 1, .., 2 enter.
        steps: the steps from level S + 1 down to 2, tensors (B, 1, 1, 1).
        added_gap: (S, B), the part of the gap D that these errors cause at levels S, .., 1: D less that of f*, whose
            chain has the same noise.
    """

    errors: Tensor
    steps: list[GapStep]
    added_gap: Tensor


def noise_schedule(steps: int) -> NoiseSchedule:
    """Return a schedule on which an error moves the end of the chain about equally far at whatever level it occurs.

    The chain goes from level ``steps + 1`` to 1 and leaves out the topmost third, where little of the data is left.
    """
    return NoiseSchedule.create("cosine", 3 * (steps + 1) // 2)


def best_prediction(schedule: NoiseSchedule, x: Tensor, n: int) -> Tensor:
    """Return f*(x_n, n) = E[eps | x_n] for standard normal data."""
    return schedule.betas_cumprod[n].sqrt() * x


def simulate(figure: IllustrationFigure) -> tuple[Chains, Chains]:
    """Run chains from the same noise with independent errors, then with persistent ones."""
    generator = torch.Generator().manual_seed(0)
    shape = (figure.steps + 2, figure.chains)
    persistent = (figure.error * _random_signs(shape[1:], generator)).expand(shape)
    independent = figure.error * _random_signs(shape, generator)
    best = _gaps(_run(torch.zeros(shape, dtype=torch.float64)))
    runs = [(errors, _run(errors)) for errors in (independent, persistent)]
    first, second = (Chains(errors, steps, _gaps(steps) - best) for errors, steps in runs)
    return first, second


def root_mean_square(values: Tensor) -> Tensor:
    """Return the root mean square over chains, the last dimension."""
    return values.square().mean(-1).sqrt()


@rc_context(PAPER_STYLE)
def illustration(figure: IllustrationFigure) -> Figure:
    """Draw the errors of one chain, the gap that they cause in some, and its root mean square over all chains."""
    canvas = Figure(figsize=(WIDE, 2.2), layout="constrained")
    grid = canvas.add_gridspec(2, 3)
    above = canvas.add_subplot(grid[0, 0])
    below = canvas.add_subplot(grid[1, 0], sharex=above, sharey=above)
    some, total = canvas.add_subplot(grid[:, 1]), canvas.add_subplot(grid[:, 2])
    kinds = ("independent", "persistent")
    for ax, chains, kind, color in zip((above, below), simulate(figure), kinds, PALETTE[2:0:-1], strict=True):
        _draw_errors(ax, chains, kind, color)
        _draw_gaps(some, total, chains, kind, color)
    above.tick_params(labelbottom=False)
    above.set_title("error of each step, one chain")
    some.set_title(f"gap $D_n$ that they cause, {min(SHOWN_CHAINS, figure.chains)} chains", parse_math=True)
    total.set_title(f"root mean square of $D_n$, {figure.chains:,} chains", parse_math=True)
    for ax in (below, some, total):
        ax.set_xlim(figure.steps + 1, 1)
        ax.set_xlabel("noise level $n$", parse_math=True)
    total.set_ylim(0, 1.35 * total.get_ylim()[1])
    total.legend(loc="upper left", title="root mean square of an error, of the last gap")
    return canvas


def _random_signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2 * torch.randint(2, shape, generator=generator).to(torch.float64) - 1


def _run(errors: Tensor) -> list[GapStep]:
    """Run all chains with f* plus the errors of their level; data and noise are the same in every call."""
    levels, chains = errors.shape
    schedule = noise_schedule(levels - 2)
    generator = torch.Generator().manual_seed(1)

    def predict(x: Tensor, n: int) -> Prediction:
        return Prediction(best_prediction(schedule, x, n) + errors[n].reshape(x.shape))

    def draw_noise(_: int) -> Tensor:
        return torch.randn(chains, 1, 1, 1, generator=generator, dtype=torch.float64)

    x0, start = draw_noise(0), levels - 1
    x = schedule.add_noise(x0, draw_noise(0), torch.full((chains,), start))
    return list(estimation_gap(predict, schedule, x0, x, start, draw_noise))


def _gaps(steps: list[GapStep]) -> Tensor:
    return torch.stack([step.gap.flatten() for step in steps])


def _draw_errors(ax: Axes, chains: Chains, kind: str, color: str) -> None:
    levels = [step.level for step in chains.steps]
    ax.vlines(levels, 0, chains.errors[levels, 0].tolist(), color=color, linewidth=0.5)
    ax.axhline(0, color="black", linewidth=0.5)
    limit = 1.6 * float(chains.errors.abs().max())
    ax.set_ylim(-limit, limit)
    ax.set_ylabel(kind)


def _draw_gaps(some: Axes, total: Axes, chains: Chains, kind: str, color: str) -> None:
    levels = [step.level - 1 for step in chains.steps]
    some.plot(levels, chains.added_gap[:, :SHOWN_CHAINS].numpy(), color=color, linewidth=0.6)
    curve = root_mean_square(chains.added_gap)
    per_step = float(root_mean_square(chains.errors).mean())
    total.plot(levels, curve.numpy(), color=color, label=f"{kind}: {per_step:#.2g}, {curve[-1]:#.2g}")
