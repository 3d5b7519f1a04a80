"""The data flow as a drawing: which rule's files go into which, for the jobs that were really run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sadpm.report.costs import Measured

NEEDS: Mapping[str, tuple[str, ...]] = {
    "prepare_data": (),
    "prepare_held_out": ("prepare_data",),
    "train_extractor": ("prepare_data",),
    "measure_reference": ("prepare_data", "train_extractor"),
    "import_model": ("prepare_data",),
    "train": ("prepare_data",),
    "fit_covariances": ("import_model", "train"),
    "tune": ("import_model", "train", "fit_covariances", "measure_reference"),
    "sample": ("import_model", "train", "fit_covariances", "tune"),
    "sample_part": ("import_model", "train", "fit_covariances", "tune"),
    "join_parts": ("sample_part",),
    "score": ("measure_reference", "sample", "join_parts"),
    "measure_likelihood": ("prepare_held_out", "import_model", "train", "fit_covariances"),
    "measure_gap": ("import_model", "train"),
    "measure_theory": ("import_model", "train"),
    "table": ("score", "measure_likelihood"),
    "theory_table": ("measure_theory",),
    "claims": ("score", "measure_likelihood", "measure_gap"),
    "report": ("table", "theory_table", "figure", "claims"),
}
"""Whose files a rule reads, but for what it gets through another one as well; a figure's depend on its kind."""
FIGURE_NEEDS: Mapping[str, tuple[str, ...]] = {
    "illustration": (),
    "samples": ("sample", "join_parts"),
    "memorised": ("sample", "join_parts", "score"),
    "gap": ("measure_gap",),
    "theory": ("measure_theory",),
    "quality": ("score", "measure_likelihood"),
}
MAKERS: Mapping[str, str] = {"scores": "score", "likelihood": "measure_likelihood"}
"""The rules that make the numbers of metrics, by the folder in which those lie."""
PLACES: Mapping[str, tuple[int, float]] = {
    "prepare_data": (1, 0),
    "prepare_held_out": (-1, 1), "train": (1, 1), "import_model": (2, 1), "train_extractor": (5, 1),
    "fit_covariances": (0, 2), "measure_gap": (3, 2), "measure_theory": (4, 2),
    "tune": (1, 2.5),
    "sample": (1, 3), "sample_part": (2, 3),
    "join_parts": (2, 4), "measure_reference": (5, 4),
    "measure_likelihood": (-1, 5), "score": (1, 5),
    "claims": (0, 6), "table": (1, 6), "figure": (3, 6), "theory_table": (4, 6),
    "report": (1, 7),
}  # fmt: skip
"""Column and row of each rule's box, such that no curve passes behind another one's."""
PLACES_WITH_TUNING = {**PLACES, "measure_reference": (5, 2), "sample": (0, 3), "sample_part": (1, 3)}
"""The same where something is tuned, for which real images are looked at before samples are drawn."""
WIDTH, HEIGHT, ACROSS, DOWN = 166, 38, 186, 70
"""Size of a box, and distance between columns and between rows, in pixels."""


class Box(NamedTuple):
    """A rule with how many jobs of it there are, and where its box's upper left corner is."""

    rule: str
    jobs: int
    x: int
    y: int


class Drawing(NamedTuple):
    """Boxes, curves between them (SVG paths, by the two rules), the size of it all, and of a box."""

    boxes: list[Box]
    curves: dict[tuple[str, str], str]
    width: int
    height: int
    box_width: int = WIDTH
    box_height: int = HEIGHT


def edges(
    jobs: Sequence[Measured], figures: Iterable[tuple[str, str]], shown: Collection[tuple[str, str]] = ()
) -> set[tuple[str, str]]:
    """Return which rule's files go into which rule, (before, after), without those that follow from others.

    A rule feeds another where both have jobs of one run, or of one data set where one of them has no run. Figures are
    given by kind and data set ("" where they have none), and ``shown`` are the edges from `MAKERS` to what
    shows or compares their numbers.
    """
    found = {
        (before.rule, after.rule)
        for after in set(map(_place, jobs))
        for before in set(map(_place, jobs))
        if before.rule in NEEDS.get(after.rule, ()) and _belong_together(before, after)
    }
    for kind, dataset in figures:
        found |= {(job.rule, "figure") for job in jobs if job.rule in FIGURE_NEEDS[kind] and job.dataset == dataset}
    found = {edge for edge in found if edge[0] not in MAKERS.values() or edge in shown}
    found |= {(rule, "report") for rule in NEEDS["report"] if any(job.rule == rule for job in jobs)}
    return {edge for edge in found if not _leads(found - {edge}, *edge)}


def draw(
    jobs: Sequence[Measured], figures: Iterable[tuple[str, str]], shown: Collection[tuple[str, str]] = ()
) -> Drawing:
    """Return a box for each rule that was run, and for the page itself, with the curves between them, see `edges`."""
    counts = {**Counter(job.rule for job in jobs), "report": 1}
    places = PLACES_WITH_TUNING if "tune" in counts else PLACES
    columns, rows = ({place[axis] for rule, place in places.items() if rule in counts} for axis in (0, 1))
    x, y = ({at: i * step for i, at in enumerate(sorted(ats))} for ats, step in ((columns, ACROSS), (rows, DOWN)))
    boxes = [Box(rule, counts[rule], x[column], y[row]) for rule, (column, row) in places.items() if rule in counts]
    corners = {box.rule: box for box in boxes}
    curves = {edge: _curve(*(corners[rule] for rule in edge)) for edge in sorted(edges(jobs, figures, shown))}
    return Drawing(boxes, curves, max(x.values()) + WIDTH, max(y.values()) + HEIGHT)


class _Place(NamedTuple):
    rule: str
    dataset: str
    run: str


def _place(job: Measured) -> _Place:
    return _Place(job.rule, job.dataset, job.run)


def _belong_together(before: _Place, after: _Place) -> bool:
    if before.run and after.run:
        return before.run == after.run
    return before.dataset == after.dataset or not (before.dataset and after.dataset)


def _leads(graph: set[tuple[str, str]], start: str, end: str) -> bool:
    """Tell whether a way leads from one rule to another; there are no circles."""
    return any(after == end or _leads(graph, after, end) for before, after in graph if before == start)


def _curve(above: Box, below: Box) -> str:
    """From the lower edge of a box to the upper edge of another."""
    x1, y1, x2, y2 = above.x + WIDTH // 2, above.y + HEIGHT, below.x + WIDTH // 2, below.y
    middle = (y1 + y2) // 2
    return f"M{x1},{y1} C{x1},{middle} {x2},{middle} {x2},{y2 - 5}"
