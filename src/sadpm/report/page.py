"""The page: all that an experiment says, gathered from the texts of its files into one HTML file."""

from __future__ import annotations

import base64
import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sadpm.report.costs import RuleCost
from sadpm.report.flow import Drawing
from sadpm.report.page_tables import Sheet, TableView

Content = Mapping[str, Any]
MODULE = "python -m sadpm.stages"


class FigureView(NamedTuple):
    """A figure: its name, title, text for those who can't see it, PNG in base64, width and height on the screen."""

    name: str
    title: str
    alternative: str
    png: str
    width: int
    height: int


class Commands(NamedTuple):
    """How the scores of some cells were made: the file, and the stages with their parameters."""

    file: str
    stages: list[tuple[str, str]]

    @property
    def snakemake(self) -> str:
        """How Snakemake makes the file."""
        return f"snakemake --cores 1 -- {shlex.quote(self.file)}"


class File(NamedTuple):
    """A file to download: its path from the page, bytes, and hash."""

    path: str
    size: int
    sha256: str


class Version(NamedTuple):
    """What something was made with, and how many files say so."""

    what: str
    value: str
    files: int


@dataclass(frozen=True)
class Page:
    """All that the template shows."""

    experiment: str
    version: str
    verdicts: Sheet | None = None
    contrasts: Sheet | None = None
    tables: Sequence[TableView] = ()
    figures: Sequence[FigureView] = ()
    theory: Sequence[tuple[str, Sheet]] = ()
    costs: Sequence[RuleCost] = ()
    device_of_plan: str = ""
    drawing: Drawing | None = None
    versions: Sequence[Version] = ()
    commands: Sequence[Commands] = ()
    files: Sequence[File] = ()


def figure_view(name: str, job: Content, png: bytes) -> FigureView:
    """Return a figure from the job that drew it, half as wide as its pixels, which are printed at 300 dpi.

    Raises:
        ValueError: the image is no PNG.
    """
    if not png.startswith(b"\x89PNG") or len(png) < 24:
        raise ValueError("not a PNG")
    size = (int.from_bytes(png[at : at + 4], "big") // 2 for at in (16, 20))
    text = alternative_text(job["figure"], job["labels"])
    return FigureView(name, job["figure"]["title"], text, base64.b64encode(png).decode(), *size)


def alternative_text(figure: Content, labels: Mapping[str, Mapping[str, str]]) -> str:
    """Return what a figure shows, for those who can't see it."""

    def label(axis: str, name: str) -> str:
        return labels.get(axis, {}).get(name, name)

    def listed(items: Iterable[object]) -> str:
        return ", ".join(map(str, items))

    models = listed(label("model", name) for name in figure.get("models", ()))
    steps = listed(figure["steps"]) if isinstance(figure.get("steps"), list) else ""
    match figure["kind"]:
        case "samples":
            way = f"{label('sampler', figure['sampler'])}, {label('covariance', figure['covariance'])} covariance"
            return (
                f"Grid of images: real ones of {figure['dataset']}, and samples of {models} after {steps} steps ({way})"
            )
        case "memorised":
            way = f"{label('model', figure['model'])}, {figure['steps']} sampling steps"
            return f"Grid of images: samples ({way}) above the images of {figure['dataset']} nearest to them"
        case "gap":
            return f"Line charts: estimation gap along the chain on {figure['dataset']}, for {models}"
        case "theory":
            return f"Line charts: what both theorems bound, along the chain on {figure['dataset']}, for {models}"
        case "quality":
            ways = listed(label("sampler", name) for name in figure["samplers"])
            metric = f"{figure['metric'].upper()} on {figure['dataset']}"
            ways += f", {label('covariance', figure['covariance'])} covariance"
            return f"Line charts: {metric} by number of sampling steps ({steps}), for {models}; {ways}"
        case _:
            return f"Illustration: {figure['title']}"


def commands(file: str, score: Content, training: Content) -> Commands:
    """Return how a file of scores was made, from its own record and that of its model."""
    made, trained = score["provenance"], training["provenance"]["job"]
    jobs = {"import_model" if "checkpoint" in trained else "train": trained}
    if "sampling" in made:
        jobs |= {"sample": made["sampling"]["job"], "score": made["job"]}
    else:
        jobs |= {"measure_likelihood": made["job"]}
    return Commands(file, [(stage, stage_command(stage, job)) for stage, job in jobs.items()])


def stage_command(stage: str, job: Content) -> str:
    """Return a stage's command as far as its record tells: without the files."""
    return f"{MODULE}.{stage} --params {shlex.quote(json.dumps(job, ensure_ascii=False))}"


def versions(scores: Iterable[Content], trainings: Iterable[Content]) -> list[Version]:
    """Return with which code, Python, torch and devices models and scores were made."""
    counts: Counter[tuple[str, str]] = Counter()
    for training in trainings:
        made = training["provenance"]
        counts.update({("code of models", made["code"]), ("Python of models", made["python"])})
        counts.update((f"{key} of models", str(training[key])) for key in ("torch", "device") if key in training)
    for score in scores:
        made = score["provenance"]
        counts.update({("code of scores", made["code"]), ("Python of scores", made["python"])})
        if "sampling" in made:
            counts.update({("code of samples", made["sampling"]["code"])})
        what = "device of samples" if "sampling" in made else "device of bounds"
        counts.update({(what, cell["device"]) for cell in score["scores"]})
    return [Version(*place, count) for place, count in sorted(counts.items())]


def render(page: Page) -> str:
    """Return the page as HTML; what users named and wrote is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(rounded=rounded, hours=hours)
    return environment.get_template("page.html.j2").render(page=page)


def rounded(text: str) -> str:
    """Return a text that is a number with a fraction in four digits, any other as it is."""
    try:
        return f"{float(text):.4g}" if {".", "e"}.intersection(text) and math.isfinite(float(text)) else text
    except ValueError:
        return text


def hours(text: str) -> str:
    """Return a number of hours in three digits."""
    return "< 0.001" if 0 < float(text) < 0.001 else f"{float(text):.3g}"
