"""Released checkpoints: files of SA-DPM's and Bao et al.'s programs, and folders of diffusers, as our U-Net."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from sadpm.artifacts import UserError
from sadpm.checkpoints import CONFIG_FILE, from_native_keys
from sadpm.networks import UNet, load_unet
from sadpm.tensor_files import read_tensors

Format = Literal["auto", "sa-dpm", "bao", "diffusers"]
LISTED = 20

# Names of diffusers and of the official programs, for messages about keys that a file lacks.
_NATIVE_NAMES = (
    ("time_embedding.linear_1.", "temb.dense.0."),
    ("time_embedding.linear_2.", "temb.dense.1."),
    ("conv_norm_out.", "norm_out."),
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.resnets.1.", "mid.block_2."),
    ("mid_block.attentions.0.", "mid.attn_1."),
    ("_blocks.", "."),
    (".resnets.", ".block."),
    (".attentions.", ".attn."),
    (".downsamplers.0.", ".downsample."),
    (".upsamplers.0.", ".upsample."),
    (".time_emb_proj.", ".temb_proj."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".group_norm.", ".norm."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."),
)


def load_released(path: Path, form: Format, unet: UNet) -> UNet:
    """Read a checkpoint: float32, CPU, dropout off.

    Args:
        path: a file in the layout of the official programs, or a folder of diffusers.
        form: "auto" takes folders for diffusers' and files for the official programs'.
        unet: the network that the configuration describes, without weights (on torch's device "meta"). A file must
            fit it; a folder describes its own, which must have the same image size and channels.

    Raises:
        UserError: what is wrong with the file, with all keys that are missing, unexpected or of another shape.
    """
    is_folder = layout(path, form) == "diffusers"
    try:
        return _load_folder(path, unet) if is_folder else _load_file(path, unet, with_heads=form != "sa-dpm")
    except OSError as error:
        raise UserError(f"{error.filename or path}: can't be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def layout(path: Path, form: Format) -> Literal["diffusers", "native"]:
    """Tell a folder of diffusers from a file of the official programs; UserError where ``form`` says otherwise."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    found: Literal["diffusers", "native"] = "diffusers" if path.is_dir() else "native"
    if form != "auto" and (form == "diffusers") != (found == "diffusers"):
        wanted = ("a folder", "a file") if form == "diffusers" else ("a file", "a folder")
        raise UserError(f"{path}: format {form!r} needs {wanted[0]}, and this is {wanted[1]}")
    return found


def native_name(key: str, num_levels: int) -> str:
    """Return the official programs' name of a parameter of :class:`UNet`."""
    for ours, native in _NATIVE_NAMES:
        key = key.replace(ours, native)
    return re.sub(r"^up\.(\d+)", lambda found: f"up.{num_levels - 1 - int(found[1])}", key)


def _load_folder(path: Path, unet: UNet) -> UNet:
    """Read a folder of `UNet2DModel`, or the one within a pipeline's folder."""
    loaded = load_unet(path / "unet" if (path / "unet" / CONFIG_FILE).is_file() else path)
    for option in ("sample_size", "in_channels"):
        has, needs = getattr(loaded, option), getattr(unet, option)
        if has != needs:
            raise ValueError(f"{path}: {option} is {has} in {CONFIG_FILE}, and the images of the data set need {needs}")
    return loaded


def _load_file(path: Path, unet: UNet, with_heads: bool) -> UNet:
    """Fill the configuration's network from a file with the names of the official programs."""
    weights = read_tensors(path)
    if any("_blocks." in key for key in weights):
        raise ValueError(f"{path}: the names are diffusers'; use the folder, with the {CONFIG_FILE} that belongs to it")
    state, heads, unexpected = _translated(weights, len(unet.block_out_channels))
    if with_heads and heads:
        print(f"{path}: ignored the covariance head: {', '.join(heads)}", file=sys.stderr)
    elif heads:
        unexpected += heads
    if faults := _faults(state, unexpected, unet):
        raise ValueError(
            "\n".join([f"{path} does not fit the network of the data set:", *faults, *_hint(weights, unet)])
        )
    unet.load_state_dict(state, assign=True)
    return unet.eval()


def _translated(weights: Mapping[str, Tensor], num_levels: int) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return the weights under our names, and the keys of a covariance head and of nothing that we know."""
    state: dict[str, Tensor] = {}
    heads: list[str] = []
    unexpected: list[str] = []
    for key, tensor in weights.items():
        try:
            translated = from_native_keys({key: tensor.float()}, num_levels)
        except ValueError:
            unexpected.append(key)
            continue
        if not translated:
            heads.append(key)
        elif translated.keys() & state.keys():
            unexpected.append(key)
        else:
            state.update(translated)
    return state, heads, unexpected


def _faults(state: Mapping[str, Tensor], unexpected: list[str], unet: UNet) -> list[str]:
    """One line for each way in which weights can fail to fit, with the keys as the official programs call them."""
    expected, levels = unet.state_dict(), len(unet.block_out_channels)
    missing = [native_name(key, levels) for key in expected if key not in state]
    unexpected = [*unexpected, *(native_name(key, levels) for key in state if key not in expected)]
    shapes = [
        f"{native_name(key, levels)} {tuple(state[key].shape)} instead of {tuple(wanted.shape)}"
        for key, wanted in expected.items()
        if key in state and state[key].shape != wanted.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return [f"  {kind} ({len(keys)}): {_listed(keys)}" for kind, keys in kinds.items() if keys]


def _listed(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f", and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _hint(weights: Mapping[str, Tensor], unet: UNet) -> list[str]:
    """Tell which widths the file has, where they are not those of the network."""
    first = re.compile(r"(?:module\.)?down\.(\d+)\.block\.0\.conv1\.weight")
    found = {int(match[1]): len(tensor) for key, tensor in weights.items() if (match := first.fullmatch(key))}
    widths, ours = [found[level] for level in sorted(found)], list(unet.block_out_channels)
    differ = widths and widths != ours
    return [f"  its block_out_channels are {widths}, those of the data set's network {ours}"] if differ else []
