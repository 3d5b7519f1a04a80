"""What a release says about its network, held against what this pipeline would do with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks.model_folder import components, read_object

# Schedulers of diffusers for the forward process of DDPM, whose defaults are the following.
_SCHEDULERS = frozenset(
    f"{name}Scheduler"
    for name in (
        *("DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "PNDM", "RePaint", "LMSDiscrete", "EulerDiscrete"),
        *("EulerAncestralDiscrete", "DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep"),
    )
)
_SCHEDULER_DEFAULTS: Mapping[str, Any] = {
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}
# Names of beta schedules in diffusers, in DDIM's program and here: `schedule.kind`.
_KINDS = {
    **{kind: kind for kind in ("linear", "quadratic", "constant", "sigmoid", "jsd", "cosine")},
    "scaled_linear": "quadratic",
    "squaredcos_cap_v2": "cosine",
    "quad": "quadratic",
    "const": "constant",
}
# Which of the two betas a kind uses, where it isn't both.
_BETAS_OF: Mapping[str, tuple[str, ...]] = {"jsd": (), "cosine": (), "constant": ("beta_end",)}
_MOST_REPORTED = 8
_HOW_TO_CHANGE = (
    "Write the section schedule of the configuration as the model needs it. It holds for all models of an experiment: "
    "those of another schedule belong into a configuration of their own"
)
_FORWARD_KEYS = ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "trained_betas")

# What else decides what a network computes: the values that mean what is done here, and what others would mean.
_DECISIVE: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "prediction_type": (("epsilon", "eps"), "only networks that predict the noise (epsilon) are sampled here"),
    "predict_epsilon": ((True, None), "only networks that predict the noise (epsilon) are sampled here"),
    "variance_type": (
        (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
        "the variance is the sampler's or a fitted covariance here, never the network's",
    ),
    "rescale_betas_zero_snr": ((False, None), "no schedule here ends without any signal"),
    "clip_sample_range": ((1, None), "images lie in -1..1 here"),
    "timestep_type": (("discrete", None), "the network's time is the number of the level here"),
    "use_flow_sigmas": ((False, None), "flow matching has another forward process"),
}
# How diffusers would sample; the configuration's samplers and recipes say how it is done here.
_SAMPLING_KEYS = re.compile(
    r"""algorithm_type | clip_sample | disable_corrector | dynamic_thresholding_ratio | eta | euler_at_final
    | final_sigmas_type | flow_shift | interpolation_type | lambda_min_clipped | lower_order_final | predict_x0
    | sample_max_value | set_alpha_to_one | shift_terminal | sigma_(max|min) | skip_prk_steps | solver_(order|p|type)
    | steps_offset | tensor_format | thresholding | time_shift_type | timestep_(spacing|values) | use_dynamic_shifting
    | use_lu_lambdas | use_(beta|exponential|karras)_sigmas""",
    re.VERBOSE,
)


def check_scheduler(said: Mapping[str, Any], schedule: ScheduleConfig) -> None:
    """Compare a ``scheduler_config.json`` with the configuration; what it leaves out has diffusers' defaults.

    Raises:
        ValueError: all that differs, and what to change in the configuration where that would help.
    """
    options = {key: value for key, value in said.items() if not key.startswith("_")}
    if "timesteps" in options:  # its name in the first versions of diffusers
        options.setdefault("num_train_timesteps", options.pop("timesteps"))
    if not options.get("clip_sample", True):
        options.pop("clip_sample_range", None)
    unknown = [
        f"{key} is {value!r}: not known here; remove it from the file if it says nothing about the network"
        for key, value in options.items()
        if key not in (*_FORWARD_KEYS, *_DECISIVE) and not _SAMPLING_KEYS.fullmatch(key)
    ]
    _refuse(
        [
            *_foreign_scheduler(said.get("_class_name", "DDPMScheduler")),
            *unknown,
            *_differences({**_SCHEDULER_DEFAULTS, **options}, schedule),
        ]
    )


def check_pipeline(pipeline: Mapping[str, Any], has_scheduler: bool) -> None:
    """Compare a ``model_index.json``: a pipeline of an unconditional U-Net on pixels, with its scheduler at hand.

    Raises:
        ValueError: all parts that have no place here.
    """
    faults = []
    for name, kind in components(pipeline):
        if name == "scheduler":
            faults += _foreign_scheduler(kind)
            if not has_scheduler:
                faults.append(f"scheduler is {kind}, whose scheduler_config.json is not there: copy it, too")
        elif not name.startswith("unet"):
            faults.append(f"{name} is {kind}: only an unconditional U-Net on pixels, alone, is sampled here")
    _refuse(faults)


def check_remarks(remarks: Mapping[str, Any], schedule: ScheduleConfig) -> dict[str, Any]:
    """Compare what other places than a scheduler's file say: metadata, or options that lie in a file of weights.

    Args:
        remarks: by name, of which what follows the last dot counts; values may be text.
        schedule: the configuration's.

    Returns:
        What was compared.

    Raises:
        ValueError: all that differs.
    """
    options = {key.rpartition(".")[2]: _parsed(value) for key, value in remarks.items()}
    if "num_diffusion_timesteps" in options:  # its name in DDIM's program
        options.setdefault("num_train_timesteps", options["num_diffusion_timesteps"])
    compared = {key: value for key, value in options.items() if key in (*_FORWARD_KEYS, *_DECISIVE)}
    _refuse(_differences(compared, schedule))
    return compared


def own_schedule(report: Path) -> dict[str, Any]:
    """Return what the ``training.json`` of one of our runs says about the forward process; {} for a file of others."""
    try:
        schedule = ScheduleConfig.model_validate(read_object(report)["provenance"]["job"]["schedule"])
    except (KeyError, TypeError, ValueError):
        return {}
    return {"beta_schedule": schedule.kind, **schedule.model_dump(exclude={"kind"})}


def without_long_lists(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said, for a report: of a thousand betas only how many there were."""
    return {
        key: f"{len(value)} values" if isinstance(value, list) and len(value) > _MOST_REPORTED else value
        for key, value in said.items()
    }


def _foreign_scheduler(name: Any) -> list[str]:
    return [] if name in _SCHEDULERS else [f"scheduler is {name}: it is not for DDPM's forward process"]


def _differences(said: Mapping[str, Any], schedule: ScheduleConfig) -> list[str]:
    """One line for each value that is not what is done here."""
    decisive = [
        f"{key} is {said[key]!r}: {meaning}"
        for key, (possible, meaning) in _DECISIVE.items()
        if key in said and said[key] not in possible
    ]
    betas = said.get("trained_betas")
    return decisive + (_other_schedule(said, schedule) if betas is None else _other_betas(betas, schedule))


def _other_schedule(said: Mapping[str, Any], schedule: ScheduleConfig) -> list[str]:
    kind = _KINDS.get(str(said.get("beta_schedule", schedule.kind)), "")
    if not kind:
        faults = [f"beta_schedule is {said['beta_schedule']!r}: it is none of {', '.join(_KINDS)}"]
        return faults + _other_schedule({**said, "beta_schedule": schedule.kind}, schedule)
    theirs = {"kind": kind} if "beta_schedule" in said else {}
    numbers = ("num_train_timesteps", *_BETAS_OF.get(kind, ("beta_start", "beta_end")))
    theirs |= {key: said[key] for key in numbers if key in said}
    names = {"kind": "beta_schedule"}
    return [
        f"{names.get(key, key)} is {said[names.get(key, key)]!r}: schedule.{key} would have to be {value}, not {ours}"
        for key, value in theirs.items()
        if not _same(value, ours := getattr(schedule, key))
    ]


def _other_betas(betas: Any, schedule: ScheduleConfig) -> list[str]:
    ours = NoiseSchedule.create(**schedule.model_dump()).betas[1:]
    try:
        theirs = torch.as_tensor(betas, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return [f"trained_betas is {betas!r}: not a list of numbers"]
    # released betas went through float32
    if theirs.shape == ours.shape and torch.allclose(theirs, ours, rtol=1e-4, atol=1e-6):
        return []
    ends = f" from {theirs[0]:g} to {theirs[-1]:g}" if theirs.ndim == 1 and len(theirs) else ""
    return [
        f"trained_betas are {theirs.numel()} values{ends}, and those of schedule.kind: {schedule.kind} are {len(ours)} "
        f"from {ours[0]:g} to {ours[-1]:g}"
    ]


def _same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return math.isclose(theirs, ours, rel_tol=1e-6)
    return bool(theirs == ours)


def _parsed(value: Any) -> Any:
    """Metadata is text: numbers and lists are written as in JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _refuse(faults: Iterable[str]) -> None:
    """Raise ValueError that lists the faults, if there are any."""
    faults = list(faults)
    if not faults:
        return
    lines = ["does not agree with what is done here:", *(f"  {fault}" for fault in faults)]
    if any("schedule." in fault for fault in faults):
        lines.append(_HOW_TO_CHANGE)
    raise ValueError("\n".join(lines))
