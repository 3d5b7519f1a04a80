"""The figure of the paper's two theorems in numbers of trained models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sadpm.config.grid import GapCurve
from sadpm.config.outputs import TheoryFigure
from sadpm.report.figures import PALETTE, PAPER_STYLE, WIDE, Labels, log_axis
from sadpm.report.theorems import Theorems

Measured = Sequence[tuple[GapCurve, Theorems]]

WEIGHTS = {"theory": "weights tau", "unit": "weights 1, as in the paper's tables"}
MARKERS = {"upper": "v", "sequence": "o", "lower": "^"}
SIDES = {
    "upper": "(N-1)/(N+K) L_simple",
    "sequence": "L_sa, sliding window",
    "lower": "E ||sum of the errors||² / (N+K)²",
}


@rc_context(PAPER_STYLE)
def theory(figure: TheoryFigure, measured: Measured, labels: Labels) -> Figure:
    """Draw tau beside unit weights, Theorem 1 along the chain, and the three sides of Theorem 2 for both weights.

    Args:
        figure: what the configuration says.
        measured: the numbers of each model, in the order in which they are drawn.
        labels: printed names.
    """
    canvas = Figure(figsize=(WIDE, 4.8), layout="constrained")
    (weights, chain), bounds = canvas.subplots(2, 2)
    _draw_weights(weights, measured[0][1])
    _draw_chain(chain, figure.start, measured)
    for ax, kind in zip(bounds, WEIGHTS, strict=True):
        _draw_bounds(ax, kind, figure.lengths, measured)
    names = (labels.get("model", {}).get(curve.model, curve.model) for curve, _ in measured)
    models = [Line2D([], [], color=color, label=name) for name, color in zip(names, _colors(measured), strict=True)]
    sides = [Line2D([], [], color="0.5", linestyle="", marker=MARKERS[s], label=SIDES[s]) for s in SIDES]
    canvas.legend(handles=models + sides, loc="outside lower center", ncols=min(5, len(models + sides)))
    return canvas


def _draw_weights(ax: Axes, theorems: Theorems) -> None:
    levels = theorems.levels
    ax.plot(levels.level, levels.tau, color=PALETTE[2], label="tau of Theorem 1")
    ax.axhline(1, color=PALETTE[0], linestyle="--", label="1, as in the paper's tables")
    log_axis(ax)
    ax.set_title("Weights of the sequence-aware loss")
    ax.set_xlabel("noise level i")
    ax.set_ylabel("weight of the error at level i")
    ax.legend()


def _draw_chain(ax: Axes, start: int, measured: Measured) -> None:
    """Both sides on top of each other, and what is left between them many decades below."""
    wide: dict[str, Any] = {"linewidth": 2.6, "alpha": 0.35}
    for (_, theorems), color in zip(measured, _colors(measured), strict=True):
        chain = theorems.chain
        ax.plot(chain.level, chain.gap, color=color, **wide)
        ax.plot(chain.level, chain.by_errors, color=color, linestyle="--")
        ax.plot(chain.level, np.where(np.array(chain.residual) > 0, chain.residual, np.nan), color=color, linestyle=":")
    ax.set_xlim(start - 1, 1)
    log_axis(ax)
    ax.set_title("Theorem 1: the gap is the sum of the weighted errors")
    ax.set_xlabel("noise level, from the start of the chain to its end")
    ax.set_ylabel("root mean square")
    styles: dict[str, dict[str, Any]] = {
        "distance of two chains": wide, "sum of the errors": {"linestyle": "--"}, "difference": {"linestyle": ":"}
    }  # fmt: skip
    ax.legend(handles=[Line2D([], [], color="0.3", label=label, **style) for label, style in styles.items()])


def _draw_bounds(ax: Axes, kind: str, lengths: Sequence[int], measured: Measured) -> None:
    """A group for each K, and in it a range for each model."""
    width = 0.8 / len(measured)
    for i, ((_, theorems), color) in enumerate(zip(measured, _colors(measured), strict=True)):
        sides = [next(s for s in theorems.sides if (s.weights, s.K) == (kind, length)) for length in lengths]
        x = np.arange(len(lengths)) + (i - (len(measured) - 1) / 2) * width
        ax.vlines(x, [s.lower for s in sides], [s.upper for s in sides], color=color, alpha=0.5)
        for side, marker in MARKERS.items():
            ax.plot(x, [getattr(s, side) for s in sides], color=color, marker=marker, linestyle="")
    ax.set_xticks(range(len(lengths)), [f"K = {length}" for length in lengths])
    ax.set_xlim(-0.6, len(lengths) - 0.4)
    log_axis(ax)
    ax.set_title(f"Theorem 2, {WEIGHTS[kind]}")
    ax.set_ylabel("sum over pixels, mean over images")


def _colors(measured: Measured) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(len(measured))]
