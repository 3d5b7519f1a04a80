"""What people give in place of weights that this pipeline can load, and what to do about it: tables, and no logic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_HEAD = 4096  # bytes of a file that are looked at

# How files begin that are no weights.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (rb"\Z", "is empty: the download was interrupted"),
    (
        rb"version https://git-lfs",
        "is a pointer of git-lfs, which only names the weights: run `git lfs pull` in its repository, or download the "
        "file itself",
    ),
    (
        rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?<(!doctype|html|head|body|\?xml)",
        "is a web page, saved in place of the file: its address wants a login or a confirmation, or is that of a page "
        "about the file",
    ),
    (rb"\s*[{\[][^\0]{20}", "is text (JSON), and holds no weights"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd|.{257}ustar", "is an archive: unpack it first"),
    (rb"\x89HDF", "is HDF5, as Keras writes it; the weights of PyTorch are needed"),
    (rb"\x93NUMPY", "is an array of NumPy, not weights by name"),
    (
        rb".*torch_utils\.persistence",
        "is a network of EDM or StyleGAN with its program inside; that U-Net is another one, and can't be loaded here",
    ),
)

# Parameters of networks that are not ours, by how their names begin after wrappers such as `module.` or by what they
# hold.
_NAMES: tuple[tuple[str, str], ...] = (
    (
        r"(^|[._])lora[._]",
        "these are LoRA weights, a change to another network and none by themselves; save the network with them merged "
        "in",
    ),
    (
        r"(^|\.)(transformer_blocks|add_embedding|encoder_hid_proj)\.",
        "the names are those of a U-Net that is conditioned on text or the like (UNet2DConditionModel); only "
        "unconditional ones are sampled here",
    ),
    (
        r"^(down_blocks|mid_block|up_blocks)\.",
        "the names are diffusers'; use the folder, with the config.json that belongs to it",
    ),
    (
        r"^(input_blocks|middle_block|output_blocks)\.",
        "the names are those of OpenAI's guided-diffusion or improved-diffusion, whose U-Net is another one (it learns "
        "its variance, and scales and shifts where ours adds)",
    ),
    (
        r"^(label_emb|class_emb\w*|class_embedding|y_embedder|cls_emb\w*|map_label)\.",
        "the network is conditioned on classes, and only unconditional ones are sampled here",
    ),
    (r"^all_modules\.", "the names are score_sde's, whose networks have other layers and mostly another noise process"),
    (r"^(enc|dec)\.\d+x\d+_|^map_layer\d\.", "the names are those of EDM's networks, which do not predict the noise"),
    (r"^(init_conv|downs|ups|final_conv)\.", "the names are those of lucidrains' denoising-diffusion-pytorch"),
    (
        r"^(x_embedder|patch_embed|pos_embed|in_blocks|blocks|transformer)\.",
        "the names are those of a transformer such as DiT or U-ViT",
    ),
    (
        r"^(first_stage_model|vae|encoder|decoder|quant_conv|post_quant_conv)\.",
        "there is an autoencoder in it: it belongs to a latent diffusion model, and only pixels are sampled here",
    ),
)
LOADABLE = "What can be loaded: files of SA-DPM's, Bao et al.'s and DDIM's programs, and folders of UNet2DModel"

# What lies in folders that are not a model's.
_ENTRIES: tuple[tuple[str, str], ...] = (
    (r"snapshots", "this is the cache of huggingface_hub: name the folder snapshots/<revision> inside"),
    (
        r".*\.(data-\d+-of-\d+|ckpt-\d+\.(index|meta))",
        "these are weights of TensorFlow, such as Ho et al. released: convert them to PyTorch, or use google/ddpm-*",
    ),
    (r".*\.(msgpack|h5)", "weights of Flax or TensorFlow can't be read; PyTorch's are needed"),
    (r"pytorch_lora_weights\..*", _NAMES[0][1]),
    (r".*\.(pth|pt|ckpt)", "if one of these files holds the weights, name the file itself"),
)

# Options of UNet2DModel that tell what a network is for.
OPTIONS: Mapping[str, str] = {
    "_class_name": "only UNet2DModel, an unconditional U-Net on pixels, is sampled here",
    "num_class_embeds": "the network is conditioned on classes, and only unconditional ones are sampled here",
    "class_embed_type": "the network is conditioned on classes, and only unconditional ones are sampled here",
    "out_channels": "twice as many channels as the images have mean a learned variance, which is not used here",
    "center_input_sample": "the network was trained on images in 0..1, and those here lie in -1..1",
    "time_embedding_type": "networks that are told the noise level, not the step, belong to other noise processes",
}


def on_beginning(path: Path) -> str | None:
    """Say what a file is, if its first bytes show that it holds no weights; OSError where it can't be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return next((told for pattern, told in _BEGINNINGS if re.match(pattern, head, re.DOTALL | re.IGNORECASE)), None)


def on_names(names: Iterable[str]) -> list[str]:
    """Say to which other networks these names of parameters belong, as far as they are known."""
    names = list(names)
    return [told for pattern, told in _NAMES if any(re.search(pattern, name) for name in names)]


def on_folder(folder: Path) -> str:
    """Say what lies in a folder that is no model's, and what to do."""
    entries = sorted(entry.name for entry in folder.iterdir())
    told = [told for pattern, told in _ENTRIES if any(re.fullmatch(pattern, entry) for entry in entries)]
    return "; ".join([f"there is {listed(entries)}" if entries else "the folder is empty", *told])


def listed(names: Iterable[str], most: int = 20) -> str:
    """Join names, and count those beyond the first ones."""
    names = list(names)
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
