"""Figures of samples, estimation gaps and sample quality. They are drawn without pyplot, which keeps global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, islice, pairwise
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from sadpm.config.outputs import GapFigure, QualityFigure, SamplesFigure
from sadpm.running.files import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

    from sadpm.config.grid import Cell, GapCurve

Labels = Mapping[str, Mapping[str, str]]
Curve = NDArray[np.void]
"""A gap curve: a structured array with the fields ``step``, ``gap``, ``mean_gap`` and ``official_gap``."""

COLUMN, WIDE = 3.3, 7.0
"""Widths in inches of one column and of both in a two-column paper."""

PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which colour-blind readers can tell apart; the baseline is black."""

MARKERS, DASHES = "osD^vPX", ("-", "--", "-.", ":")
REAL_ROWS = 2
NORMAL_95 = 1.96

PAPER_STYLE: Any = {
    "font.family": ["STIXGeneral", "DejaVu Sans"], "mathtext.fontset": "stix", "font.size": 8, "axes.titlesize": 8,
    "axes.labelsize": 8, "legend.fontsize": 7, "legend.title_fontsize": 7, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1, "lines.markersize": 3.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.linewidth": 0.3, "grid.color": "0.85", "axes.axisbelow": True, "legend.frameon": False,
    "pdf.fonttype": 42, "figure.dpi": 300, "savefig.dpi": 300, "text.parse_math": False,
}  # fmt: skip


def save(figure: Figure, title: str, file: IO[bytes], kind: Literal["pdf", "png"]) -> None:
    """Write a figure, with its title in the file's metadata, so that the same figure gives the same bytes."""
    metadata = {"Title": " ".join(title.split()), **({"CreationDate": None} if kind == "pdf" else {})}
    with rc_context(PAPER_STYLE):
        figure.draw_without_rendering()  # The layout is fixed here: PDF's 72 dpi are too coarse to measure text with.
        figure.set_layout_engine("none")
        figure.savefig(file, format=kind, metadata=metadata)


@rc_context(PAPER_STYLE)
def sample_grid(
    figure: SamplesFigure,
    cells: Sequence[Cell],
    samples: Sequence[NDArray[np.uint8]],
    real: NDArray[np.uint8],
    labels: Labels,
) -> Figure:
    """Draw real images above samples: one row for each model and number of steps, one column for each noise.

    Args:
        figure: what the configuration says.
        cells: the rows below the real images.
        samples: the images of each cell, (n, H, W, C).
        real: images of the data set, (n, H, W, C), of which some from all its parts are shown.
        labels: printed names.

    Raises:
        UserError: there are too few images, or sizes differ.
    """
    count = figure.columns
    rows_of_real = max(1, min(REAL_ROWS, len(real) // count))
    shown = real[spread(rows_of_real * count, len(real))]
    rows = [shown[i * count : (i + 1) * count] for i in range(rows_of_real)]
    names = ["real images", *[""] * (len(rows) - 1)]
    blocks = [0] * len(rows)
    for cell, images in zip(cells, samples, strict=True):
        rows.append(images[:count])
        names.append(f"{_label(labels, 'model', cell.model)}, {cell.steps} step{'s'[: cell.steps != 1]}")
        blocks.append(1 + figure.models.index(cell.model))
    for name, row in zip(names, rows, strict=True):
        if row.shape != (count, *real.shape[1:]):
            raise UserError(
                f"{name}: {row.shape} in place of {(count, *real.shape[1:])} (columns, height, width, colours)"
            )
    pixels, centres = tile(rows, blocks)
    note = (
        f"{_label(labels, 'sampler', figure.sampler)}, {_label(labels, 'covariance', figure.covariance)} covariance; "
    )
    return draw_grid(pixels, centres, names, f"{note}each column from the same noise")


def spread(count: int, total: int) -> list[int]:
    """Return the places of so many images, from all parts of a data set: neighbours may be of one kind."""
    count = min(count, total)
    return [i * total // count for i in range(count)]


def tile(rows: Sequence[NDArray[np.uint8]], blocks: Sequence[int]) -> tuple[NDArray[np.uint8], list[float]]:
    """Put rows of images (columns, H, W, C) onto one white canvas, with wide gaps between blocks of rows.

    Images are magnified by a whole number without smoothing, to about 64 pixels.

    Returns:
        The canvas (height, width, 3) and the vertical centre of each row in pixels.
    """
    columns, height, width, _ = rows[0].shape
    scale = max(1, 64 // max(height, width))
    gap = max(1, scale * max(height, width) // 16)
    extra = [0, *(6 * gap * (above != below) for above, below in pairwise(blocks))]
    tops = np.cumsum(extra) + np.arange(len(rows)) * (scale * height + gap)
    canvas = np.full((tops[-1] + scale * height, columns * (scale * width + gap) - gap, 3), 255, np.uint8)
    for top, row in zip(tops, rows, strict=True):
        for column, image in enumerate(row):
            left = column * (scale * width + gap)
            magnified = image.repeat(scale, axis=0).repeat(scale, axis=1)
            canvas[top : top + scale * height, left : left + scale * width] = magnified
    return canvas, [float(top + (scale * height - 1) / 2) for top in tops]


@rc_context(PAPER_STYLE)
def gap_curves(figure: GapFigure, curves: Sequence[tuple[GapCurve, Curve]], labels: Labels) -> Figure:
    """Draw the estimation gap along the chain, exact on the left and as the authors' program computes it on the right.

    A line is the mean over training seeds, a band goes from the least to the greatest. The legend compares the last
    values with those of the first model.

    Raises:
        UserError: a curve does not go from ``start - 1`` down to 1.
    """
    expected = np.arange(figure.start - 1, 0, -1)
    for which, curve in curves:
        if not np.array_equal(curve["step"], expected):
            raise UserError(f"gap curve of {which.model}, seed {which.seed}: steps are not {expected[0]} .. 1")
    canvas = Figure(figsize=(WIDE, 2.4), layout="constrained")
    titles = {"gap": "exact recursion", "official_gap": "the authors' program (mean over images first)"}
    for ax, (column, title) in zip(canvas.subplots(1, 2), titles.items(), strict=True):
        by_model = {
            model: [curve[column] for which, curve in curves if which.model == model] for model in figure.models
        }
        _draw_gap(ax, expected, by_model, labels)
        ax.set_title(title)
        ax.set_ylabel("estimation gap (root mean square)")
    return canvas


@rc_context(PAPER_STYLE)
def quality(figure: QualityFigure, frame: DataFrame, labels: Labels) -> Figure:
    """Draw a metric against the number of sampling steps.

    A band is the standard deviation over seeds, or for one seed the 95 % interval of the sampling error; the legend
    says which, or that there is none.

    Args:
        figure: what the configuration says.
        frame: long table of the scores, see :func:`sadpm.report.long_table.long_table`.
        labels: printed names.
    """
    from sadpm.report.long_table import BETTER
    from sadpm.report.wide_table import wide_table

    wide, seeds = wide_table(frame), frame["seed"].nunique()
    half = wide.error if seeds > 1 else NORMAL_95 * wide.error
    band = f"± s.d. over {seeds} seeds" if seeds > 1 else "95 % sampling error, one seed"
    panels, steps = len(figure.samplers), [int(count) for count in wide.mean.columns]
    canvas = Figure(figsize=(COLUMN if panels == 1 else WIDE, 2.4), layout="constrained")
    axes = canvas.subplots(1, panels, sharey=True, squeeze=False)[0]
    for ax, sampler in zip(axes, figure.samplers, strict=True):
        for model, color, marker, dash in zip(figure.models, *_styles(len(figure.models)), strict=True):
            row: Any = (figure.dataset, sampler, model, figure.covariance)
            mean, width = wide.mean.loc[row], half.loc[row]
            ax.plot(steps, mean, color=color, marker=marker, linestyle=dash, label=_label(labels, "model", model))
            ax.fill_between(steps, mean - width, mean + width, color=color, alpha=0.15, linewidth=0)
        _steps_axis(ax, steps)
        ax.set_title(
            f"{_label(labels, 'sampler', sampler)}, {_label(labels, 'covariance', figure.covariance)} covariance"
        )
    if figure.metric == "fd" and (wide.mean > 0).to_numpy().all():
        log_axis(axes[0])
    axes[0].set_ylabel(f"{frame['label'].iloc[0]}, {BETTER[figure.metric][0]} is better")
    axes[-1].legend(title=f"band: {band}" if half.notna().to_numpy().any() else "no error known")
    return canvas


def draw_grid(
    pixels: NDArray[np.uint8], centres: Sequence[float], names: Sequence[str], note: str, columns: Sequence[str] = ()
) -> Figure:
    """Draw what `tile` returns, with a name beside each row, perhaps one above each column, and a note below.

    Everything is placed in inches: automatic layout cuts off long names beside images of fixed aspect.
    """
    left, bottom, margin = 1.03 * max(map(_width, names)) + 0.13, 0.22, 0.02
    width, top = max(COLUMN - left - margin, COLUMN / 2), 0.14 if columns else margin
    height = width * pixels.shape[0] / pixels.shape[1]
    total_width, total_height = left + width + margin, bottom + height + top
    canvas = Figure(figsize=(total_width, total_height))
    ax = canvas.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))
    ax.imshow(pixels, interpolation="none", aspect="auto")
    ax.set_yticks(centres, names)
    ax.set_xticks([pixels.shape[1] * (i + 0.5) / len(columns) for i in range(len(columns))], columns)
    ax.tick_params("x", bottom=False, labelbottom=False, labeltop=True, length=0, pad=2)
    ax.tick_params("y", left=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    canvas.text(0.5, 0.05 / total_height, note, ha="center", fontsize=7)
    return canvas


def _width(text: str) -> float:
    """Inches that a text takes as a tick label."""
    font = FontProperties(family=PAPER_STYLE["font.family"], size=PAPER_STYLE["ytick.labelsize"])
    return float(TextPath((0, 0), text, prop=font).get_extents().width) / 72 if text else 0.0


def _draw_gap(ax: Axes, steps: NDArray[np.int64], by_model: Mapping[str, list[NDArray[Any]]], labels: Labels) -> None:
    baseline, *_ = by_model
    last = {model: np.mean([curve[-1] for curve in curves]) for model, curves in by_model.items()}
    for (model, curves), color, _, dash in zip(by_model.items(), *_styles(len(by_model)), strict=True):
        seeds = np.where(np.stack(curves) > 0, curves, np.nan)
        name = _label(labels, "model", model)
        ratio = "" if model == baseline else f": {last[baseline] / last[model]:.2f}"
        ax.plot(steps, seeds.mean(0), color=color, linestyle=dash, label=name + ratio)
        ax.fill_between(steps, seeds.min(0), seeds.max(0), color=color, alpha=0.15, linewidth=0)
    ax.set_xlim(steps[0], 1)
    ax.set_xlabel("noise level, from the start of the chain to its end")
    log_axis(ax)
    ax.legend(title=f"last gap of {_label(labels, 'model', baseline)} / own")


def _styles(count: int) -> tuple[list[str], list[str], list[str]]:
    """Colours, markers and dashes of as many lines; the dashes change with each round of colours."""
    dashes = (dash for dash in DASHES for _ in PALETTE)
    return list(islice(cycle(PALETTE), count)), list(islice(cycle(MARKERS), count)), list(islice(cycle(dashes), count))


def log_axis(ax: Axes) -> None:
    """A logarithmic y axis with plain numbers, also where it spans less than a decade."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1.0,) if high > 1000 * low else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _steps_axis(ax: Axes, steps: Sequence[int]) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(steps))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("sampling steps")


def _label(labels: Labels, axis: str, name: str) -> str:
    return labels.get(axis, {}).get(name, name)
