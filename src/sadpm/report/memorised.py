"""The figure of what was memorised: samples over the training images nearest to them."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sadpm.config.outputs import MemorisedFigure
from sadpm.report.figures import PAPER_STYLE, Labels, draw_grid, tile
from sadpm.running.files import UserError

NOTE = "above: distance of the pair / of the training image to its next"


@rc_context(PAPER_STYLE)
def memorised(
    figure: MemorisedFigure,
    samples: NDArray[np.uint8],
    real: NDArray[np.uint8],
    nearest: NDArray[np.float64],
    ratio: NDArray[np.float64],
    labels: Labels,
) -> Figure:
    """Draw the samples that are most like copies above what they are like, and the ratio of distances above both.

    Args:
        figure: what the configuration says.
        samples: of its cell, (n, H, W, C).
        real: training images, (m, H, W, C).
        nearest: (n,) index of the training image nearest to each sample.
        ratio: (n,) distance to it by its own to the nearest other training image: below 1, the sample is memorised.
        labels: printed names.

    Raises:
        UserError: the images and what was found of them are not of one data set.
    """
    if len(samples) != len(nearest) or nearest.max() >= len(real) or samples.shape[1:] != real.shape[1:]:
        raise UserError(
            f"{figure.dataset}: samples of shape {samples.shape} and training images of shape {real.shape} are not"
            f" those of {len(nearest)} pairs with training images up to number {int(nearest.max())}; delete the scores"
        )
    first = np.argsort(ratio, kind="stable")[: figure.columns]
    rows = [samples[first], real[nearest[first].astype(int)]]
    model = labels.get("model", {}).get(figure.model, figure.model)
    names = [f"{model}, {figure.steps} step{'s'[: figure.steps != 1]}", "nearest training images"]
    return draw_grid(*tile(rows, [0, 0]), names, NOTE, [f"{value:.2f}" for value in ratio[first]])
