"""What a scheduler of diffusers takes, read from that package's files: the graph of jobs can't wait for its import."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sadpm.kinds.section import nearest

_NEEDED = ("trained_betas", "prediction_type", "timestep_spacing")
_STEP = ("model_output", "timestep", "sample")
_OURS_IN_STEP = (*_STEP, "generator", "variance_noise", "return_dict")
_DECIDED: Mapping[str, tuple[str, ...]] = {
    "the section schedule decides that": (
        *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"),
        "snr_shift_scale",
    ),
    "the recipe's timesteps decide which levels are visited": (
        *("timestep_spacing", "steps_offset", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"),
        *("use_lu_lambdas", "use_flow_sigmas", "flow_shift", "lambda_min_clipped", "use_dynamic_shifting"),
        *("time_shift_type", "sigma_min", "sigma_max", "shift_terminal"),
    ),
    "the recipe's clip_sample decides that": (
        *("clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio", "sample_max_value"),
    ),
    "the network predicts the noise and nothing else": ("prediction_type", "variance_type"),
    "the last step is the prediction of x_0 with all samplers": (
        *("final_sigmas_type", "set_alpha_to_one", "euler_at_final"),
    ),
}
_REASONS = {option: reason for reason, options in _DECIDED.items() for option in options}
_HOW_TO_INSTALL = "is one of diffusers, which is not installed here: pip install diffusers"


@dataclass(frozen=True)
class SchedulerSource:
    """A scheduler's class as its file says it.

    Attributes:
        name: of the class.
        constructor: the annotations of the constructor's parameters, by name.
        step: those of its ``step``.
        needed: parameters of ``step`` without a default.
        methods: names of all methods.
        order: how many times a step calls the network.
    """

    name: str
    constructor: Mapping[str, ast.expr | None]
    step: Mapping[str, ast.expr | None]
    needed: frozenset[str]
    methods: frozenset[str]
    order: int

    @property
    def options(self) -> dict[str, ast.expr | None]:
        """What a user may say, of the constructor and of ``step``."""
        given = {**self.constructor, **{name: of for name, of in self.step.items() if name not in _OURS_IN_STEP}}
        return {name: annotation for name, annotation in given.items() if name not in _REASONS}

    def fault(self) -> str | None:
        """Return why the scheduler does not fit here, as far as its file says so; None if it may."""
        if lacking := [name for name in _NEEDED if name not in self.constructor]:
            return f"it is not for DDPM's forward process: its constructor has no {', '.join(lacking)}"
        if self.order != 1 or "step_prk" in self.methods:
            return "it calls the network more than once a step, and tables count one call"
        if "Inverse" in self.name:
            return "it goes from images to noise"
        if "init_noise_sigma" in self.methods:
            return "its states are those of a process without decay of the signal, not DDPM's"
        if further := sorted(self.needed - {*_STEP}):
            return f"its step also needs {', '.join(further)}"
        if "generator" in self.step and "variance_noise" not in self.step:
            return "it draws its noise itself, so that images would depend on how many are drawn at once"
        return None


def mistake(scheduler: str, options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a scheduler's name or options, and what there is; None if nothing is.

    What only a run can tell is not known here.
    """
    if _folder() is None:
        return f"{scheduler} {_HOW_TO_INSTALL}"
    if (source := read(scheduler)) is None:
        return f"diffusers has no scheduler {scheduler!r}; {nearest(scheduler, _fitting())}"
    if fault := source.fault():
        return f"{scheduler} can't be run here: {fault}; choose one of {', '.join(_fitting())}"
    for name, value in options.items():
        if reason := _REASONS.get(name):
            return f"options.{name}: {reason}; remove it"
        if name not in source.options:
            return f"options.{name}: {scheduler} has no such option; {nearest(name, source.options)}"
        annotation = source.options[name]
        if annotation is not None and not _admits(annotation, value):
            return f"options.{name}: {value!r} is not of {ast.unparse(annotation)}"
    return None


@cache
def read(scheduler: str) -> SchedulerSource | None:
    """Return what the file of a scheduler says; None where no file has it, or diffusers is not installed."""
    for path in _files():
        text = path.read_text(encoding="utf-8")
        if f"class {scheduler}(" in text:
            return next((_parsed(node) for node in _classes(text) if node.name == scheduler), None)
    return None


@cache
def _fitting() -> list[str]:
    """All schedulers that may fit; reading their files takes half a second, so only messages ask for them."""
    classes = (node for path in _files() for node in _classes(path.read_text(encoding="utf-8")))
    return sorted({node.name for node in classes if node.name.endswith("Scheduler") and not _parsed(node).fault()})


@cache
def _folder() -> Path | None:
    package = find_spec("diffusers")
    return None if package is None or package.origin is None else Path(package.origin).parent / "schedulers"


def _files() -> list[Path]:
    folder = _folder()
    return [] if folder is None else sorted(folder.glob("scheduling_*.py"))


def _classes(text: str) -> Iterator[ast.ClassDef]:
    return (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))


def _parsed(node: ast.ClassDef) -> SchedulerSource:
    methods = {part.name: part.args for part in node.body if isinstance(part, ast.FunctionDef)}
    values: dict[str, Any] = {
        target.id: part.value.value
        for part in node.body
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant)
        for target in part.targets
        if isinstance(target, ast.Name)
    }
    step = methods.get("step", ast.arguments([], [], None, [], [], None, []))
    without_default = step.args[1 : len(step.args) - len(step.defaults)]
    return SchedulerSource(
        name=node.name,
        constructor=_annotations(methods.get("__init__")),
        step=_annotations(step),
        needed=frozenset(argument.arg for argument in without_default),
        methods=frozenset(methods),
        order=values.get("order", 1),
    )


def _annotations(arguments: ast.arguments | None) -> dict[str, ast.expr | None]:
    """Without ``self``."""
    if arguments is None:
        return {}
    return {argument.arg: argument.annotation for argument in [*arguments.args[1:], *arguments.kwonlyargs]}


def _admits(annotation: ast.expr, value: Any) -> bool:
    """Whether a value is of a type; a type that isn't simple admits all, and the scheduler says the rest."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _admits(left, value) or _admits(right, value)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return any(value == choice.value for choice in ast.walk(choices) if isinstance(choice, ast.Constant))
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="str"):
            return isinstance(value, str)
    return True
