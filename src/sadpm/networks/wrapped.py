"""Where among a checkpoint's contents its weights lie, the averaged ones where there are two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sadpm.networks.advice import listed

# Keys under which programs keep weights that were averaged, and those that were not; what comes first is taken.
_AVERAGED = re.compile(r"(?:\w+_)?(?:ema|averaged|swa)(?:_\w+)?", re.IGNORECASE)
WRAPPERS = ("model_dict", "state_dict", "model", "unet", "net", "model_state_dict", "module")
# An average may be kept with its decay beside it.
_INSIDE_AVERAGE = ("shadow", *WRAPPERS)
_DEEPEST = 2

# What modules that hold the network put before its names; torch.compile's may stand between parts as well.
_PREFIXES = re.compile(rf"^(?:(?:module|model|unet|net|network|nnet|diffusion_model|{_AVERAGED.pattern})\.)+", re.I)
_COMPILED = "_orig_mod."
_PLAIN = (type(None), bool, int, float, str, Tensor)


@dataclass(frozen=True)
class Weights:
    """The weights of a file.

    Attributes:
        tensors: by the names that they have in the file; :func:`bare` drops the wrappers' part of them.
        aside: tensors without a dot in their name, which no network's parameters are: buffers of what holds it.
        notes: what the user should know about the choice.
    """

    tensors: dict[str, Tensor]
    aside: dict[str, Tensor]
    notes: tuple[str, ...]


def find_weights(content: Any) -> Weights | None:
    """Return the weights that a file's content holds, None where there are none.

    Raises:
        ValueError: there are averaged weights beside raw ones, and not by name, so that they can't be taken.
    """
    notes: list[str] = []
    if (found := _within(content, notes)) is None:
        return None
    tensors = {key: value.detach() for key, value in found.items() if isinstance(value, Tensor)}
    if not (named := {key: value for key, value in tensors.items() if "." in key}):
        return None
    aside = {key: value for key, value in tensors.items() if "." not in key}
    if aside:
        notes.append(f"left aside what is no parameter of a network: {listed(aside)}")
    return Weights(_averaged_part(named, notes), aside, tuple(notes))


def bare(name: str) -> str:
    """Drop what DataParallel, torch.compile, Lightning and other holders put before a parameter's name."""
    return _PREFIXES.sub("", name.replace(_COMPILED, ""))


def remarks_in(content: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield what plain options in a file of weights say, name and value, wherever they lie."""
    if isinstance(content, Mapping) and depth <= _DEEPEST and not _is_weights(content):
        for key, value in content.items():
            if isinstance(value, Mapping):
                yield from remarks_in(value, depth + 1)
            elif isinstance(key, str) and not isinstance(value, Tensor):
                yield key, value


def _is_weights(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and any(isinstance(value, Tensor) for value in content.values())
        and all(isinstance(key, str) and isinstance(value, _PLAIN) for key, value in content.items())
    )


def _within(content: Any, notes: list[str], depth: int = 0) -> Mapping[str, Any] | None:
    if _is_weights(content):
        return content  # type: ignore[no-any-return]
    if isinstance(content, list | tuple):
        return _of_ddim(content, notes)
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return None
    raw = _first(content, WRAPPERS, depth)
    averaged = [key for key, value in content.items() if isinstance(key, str) and _holds_average(key, value)]
    taken = [(key, found) for key in averaged if (found := _inside_average(content[key]))]
    if len(taken) > 1:
        raise ValueError(f"holds several averages, {listed(key for key, _ in taken)}; export the one that you mean")
    if taken:
        key, found = taken[0]
        notes += [f"took the averaged weights, {key!r}, not the raw ones, {raw[0]!r}"] if raw else []
        return found
    if raw and averaged:
        raise ValueError(
            f"holds averaged weights, {averaged[0]!r}, without the names of the parameters (a list, or an object of "
            f"the program that wrote it); the raw ones, {raw[0]!r}, are not what papers sample from. Let that program "
            "put the average into its network, and save the network's state_dict()"
        )
    if raw is None:
        return None
    beside = [str(key) for key in content if key != raw[0]]
    if beside:
        notes.append(f"took the weights under {raw[0]!r}, which nothing calls averaged, beside {listed(beside)}")
    return _within(raw[1], notes, depth + 1)


def _first(content: Mapping[Any, Any], keys: Sequence[str], depth: int) -> tuple[str, Any] | None:
    return next(((key, content[key]) for key in keys if key in content and _within(content[key], [], depth + 1)), None)


def _holds_average(key: str, value: Any) -> bool:
    """Tell an average from settings of it such as ``ema_decay``, and from none."""
    return bool(_AVERAGED.fullmatch(key)) and not isinstance(value, (*_PLAIN, str)) and bool(value)


def _inside_average(value: Any) -> Mapping[str, Any] | None:
    if _is_weights(value) and any("." in key for key in value):
        return value  # type: ignore[no-any-return]
    inner = (value[key] for key in _INSIDE_AVERAGE if isinstance(value, Mapping) and key in value)
    return next((found for found in inner if _is_weights(found)), None)


def _of_ddim(content: Sequence[Any], notes: list[str]) -> Mapping[str, Any] | None:
    """Read the list that DDIM's and NCSN's programs save: network, optimiser, epoch, step, and perhaps the average."""
    if len(content) not in (4, 5) or not _is_weights(content[0]) or not isinstance(content[1], Mapping):
        return None
    if len(content) == 4:
        notes.append("took the first of four entries, raw weights; there are no averaged ones")
        return content[0]  # type: ignore[no-any-return]
    if not _is_weights(content[4]):
        raise ValueError("holds raw weights first and something last that is no average by name; export the average")
    notes.append("took the averaged weights, the last of five entries, not the raw ones, the first")
    return content[4]  # type: ignore[no-any-return]


def _averaged_part(tensors: dict[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """Keep the average where one state_dict holds it and the network side by side, `ema_model.` and `model.`."""
    heads = {_head(key): None for key in tensors}
    averaged = [head for head in heads if _AVERAGED.fullmatch(head)]
    if not averaged or len(heads) == 1:
        return tensors
    if len(averaged) > 1:
        raise ValueError(f"holds several averages, {listed(averaged)}; export the one that you mean")
    chosen = {key: tensor for key, tensor in tensors.items() if _head(key) == averaged[0]}
    if all("." not in _after_head(key) for key in chosen):
        raise ValueError(
            f"holds averaged weights, {averaged[0]!r}, whose names lost their dots (LitEma's); let the program that "
            "wrote them copy them into its network, and save the network's state_dict()"
        )
    others = [head for head in heads if head != averaged[0]]
    notes.append(f"took the averaged weights, {averaged[0]!r}, not those of {listed(others)}")
    return chosen


def _head(key: str) -> str:
    return re.sub(r"^(module\.|_orig_mod\.)+", "", key).partition(".")[0]


def _after_head(key: str) -> str:
    return re.sub(r"^(module\.|_orig_mod\.)+", "", key).partition(".")[2]
