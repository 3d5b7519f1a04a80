"""How others store what `sadpm.networks.unet` computes: folders and options of diffusers, names in released files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sadpm.networks import advice
from sadpm.networks.model_folder import CONFIG_FILE, WEIGHTS_FILE, read_object, weights_of
from sadpm.networks.tensor_files import as_float32, read_tensors
from sadpm.networks.wrapped import bare
from sadpm.running.files import write_atomically, write_json

# Options of diffusers' UNet2DModel for which our U-Net has one behaviour, hence one admissible value. The first group
# is written to config.json, the second is left to diffusers' own defaults, which agree.
WRITTEN_OPTIONS: Mapping[str, Any] = {
    "_class_name": "UNet2DModel",
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attention_head_dim": None,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
}
IMPLIED_OPTIONS: Mapping[str, Any] = {"mid_block_type": "UNetMidBlock2D"}
# Options that UNet2DModel and our U-Net call alike.
NUMERIC_OPTIONS = (
    "sample_size",
    "in_channels",
    "layers_per_block",
    "dropout",
    "norm_num_groups",
    "freq_shift",
    "flip_sin_to_cos",
    "downsample_padding",
    "norm_eps",
)
# What diffusers assumes where config.json lacks the key.
DIFFUSERS_DEFAULTS: Mapping[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "dropout": 0.0,
    "norm_num_groups": 32,
    "attention_head_dim": 8,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "downsample_padding": 1,
    "norm_eps": 1e-5,
}
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("block_out_channels", "down_block_types", "up_block_types"), list | tuple),
    **dict.fromkeys(("sample_size", "in_channels", "layers_per_block", "norm_num_groups", "downsample_padding"), int),
    **dict.fromkeys(("dropout", "freq_shift", "norm_eps"), int | float),
    "flip_sin_to_cos": bool,
}
# What diffusers' EMAModel writes about itself into the config.json of an averaged network.
EMA_REMARKS = frozenset(
    ("decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power")
)

# Attention layers in folders written by diffusers before 0.15, google/ddpm-cifar10-32 among them.
_FORMER_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

# The layout of the official DDPM, SA-DPM and Analytic-DPM programs.
_NATIVE_RESIDUAL = r"(norm[12]|conv[12]|temb_proj|nin_shortcut)"
_NATIVE_ATTENTION = r"(norm|q|k|v|proj_out)"
_NATIVE_UNET = re.compile(
    rf"""(
        conv_in | conv_out | norm_out | temb\.dense\.[01]
        | (down|up)\.\d+\.( block\.\d+\.{_NATIVE_RESIDUAL} | attn\.\d+\.{_NATIVE_ATTENTION} )
        | (down\.\d+\.downsample | up\.\d+\.upsample)\.conv
        | mid\.( block_[12]\.{_NATIVE_RESIDUAL} | attn_1\.{_NATIVE_ATTENTION} )
    )\.(weight|bias)""",
    re.VERBOSE,
)
_NATIVE_HEAD = re.compile(rf"(norm_out2|conv_out2|before_out\.{_NATIVE_RESIDUAL})\.(weight|bias)")
_RENAMINGS = (
    (r"^temb\.dense\.0\.", "time_embedding.linear_1."),
    (r"^temb\.dense\.1\.", "time_embedding.linear_2."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^norm_out2\.", "norm."),
    (r"^conv_out2\.", "conv."),
    (r"^before_out\.", "resnet."),
    (r"^mid\.block_1\.", "mid_block.resnets.0."),
    (r"^mid\.block_2\.", "mid_block.resnets.1."),
    (r"^mid\.attn_1\.", "mid_block.attentions.0."),
    (r"^(down|up)\.(\d+)\.block\.", r"\1_blocks.\2.resnets."),
    (r"^(down|up)\.(\d+)\.attn\.", r"\1_blocks.\2.attentions."),
    (r"^(down|up)\.(\d+)\.(down|up)sample\.", r"\1_blocks.\2.\3samplers.0."),
    (r"\.temb_proj\.", ".time_emb_proj."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


def write_folder(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write the two files of a diffusers model folder, each whole or not at all."""
    from safetensors.torch import save

    write_json(folder / CONFIG_FILE, config)
    # safetensors wants contiguous tensors, which those of a channels_last network are not
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    content = save(tensors, metadata={"format": "pt"})
    write_atomically(folder / WEIGHTS_FILE, lambda file: file.write(content))


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write_folder` or diffusers wrote: the options, and the weights in float32 under today's names.

    ValueError says what is damaged, ambiguous, left over from another save, or not a finite number.
    """
    config = read_object(folder / CONFIG_FILE)
    state: dict[str, Tensor] = {}
    for file, promised in weights_of(folder).items():
        tensors = read_tensors(file).weights.tensors
        if promised is not None and (differing := promised ^ tensors.keys()):
            raise ValueError(f"{file} and its index are of different saves: {advice.listed(sorted(differing))}")
        for key, tensor in as_float32(tensors, file).items():
            name = _rename_former_attention(bare(key))
            if name in state:
                raise ValueError(f"{file}: two parameters are {name}, one of them {key}")
            state[name] = tensor
    return config, state


def complete_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Add diffusers' own value for every option that a config.json lacks, and drop remarks that are no options.

    ValueError names the option whose value is missing or of another type.
    """
    read = {key: value for key, value in config.items() if not key.startswith("_") and key not in EMA_REMARKS}
    options = {"_class_name": config.get("_class_name", "UNet2DModel"), **DIFFUSERS_DEFAULTS, **read}
    check_options({"_class_name": options["_class_name"]}, WRITTEN_OPTIONS)
    for key, types in _TYPES.items():
        if options.get(key) is None:
            raise ValueError(f"{key} is missing")
        value = options[key]
        if not isinstance(value, types) or isinstance(value, bool) != (types is bool):
            raise ValueError(f"{key}: {value!r} is of the wrong type")
    if not all(isinstance(width, int) for width in options["block_out_channels"]):
        raise ValueError(f"block_out_channels: {options['block_out_channels']!r} are not all whole numbers")
    return options


def check_options(asked: Mapping[str, Any], built: Mapping[str, Any]) -> None:
    """Raise ValueError naming the first option whose value the U-Net that was built does not have."""
    for key, value in asked.items():
        possible = {**IMPLIED_OPTIONS, **built}.get(key)
        if (list(value) if isinstance(value, tuple) else value) != possible:
            why = f"; {advice.OPTIONS[key]}" if key in advice.OPTIONS else ""
            raise ValueError(f"{key}: {value!r} is not something this U-Net can do, only {possible!r}{why}")


def from_native_keys(state_dict: Mapping[str, Tensor], num_levels: int) -> dict[str, Tensor]:
    """Translate weights of an official program's U-Net to the names of `sadpm.networks.unet.UNet`.

    A leading `module.` (left by DistributedDataParallel) is dropped, and so are the keys of a covariance head, for
    which there is `head_from_native_keys`. ValueError names all other keys.
    """
    native = _native_part(state_dict)
    too_deep = [key for key in native if (level := _level(key)) is not None and level >= num_levels]
    if too_deep:
        raise ValueError(f"keys beyond the {num_levels} levels of the network: {', '.join(too_deep)}")
    # official level i lies at the end of the way up, where diffusers counts in the order of execution
    mirrored = {
        re.sub(r"^up\.(\d+)", lambda found: f"up.{num_levels - 1 - int(found[1])}", key): value
        for key, value in native.items()
        if not _NATIVE_HEAD.fullmatch(key)
    }
    translated = {_rename(key): value for key, value in mirrored.items()}
    # attention was written as 1x1 convolutions, whose weights (C, C, 1, 1) are those (C, C) of linear layers
    return {key: value.flatten(1) if ".to_" in key and value.ndim > 2 else value for key, value in translated.items()}


def head_from_native_keys(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the weights of an official NPR- or SN-DPM head, alone or beside its U-Net, to a `CovarianceHead`'s."""
    return {_rename(key): value for key, value in _native_part(state_dict).items() if _NATIVE_HEAD.fullmatch(key)}


def check_parameters(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise ValueError naming every parameter that is missing, unexpected or of another shape."""
    shapes = {key: (tuple(given[key].shape), tuple(expected[key].shape)) for key in expected if key in given}
    faults = [
        *(f"{key} is missing" for key in expected if key not in given),
        *(f"{key} is unexpected" for key in given if key not in expected),
        *(f"{key} has shape {has} instead of {wants}" for key, (has, wants) in shapes.items() if has != wants),
    ]
    if faults:
        raise ValueError(f"parameters do not fit the network: {'; '.join(faults)}")


def _native_part(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    native = {key.removeprefix("module."): value for key, value in state_dict.items()}
    if strangers := [key for key in native if not (_NATIVE_UNET.fullmatch(key) or _NATIVE_HEAD.fullmatch(key))]:
        raise ValueError(f"keys that no official U-Net or head has: {', '.join(strangers)}")
    return native


def _level(key: str) -> int | None:
    found = re.match(r"(?:down|up)\.(\d+)\.", key)
    return int(found[1]) if found else None


def _rename(key: str) -> str:
    for pattern, replacement in _RENAMINGS:
        key = re.sub(pattern, replacement, key)
    return key


def _rename_former_attention(key: str) -> str:
    for former, current in _FORMER_ATTENTION.items():
        key = key.replace(former, current)
    return key
