"""The files that a configuration names: whether they are there, and what to say where they are not."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Literal, NamedTuple

from sadpm.config.consistency import shape_errors
from sadpm.config.experiment import Config
from sadpm.running.files import UserError
from sadpm.sources import Source

Kind = Literal["file", "folder", "file or folder"]


class NamedFile(NamedTuple):
    """A path of the configuration: the key that it stands under, what must lie there, and whether rules name it."""

    key: str
    path: str
    kind: Kind = "file"
    is_input: bool = True

    def problem(self) -> str:
        """Return a line that says what is wrong with the file, or nothing."""
        fits = {"file": os.path.isfile, "folder": os.path.isdir, "file or folder": os.path.exists}[self.kind]
        if fits(self.path) or (self.kind == "file or folder" and _lies_in_archive(Path(self.path))):
            return ""
        if os.path.exists(self.path):
            return f"{self.key}: {self.path} must be a {self.kind}"
        return f"{self.key}: there is no {self.kind} {self.path}{_nearest_name(Path(self.path))}"


def named_files(config: Config) -> dict[str, NamedFile]:
    """Return all files that the configuration names, but for those of sources, by their keys."""
    paths = {"published": config.published, "plan.throughput": config.plan.throughput}
    for name, dataset in config.datasets.items():
        paths[f"datasets.{name}.reference"] = dataset.reference
    files = {key: NamedFile(key, path) for key, path in paths.items() if path is not None}
    for name, dataset in config.datasets.items():
        for key, path in dataset.extractor.files().items():
            key = f"datasets.{name}.extractor.{key}"
            files[key] = NamedFile(key, path, is_input=False)
    kinds: dict[str, Kind] = {"auto": "file or folder", "diffusers": "folder"}
    for name, model in config.models.items():
        for where, checkpoint in model.checkpoint.items():
            key = f"models.{name}.checkpoint.{where}.path"
            files[key] = NamedFile(key, checkpoint.path, kinds.get(checkpoint.format, "file"))
    return files


def source_problems(config: Config, dataset: str) -> list[str]:
    """Return one line for each reason why a data set can't be prepared, as far as a look at its files tells.

    A source may be deleted once its images are prepared.
    """
    source = config.datasets[dataset].source
    found = source.file()
    if found is None or _is_prepared(config.root / dataset / "data", source):
        return []
    file = NamedFile(f"datasets.{dataset}.source.{found.key}", found.path, found.kind)
    if problem := file.problem():
        return [problem]
    if source.is_read_for_its_shape:
        try:
            shape = source.shape()
        except UserError as error:
            return [f"{file.key}: {error}"]
        return shape_errors(config, dataset, shape) if shape else []
    return []


def _is_prepared(folder: Path, source: Source) -> bool:
    """Tell whether the images of this very source lie in a folder of results."""
    try:
        description = json.loads((folder / "dataset.json").read_text("utf-8"))
        return (folder / "images.npy").exists() and description["source"] == source.model_dump(mode="json")
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _lies_in_archive(path: Path) -> bool:
    """Tell whether a part of the path is a file: a folder inside an archive is named by going on behind its name."""
    return any(map(os.path.isfile, path.parents))


def _nearest_name(path: Path) -> str:
    """Return the nearest name of what lies where the path leaves what is there: perhaps it was mistyped."""
    for part in (path, *path.parents):
        if os.path.isdir(part.parent):
            close = difflib.get_close_matches(part.name, os.listdir(part.parent), n=1)
            return f"; did you mean {str(part.parent / close[0])!r}?" if close else f" (seen from {os.getcwd()})"
    return ""
