"""Files of weights by name, safetensors or written by `torch.save`, read without running anything that they ask for.

A file of `torch.save` is a pickle: a program that says which functions to call. torch's restricted unpickler
(`weights_only=True`) makes tensors and plain containers of it and refuses the rest. But what is released as a
checkpoint often holds the program's arguments or other objects beside the weights. So while a file is read, every
class that it names, torch's own for tensors excepted, is replaced by a stand-in: an empty class, of which the file may
make objects and fill them, which does nothing. The named module is not even imported. A file that wants to *call*
something is refused.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from torch import Tensor

from sadpm.networks import advice
from sadpm.networks.wrapped import WRAPPERS, Weights, find_weights, remarks_in

# What torch.save writes around tensors. torch decides what of it is allowed; here it is only no news to the user.
_OF_TENSORS = re.compile(
    r"torch\.\w*Storage|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.(Size|Tensor|device|b?float\d+|u?int\d+|bool)|collections\.OrderedDict|_codecs\.encode"
)
# Values are stored as calls of these. The calls are made to stand-ins, too, and give objects that hold nothing.
_CALLS_THAT_ARE_VALUES = frozenset(
    (
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
    )
)
_ZIP_BEGINS = b"PK\x03\x04"
_PICKLE_BEGINS = b"\x80\x02"
_SAFETENSORS_HEADER_AT = 8  # after its length, as eight bytes
_LEGACY_PREAMBLE = 3  # magic number, protocol and byte order come as pickles of their own before the content


@dataclass(frozen=True)
class TensorFile:
    """What was read from a file: its weights, and the options and metadata that lie beside them, by name."""

    weights: Weights
    remarks: dict[str, Any]


def read_tensors(path: Path) -> TensorFile:
    """Read the weights of a file, on the CPU, by the names that they have there.

    Raises:
        ValueError: the file is damaged, holds no weights, or would have to run code; the message names a safe route.
        OSError: the file can't be opened.
    """
    if told := advice.on_beginning(path):
        raise ValueError(f"{path} {told}")
    content, remarks = _read_safetensors(path) if _is_safetensors(path) else _read_pickled(path)
    try:
        weights = find_weights(content)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    if weights is None:
        keys = advice.listed(map(str, content)) if isinstance(content, Mapping) else ""
        held = f"the keys {keys}" if keys else f"a {type(content).__qualname__}"
        raise ValueError(
            f"{path} holds {held}, and no weights: tensors by name, alone or under {', '.join(WRAPPERS)} or ema"
        )
    return TensorFile(weights, remarks)


def as_float32(tensors: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Convert weights to float32.

    Raises:
        ValueError: the names of those that are not of a floating-point type, or not finite.
    """
    if strange := [f"{key} ({value.dtype})" for key, value in tensors.items() if not value.is_floating_point()]:
        raise ValueError(f"{where}: weights that are no floating-point numbers: {advice.listed(strange)}")
    converted = {key: value.float() for key, value in tensors.items()}
    if endless := [key for key, value in converted.items() if not value.isfinite().all()]:
        raise ValueError(
            f"{where}: weights with NaN or infinity, of a training that diverged or a damaged file: "
            f"{advice.listed(endless)}"
        )
    return converted


def _is_safetensors(path: Path) -> bool:
    """Tell by the content, because both kinds are found under each other's names; by the name where it is neither."""
    with path.open("rb") as file:
        head = file.read(_SAFETENSORS_HEADER_AT + 1)
    is_pickled = head.startswith((_ZIP_BEGINS, _PICKLE_BEGINS))
    return head.endswith(b"{") or (path.suffix == ".safetensors" and not is_pickled)


def read_metadata(path: Path) -> dict[str, str]:
    """Return what a safetensors file says beside its weights; nothing for other files, and for the usual remark."""
    return _read_safetensors(path, weights=False)[1] if path.is_file() and _is_safetensors(path) else {}


def _read_safetensors(path: Path, weights: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: value for key, value in (file.metadata() or {}).items() if value != "pt"}
            names = list(file.keys()) if weights else []
            return {name: file.get_tensor(name) for name in names}, metadata
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}") from error


def _read_pickled(path: Path) -> tuple[Any, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            named = dict.fromkeys(_foreign_names(file))
    except (ValueError, StopIteration, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} was not written by torch.save, or is damaged: {error}") from error
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [_stand_in(*name) for name in named]
    try:
        # given a name, torch would choose by its suffix how to read it
        with torch.serialization.safe_globals(stand_ins), path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can make the unpickler raise anything
        raise ValueError(_explanation(path, [".".join(name) for name in named], error)) from error
    return content, dict(remarks_in(content))


def _foreign_names(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    """(module, name) of all that a pickle refers to beside tensors: its instructions are read, and not followed."""
    begins_with = file.read(len(_ZIP_BEGINS))
    file.seek(0)
    if begins_with == _ZIP_BEGINS:
        with zipfile.ZipFile(file) as archive:
            members = {name.rpartition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in members:
                raise ValueError("it is a program of TorchScript; save the network's state_dict() in its place")
            if "data.pkl" not in members:
                raise ValueError("it is a zip archive of something else; unpack it first")
            yield from _names_in_pickle(archive.open(members["data.pkl"]))
    else:
        for _ in range(_LEGACY_PREAMBLE):
            yield from _names_in_pickle(file)
        yield from _names_in_pickle(file)


def _names_in_pickle(file: IO[bytes]) -> Iterator[tuple[str, str]]:
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            if not _OF_TENSORS.fullmatch(f"{module}.{name}"):
                yield module, name


class _NeverCalled(type):
    """The type of stand-ins: a pickle makes plain objects by their ``__new__``, and calls what it wants to have run."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in _CALLS_THAT_ARE_VALUES:
            raise UnpicklingError(f"the file calls {name}")
        return super().__call__()


class _Nothing(metaclass=_NeverCalled):
    """An object that takes whatever state it is given, and forgets it."""

    def __new__(cls, *_: Any) -> Any:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _stand_in(module: str, name: str) -> Callable[..., Any]:
    return _NeverCalled(name, (_Nothing,), {"__module__": module, "__qualname__": name})


def _explanation(path: Path, foreign: list[str], error: Exception) -> str:
    suspects = [name for name in foreign if name not in _CALLS_THAT_ARE_VALUES]
    if not suspects:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return f"{path} was not written by torch.save, or is damaged: {reason[0]}"
    return f"""{path} can't be read without running code that it names: {", ".join(suspects)}.
That code could do anything to your files, so it is not run. Other ways to the weights:
- a file that holds tensors alone; of SA-DPM's, that is model_<epoch>_ema.pth (the averaged weights);
- where you trust the file, and on a machine that you can spare, export the weights, and use the new file:
    import torch
    content = torch.load({path.name!r}, map_location="cpu", weights_only=False)
    torch.save({{key: value for key, value in content["model_dict"].items()}}, "weights.pth")"""
