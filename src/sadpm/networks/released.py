"""Released checkpoints: files of SA-DPM's and Bao et al.'s programs, and folders of diffusers, as our U-Net."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sadpm.diffusion.section import ScheduleConfig
from sadpm.networks import advice, model_folder
from sadpm.networks.declarations import check_pipeline, check_remarks, check_scheduler, own_schedule, without_long_lists
from sadpm.networks.diffusers_folder import EMA_REMARKS, from_native_keys
from sadpm.networks.model_folder import ModelFolder
from sadpm.networks.tensor_files import as_float32, read_metadata, read_tensors
from sadpm.networks.unet import UNet, load_unet
from sadpm.networks.wrapped import bare
from sadpm.running.files import UserError

Format = Literal["auto", "sa-dpm", "bao", "diffusers"]
SILENT = "nothing beside the weights says which forward process they were trained for; taken for the configuration's"


@dataclass(frozen=True)
class Released:
    """A network and what its release says.

    Attributes:
        unet: float32, on the CPU, dropout off.
        files: those that decide what is imported, weights among them.
        said: what lies beside the weights, by the name of the file that says it; all of it agrees with the
            configuration, or is no concern of the network.
        notes: what the user should know: which of several weights were taken, what was left aside.
    """

    unet: UNet
    files: tuple[Path, ...]
    said: dict[str, Any]
    notes: tuple[str, ...]


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


def load_released(path: Path, form: Format, unet: UNet, schedule: ScheduleConfig) -> Released:
    """Read a checkpoint.

    Args:
        path: a file in the layout of the official programs, or a folder of diffusers.
        form: "auto" takes folders for diffusers' and files for the official programs'.
        unet: the network that the configuration describes, without weights (on torch's device "meta"). A file must
            fit it; a folder describes its own, which must have the same image size and channels.
        schedule: the forward process of the configuration, with which all that the release says must agree.

    Raises:
        UserError: what is wrong with the file, with all keys that are missing, unexpected or of another shape; or what
            the release says about itself that differs from what would be done with it.
    """
    is_folder = layout(path, form) == "diffusers"
    try:
        if is_folder:
            return _load_folder(path, unet, schedule)
        return _load_file(path, unet, schedule, with_heads=form != "sa-dpm")
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


def _load_folder(path: Path, unet: UNet, schedule: ScheduleConfig) -> Released:
    """Read a folder of `UNet2DModel`, or the one within a pipeline's folder."""
    folder = model_folder.find(path)
    if not (folder.model / model_folder.CONFIG_FILE).is_file():
        told = advice.on_folder(folder.model)
        raise ValueError(f"{folder.model}: no {model_folder.CONFIG_FILE} of a model of diffusers; {told}")
    said, is_silent = _declared(folder, schedule)
    loaded = load_unet(folder.model)
    for option in ("sample_size", "in_channels"):
        has, needs = getattr(loaded, option), getattr(unet, option)
        if has != needs:
            raise ValueError(f"{path}: {option} is {has} in config.json, and the images of the data set need {needs}")
    read = model_folder.weights_of(folder.model)
    unread = {file for file in folder.files() if file.name.startswith("diffusion_")} - read.keys()
    variants = [file.name for file in read if file.name.count(".") > 1]
    of_variant = f"took the weights {advice.listed(variants)}" if variants else ""
    notes = [note for note in (folder.note, of_variant, SILENT if is_silent else "") if note]
    return Released(loaded, tuple(file for file in folder.files() if file not in unread), said, tuple(notes))


def _declared(folder: ModelFolder, schedule: ScheduleConfig) -> tuple[dict[str, Any], bool]:
    """Read what lies beside a folder's weights and hold it against the configuration.

    Returns what was read, by file, and whether none of it is about the forward process.
    """
    said: dict[str, Any] = {}
    about_process: list[str] = []
    if folder.pipeline is not None:
        said[str(folder.pipeline)] = pipeline = model_folder.read_object(folder.pipeline)
        with _naming(folder.pipeline):
            check_pipeline(pipeline, folder.scheduler is not None)
    if folder.scheduler is not None:
        options = model_folder.read_object(folder.scheduler)
        said[str(folder.scheduler)] = without_long_lists(options)
        with _naming(folder.scheduler):
            check_scheduler(options, schedule)
    config = model_folder.read_object(folder.model / model_folder.CONFIG_FILE)
    remarks = {folder.model / model_folder.CONFIG_FILE: {key: config[key] for key in EMA_REMARKS & config.keys()}}
    remarks |= {file: read_metadata(file) for file in model_folder.weights_of(folder.model)}
    if folder.report is not None:
        remarks[folder.report] = own_schedule(folder.report)
    for file, content in remarks.items():
        with _naming(file):
            about_process += check_remarks(content, schedule)
        said |= {str(file): content} if content else {}
    return said, folder.scheduler is None and not about_process


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Begin the message of an error with the file that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error


def _load_file(path: Path, unet: UNet, schedule: ScheduleConfig, with_heads: bool) -> Released:
    """Fill the configuration's network from a file with the names of the official programs."""
    file = read_tensors(path)
    weights, notes = file.weights.tensors, list(file.weights.notes)
    state, heads, unexpected = _translated(weights, len(unet.block_out_channels))
    strange = advice.on_names(bare(key) for key in unexpected)
    if strange and not state:
        raise ValueError("\n".join([f"{path} can't be loaded:", *(f"  {told}" for told in strange), advice.LOADABLE]))
    if with_heads and heads:
        notes.append(f"ignored the covariance head: {', '.join(heads)}")
    elif heads:
        unexpected += heads
    if faults := _faults(state, unexpected, unet):
        hints = [f"  {told}" for told in strange] + _hint(state, unet)
        raise ValueError("\n".join([f"{path} does not fit the network of the data set:", *faults, *hints]))
    with _naming(path):
        betas = {"trained_betas": file.weights.aside["betas"].tolist()} if "betas" in file.weights.aside else {}
        compared = check_remarks({**file.remarks, **betas}, schedule)
    unet.load_state_dict(as_float32(state, path), assign=True)
    notes += [f"its name says that {name} beside it is the average of these weights" for name in _averages_of(path)]
    notes += [] if compared else [SILENT]
    return Released(unet.eval(), (path,), {str(path): without_long_lists(compared)} if compared else {}, tuple(notes))


def _averages_of(path: Path) -> list[str]:
    """Names of the files beside this one that are called as it is but for "ema"."""
    names = sorted(entry.name for entry in path.parent.iterdir())
    return [name for name in names if name != path.name and re.sub(r"_?ema_?", "", name) == path.name]


def _translated(weights: Mapping[str, Tensor], num_levels: int) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return the weights under our names, and the keys of a covariance head and of nothing that we know."""
    state: dict[str, Tensor] = {}
    heads: list[str] = []
    unexpected: list[str] = []
    for key, tensor in weights.items():
        try:
            translated = from_native_keys({bare(key): tensor}, num_levels)
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
    return [f"  {kind} ({len(keys)}): {advice.listed(keys)}" for kind, keys in kinds.items() if keys]


def _hint(state: Mapping[str, Tensor], unet: UNet) -> list[str]:
    """Tell which widths the file has, where they are not those of the network, and whether it learned a variance."""
    first = re.compile(r"down_blocks\.(\d+)\.resnets\.0\.conv1\.weight")
    found = {int(match[1]): len(tensor) for key, tensor in state.items() if (match := first.fullmatch(key))}
    widths, ours = [found[level] for level in sorted(found)], list(unet.block_out_channels)
    differ = widths and widths != ours
    hints = [f"  its block_out_channels are {widths}, those of the data set's network {ours}"] if differ else []
    if len(state.get("conv_out.bias", ())) == 2 * unet.in_channels:
        hints.append(f"  {advice.OPTIONS['out_channels']}")
    return hints
