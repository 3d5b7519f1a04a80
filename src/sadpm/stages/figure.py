"""Draw a figure, as PDF and PNG, from samples, scores or gap curves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sadpm.artifacts import UserError, read_json, write_atomically
from sadpm.config import GapFigure, IllustrationFigure, QualityFigure, SamplesFigure
from sadpm.data import load_pixels
from sadpm.figures import Curve, gap_curves, quality, sample_grid, save
from sadpm.jobs import FigureJob, TableJob
from sadpm.stages import command

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def figure(
    params: FigureJob,
    pdf: Path,
    png: Path,
    samples: Sequence[Path] = (),
    data: Sequence[Path] = (),
    scores: Sequence[Path] = (),
    curves: Sequence[Path] = (),
) -> None:
    """Write one figure; samples and scores come in the order of the job's cells, curves in that of its curves."""
    drawing = draw(params, samples, data, scores, curves)
    write_atomically(pdf, partial(save, drawing, params.figure.title, kind="pdf"))
    write_atomically(png, partial(save, drawing, params.figure.title, kind="png"))


def draw(
    params: FigureJob, samples: Sequence[Path], data: Sequence[Path], scores: Sequence[Path], curves: Sequence[Path]
) -> Figure:
    """Read what the kind of figure needs, and draw it."""
    match params.figure:
        case IllustrationFigure():
            from sadpm.illustration import illustration

            return illustration(params.figure)
        case SamplesFigure():
            _expect(params, "images of the data set", data, 1)
            _expect(params, "arrays of samples", samples, len(params.cells))
            images = [load_pixels(path) for path in samples]
            return sample_grid(params.figure, params.cells, images, load_pixels(data[0]), params.labels)
        case GapFigure():
            _expect(params, "gap curves", curves, len(params.curves))
            pairs = list(zip(params.curves, map(load_curve, curves), strict=True))
            return gap_curves(params.figure, pairs, params.labels)
        case QualityFigure():
            return quality(params.figure, load_scores(params, params.figure, scores), params.labels)


def load_curve(path: Path) -> Curve:
    """Read a gap curve."""
    try:
        header, *rows = path.read_text().splitlines() or [""]
        if missing := {"step", "gap", "official_gap"}.difference(header.split(",")):
            raise UserError(f"{path}: no column {', '.join(sorted(missing))}")
        fields = [(name, np.float64) for name in header.split(",")]
        values = [tuple(map(float, row.split(","))) for row in rows]
        if not np.isfinite(values).all():
            raise UserError(f"{path}: holds numbers that are not finite; delete it to have it measured again")
        return np.array(values, fields)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({error}); delete it to have it measured again") from error


def load_scores(params: FigureJob, figure: QualityFigure, scores: Sequence[Path]) -> DataFrame:
    """Read scores into the long table of the figure's cells."""
    from sadpm.tables import long_table

    job = TableJob(name=params.name, title=figure.title, metric=figure.metric, cells=params.cells, labels=params.labels)
    return long_table(job, map(read_json, scores))


def _expect(params: FigureJob, what: str, paths: Sequence[Path], count: int) -> None:
    if len(paths) != count:
        raise UserError(f"{params.name}: {len(paths)} {what} given, {count} needed")


if __name__ == "__main__":
    command(figure)
