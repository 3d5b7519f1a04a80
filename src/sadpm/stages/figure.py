"""Draw a figure, as PDF and PNG, from samples, scores, gap curves or the theorems' numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sadpm.config.grid import Cell
from sadpm.config.jobs import FigureJob, TableJob
from sadpm.config.outputs import (
    GapFigure,
    IllustrationFigure,
    MemorisedFigure,
    QualityFigure,
    SamplesFigure,
    TheoryFigure,
)
from sadpm.report.figures import Curve, gap_curves, quality, sample_grid, save
from sadpm.report.theorems import load_theorems
from sadpm.running.files import UserError, provenance, write_atomically, write_json
from sadpm.running.records import entries
from sadpm.sources.reading.prepared import Pixels, load_pixels, load_samples
from sadpm.stages import command

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def figure(
    params: FigureJob,
    pdf: Path,
    png: Path,
    report: Path,
    samples: Sequence[Path] = (),
    sample_reports: Sequence[Path] = (),
    data: Sequence[Path] = (),
    scores: Sequence[Path] = (),
    curves: Sequence[Path] = (),
    theorems: Sequence[Path] = (),
    details: Sequence[Path] = (),
) -> None:
    """Write one figure and a report.

    Samples and scores hold at least the job's cells, details are the scores' files of influence values; curves, or the
    theorems' numbers, are in its order.
    """
    drawing = draw(params, samples, sample_reports, data, scores, curves, theorems, details)
    write_atomically(pdf, partial(save, drawing, params.figure.title, kind="pdf"))
    write_atomically(png, partial(save, drawing, params.figure.title, kind="png"))
    write_json(report, {"provenance": provenance(params)})


def draw(
    params: FigureJob,
    samples: Sequence[Path],
    sample_reports: Sequence[Path],
    data: Sequence[Path],
    scores: Sequence[Path],
    curves: Sequence[Path],
    theorems: Sequence[Path],
    details: Sequence[Path] = (),
) -> Figure:
    """Read what the kind of figure needs, and draw it."""
    match params.figure:
        case IllustrationFigure():
            from sadpm.report.illustration import illustration

            return illustration(params.figure)
        case SamplesFigure():
            _expect(params, "images of the data set", data, 1)
            images = images_of(params, samples, sample_reports)
            return sample_grid(params.figure, params.cells, images, load_pixels(data[0]), params.labels)
        case MemorisedFigure():
            from sadpm.report.contrasts import Scored
            from sadpm.report.memorised import memorised

            _expect(params, "images of the data set", data, 1)
            images, real = images_of(params, samples, sample_reports), load_pixels(data[0])
            scored = Scored.load(scores, details)
            nearest, ratio = (scored.detail(params.cells[0], "memorised", name) for name in ("nearest", "ratio"))
            return memorised(params.figure, images[0], real, nearest, ratio, params.labels)
        case GapFigure():
            _expect(params, "gap curves", curves, len(params.curves))
            pairs = list(zip(params.curves, map(load_curve, curves), strict=True))
            return gap_curves(params.figure, pairs, params.labels)
        case TheoryFigure():
            from sadpm.report.theory import theory

            return theory(params.figure, load_theorems(params, theorems), params.labels)
        case QualityFigure():
            return quality(params.figure, load_scores(params, params.figure, scores), params.labels)


def images_of(params: FigureJob, samples: Sequence[Path], reports: Sequence[Path]) -> list[Pixels]:
    """Return the images (n, H, W, C) of each of the job's cells."""
    _expect(params, "reports of samples", reports, len(samples))
    by_cell: dict[Cell, Pixels] = {}
    for path, report in zip(samples, reports, strict=True):
        cells, arrays = [Cell(**draw["cell"]) for draw in entries(report, "draws")], load_samples(path)
        if len(cells) != len(arrays):
            raise UserError(f"{path}: not the file that {report} describes; delete both to have them made again")
        by_cell |= dict(zip(cells, arrays, strict=True))
    if missing := [f"{cell.run}, {cell.draw}" for cell in params.cells if cell not in by_cell]:
        raise UserError(f"{params.name}: no samples of {'; '.join(missing)}")
    return [by_cell[cell] for cell in params.cells]


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
    from sadpm.report.long_table import long_table

    job = TableJob(name=params.name, title=figure.title, metric=figure.metric, cells=params.cells, labels=params.labels)
    return long_table(job, chain.from_iterable(entries(path, "scores") for path in scores))


def _expect(params: FigureJob, what: str, paths: Sequence[Path], count: int) -> None:
    if len(paths) != count:
        raise UserError(f"{params.name}: {len(paths)} {what} given, {count} needed")


if __name__ == "__main__":
    command(figure)
