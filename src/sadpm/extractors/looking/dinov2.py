"""DINOv2 as dgm-eval uses it, the program of Stein et al. (2023, arXiv:2306.04675) that FD-DINOv2 comes from.

The network is timm's. What decides the numbers beside it is done here: images are resized by Pillow, as dgm-eval's
transforms do, and position embeddings as the program of DINOv2's authors does, which is neither timm's way nor that
of transformers. timm takes seconds to import, and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sadpm.extractors.dinov2 import ARCHITECTURES, USUAL, Name
from sadpm.extractors.looking.features import FeatureExtractor, Pixels, Rows, as_rgb
from sadpm.networks.advice import listed, on_beginning
from sadpm.running.device import select_device
from sadpm.running.files import UserError, sha256
from sadpm.running.finite import first_not_finite

FILE = "model.safetensors"
SIDE = 224
PATCH = 14
TRAINED_GRID = 37
"""Patches along an edge of the 518x518 pixels for which the published weights have position embeddings."""
OFFSET = 0.1
"""Patches that DINOv2's program adds to the new grid's size before it divides, and keeps for its published weights."""
# ImageNet's, of channels in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# The authors' files have it, for training alone; timm's have not.
MASK = "mask_token"


def dinov2_extractor(architecture: Name, weights: str | None) -> FeatureExtractor:
    """Return what looks with the class token after the final normalisation, as dgm-eval does.

    Raises:
        UserError: timm is not installed, or the weights are missing, damaged, or those of something else.
    """
    _shapes(architecture)  # without timm, nothing is worth being downloaded
    path = find_weights(architecture, weights)
    device = select_device()
    network = load_network(architecture, path).to(device)

    def compute(images: Pixels) -> tuple[Rows, None]:
        with torch.inference_mode():
            features: Tensor = network(preprocess(images).to(device))
        return features.cpu().numpy(), None

    smaller = f"Features are those of DINOv2's {architecture}, and numbers called FD-DINOv2 are of {USUAL}"
    return FeatureExtractor(
        name="dinov2",
        network=f"timm {version('timm')}, {ARCHITECTURES[architecture].timm}, class token",
        weights_sha256=sha256(path),
        preprocessing=(
            f"grey repeated to RGB; uint8; bicubic to {SIDE}x{SIDE} by Pillow (antialiased); mean and deviation of"
            f" ImageNet; position embeddings bicubic from {TRAINED_GRID}x{TRAINED_GRID} (offset {OFFSET}, not"
            " antialiased)"
        ),
        batch_size=50,
        compute=compute,
        notes=() if architecture == USUAL else (smaller,),
    )


def preprocess(images: Pixels) -> Tensor:
    """Turn uint8 (b, H, W, 1 or 3) into the network's input, float32 (b, 3, 224, 224)."""
    rgb = as_rgb(images, "DINOv2")
    resized = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in rgb]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in resized])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels.contiguous().float().div(255) - mean) / std


def interpolate_positions(positions: Tensor) -> Tensor:
    """Resize position embeddings (1, 1 + 37 * 37, d), the class token's first, to the patches of 224x224 pixels."""
    of_class, of_patches = positions[:, :1], positions[:, 1:]
    grid = of_patches.unflatten(1, (TRAINED_GRID, TRAINED_GRID)).permute(0, 3, 1, 2)
    # The factor, and not the size that follows from it, decides where is sampled.
    factor = (SIDE // PATCH + OFFSET) / TRAINED_GRID
    resized = nn.functional.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([of_class, resized.flatten(2).transpose(1, 2)], dim=1)


def find_weights(architecture: Name, configured: str | None) -> Path:
    """Return the configured file, else the one in the Hub's cache, downloaded first if it is not there.

    Raises:
        UserError: there is no such file, or it can't be downloaded; the message says how to get it and where to put it.
    """
    key = "datasets.<name>.extractor.weights"
    if configured is not None:
        if not Path(configured).is_file():
            raise UserError(f"{key}: no file {configured}")
        return Path(configured)
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository = _repository(architecture)
    with suppress(LocalEntryNotFoundError):
        return Path(huggingface_hub.hf_hub_download(repository, FILE, local_files_only=True))
    try:
        return Path(huggingface_hub.hf_hub_download(repository, FILE))
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"no DINOv2 weights: {FILE} of {repository} is not in the Hugging Face cache"
            f" ({huggingface_hub.constants.HF_HUB_CACHE}) and could not be downloaded ({reason}); where there is a"
            f" network, run `hf download {repository} {FILE} --local-dir {architecture}`, copy the file to here, and"
            f" give its path as {key}"
        ) from error


def load_network(architecture: Name, path: Path) -> nn.Module:
    """Return timm's network with the weights of a file: images (b, 3, 224, 224) to features (b, d).

    Raises:
        UserError: timm is not installed, or the file is damaged or holds other weights; the message says which.
    """
    try:
        if told := on_beginning(path):
            raise UserError(f"{path} {told}")
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: not a safetensors file, or damaged ({error}). {_needed(architecture)}; no other is read"
        ) from error
    found.pop(MASK, None)
    _check(found, architecture, path)
    network = _create(architecture)
    network.load_state_dict(found | {"pos_embed": interpolate_positions(found["pos_embed"])}, assign=True)
    return network.eval().requires_grad_(False)


def _check(found: Mapping[str, Tensor], architecture: Name, path: Path) -> None:
    """Raise UserError where a file's weights are not those of an architecture, finite and in float32."""
    expected = _shapes(architecture)
    shapes = {name: value.shape for name, value in found.items()}
    if shapes != expected:
        for other in ARCHITECTURES:
            if other != architecture and shapes == _shapes(other):
                raise UserError(
                    f"{path}: these are the weights of {other}, and not of {architecture}; set"
                    f" datasets.<name>.extractor.architecture: {other}, or name another file"
                )
        differ = {
            "it lacks": [name for name in expected if name not in shapes],
            "unknown are": [name for name in shapes if name not in expected],
            "of another shape are": [
                f"{name} {tuple(shapes[name])}, expected {tuple(expected[name])}"
                for name in expected
                if name in shapes and shapes[name] != expected[name]
            ],
        }
        told = "; ".join(f"{what} {listed(names, 3)}" for what, names in differ.items() if names)
        raise UserError(
            f"{path}: not DINOv2's weights of {architecture} as timm names them: {told}. {_needed(architecture)}"
        )
    if others := sorted({str(value.dtype) for value in found.values() if value.dtype != torch.float32}):
        raise UserError(
            f"{path}: weights in {', '.join(others)}, whose features are not those of the published float32."
            f" {_needed(architecture)}"
        )
    if (name := first_not_finite(found)) is not None:
        raise UserError(f"{path}: {name} has NaN or infinity: the file is damaged. {_needed(architecture)}")


def _repository(architecture: Name) -> str:
    return f"timm/{ARCHITECTURES[architecture].timm}.lvd142m"


def _needed(architecture: Name) -> str:
    return f"What is needed is {FILE} of {_repository(architecture)}"


def _create(architecture: Name) -> nn.Module:
    """Return the network for 224x224 pixels, without memory for its weights."""
    try:
        import timm
    except ImportError as error:
        raise UserError("the extractor 'dinov2' needs one more package: pip install timm") from error
    with torch.device("meta"):
        network: nn.Module = timm.create_model(ARCHITECTURES[architecture].timm, num_classes=0, img_size=SIDE)
    return network


def _shapes(architecture: Name) -> dict[str, torch.Size]:
    """Return the shapes of published weights, by name."""
    shapes = {name: value.shape for name, value in _create(architecture).state_dict().items()}
    positions = torch.Size([1, 1 + TRAINED_GRID**2, shapes["pos_embed"][-1]])
    return shapes | {"pos_embed": positions}
