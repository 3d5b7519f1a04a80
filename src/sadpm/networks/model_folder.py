"""Which files of a diffusers folder count: a model's own, those of a pipeline, or of a checkpoint of its training.

Nothing here needs torch, because the workflow asks as well, before there is any job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadpm.networks import advice

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
FORMER_WEIGHTS_FILE = "diffusion_pytorch_model.bin"
SCHEDULER_FILE = "scheduler_config.json"
PIPELINE_FILE = "model_index.json"

# Where networks lie inside a pipeline's folder: the averaged one is taken where there are two.
_AVERAGED = ("unet_ema", "ema_unet", "ema")
_RAW = "unet"
# Variants of the weights, the best first; "" is a file without one.
_VARIANTS = ("ema", "", "fp32", "fp16", "bf16", "non_ema")
_WEIGHTS = re.compile(r"diffusion_pytorch_model(?:\.(\w+))?\.(safetensors|bin)")
_INDEX = re.compile(r"diffusion_pytorch_model\.(safetensors|bin)\.index(?:\.(\w+))?\.json")


@dataclass(frozen=True)
class ModelFolder:
    """Where the parts of a release lie.

    Attributes:
        model: the folder with ``config.json`` and the weights.
        scheduler: what diffusers samples it with, None where there is no such file.
        pipeline: ``model_index.json``, or None.
        report: the ``training.json`` that our own stages leave beside a model, or None.
        note: what the user should know about the choice of the network, "" where there was none.
    """

    model: Path
    scheduler: Path | None
    pipeline: Path | None
    report: Path | None
    note: str

    def files(self) -> list[Path]:
        """Return the files on which an import depends: those that are read, or would be if others were gone."""
        beside = (self.model / CONFIG_FILE, self.scheduler, self.pipeline, self.report)
        weights = (file for file in self.model.glob("diffusion_pytorch_model*"))
        return [file for file in beside if file is not None and file.is_file()] + sorted(weights)


def find(path: Path) -> ModelFolder:
    """Find the network of a model's or pipeline's folder, and what lies beside it."""
    inside = [name for name in (*_AVERAGED, _RAW) if (path / name).is_dir()]
    model = path / inside[0] if inside else path
    is_part = not inside and model.absolute().name in (*_AVERAGED, _RAW)
    root = path.parent if is_part else path
    # accelerate puts the checkpoints of a training below the folder of the pipeline that it ends with
    roots = [root, root.parent] if re.fullmatch(r"checkpoint-\d+", root.absolute().name) else [root]
    places = [place / file for place in roots for file in (f"scheduler/{SCHEDULER_FILE}", SCHEDULER_FILE)]
    return ModelFolder(
        model=model,
        scheduler=_first(model / SCHEDULER_FILE, *places),
        pipeline=_first(*(place / PIPELINE_FILE for place in roots)),
        report=_first(model.parent / "training.json"),
        note=_note(model, root, inside),
    )


def _first(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)


def _note(model: Path, root: Path, inside: list[str]) -> str:
    averaged = [name for name in _AVERAGED if (root / name).is_dir()]
    if inside and averaged and (root / _RAW).is_dir():
        return f"took the averaged network in {model.name}, not the raw one in {_RAW} beside it"
    if averaged and model.absolute().name == _RAW:
        return f"took the raw network, as asked; the averaged one lies beside it in {averaged[0]}"
    return ""


def weights_of(folder: Path) -> dict[Path, set[str] | None]:
    """Return the files that hold a model's weights, each with the names that an index promises (None: no index).

    Raises:
        ValueError: there is none, or nothing says which of several is meant; the message says what lies there.
        OSError: the folder or an index can't be read.
    """
    variant, suffix = _best(folder)
    middle = f".{variant}" if variant else ""
    whole = folder / f"diffusion_pytorch_model{middle}.{suffix}"
    index = folder / f"diffusion_pytorch_model.{suffix}.index{middle}.json"
    if not index.is_file():
        return {whole: None}
    shards = _shards(index)
    if whole.is_file() and whole not in shards:
        raise ValueError(
            f"{folder}: {whole.name} lies beside {index.name}, which names other files; one of the two is left over "
            "from an earlier save, and nothing says which: remove it"
        )
    if missing := [file.name for file in shards if not file.is_file()]:
        raise ValueError(f"{index} names files that are not there: {advice.listed(missing)}")
    return {**shards}


def _best(folder: Path) -> tuple[str, str]:
    """Return variant and suffix of the weights to take."""
    names = [entry.name for entry in folder.iterdir()]
    whole = [(match[1] or "", match[2]) for name in names if (match := _WEIGHTS.fullmatch(name))]
    indexed = [(match[2] or "", match[1]) for name in names if (match := _INDEX.fullmatch(name))]
    found = {*whole, *indexed}
    for variant in _VARIANTS:
        for suffix in ("safetensors", "bin"):
            if (variant, suffix) in found:
                return variant, suffix
    if found:
        variants = advice.listed(sorted({variant for variant, _ in found}))
        raise ValueError(f"{folder}: only weights of the variants {variants}; rename what you mean {WEIGHTS_FILE}")
    raise ValueError(f"{folder}: no weights, neither {WEIGHTS_FILE} nor its index; {advice.on_folder(folder)}")


def _shards(index: Path) -> dict[Path, set[str]]:
    """Read an index: which names lie in which file."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index}: weight_map does not say which parameter lies in which file")
    if outside := {file for file in places.values() if Path(file).name != file}:
        raise ValueError(f"{index} names files outside its folder: {advice.listed(sorted(outside))}")
    return {
        index.parent / file: {name for name, place in places.items() if place == file}
        for file in sorted(set(places.values()))
    }


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; ValueError says what it is if it doesn't."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        with path.open("rb") as file:
            raise ValueError(f"{path} is not JSON ({error}); it begins with {file.read(60)!r}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__} where options by name are needed")
    return content


def components(pipeline: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and class of the parts of a pipeline, as its ``model_index.json`` says."""
    for name, entry in pipeline.items():
        if not name.startswith("_") and isinstance(entry, list) and len(entry) == 2 and entry[1] is not None:
            yield name, str(entry[1])
