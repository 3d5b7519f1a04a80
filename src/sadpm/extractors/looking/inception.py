"""Inception-v3 as the two packages use it: pytorch-fid's for FID, torch-fidelity's for IS, KID, precision and recall.

The networks, their resizing and their weights are the packages' own. torchvision and the two packages take seconds to
import, and are imported where they are used.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from sadpm.extractors.inception import FEATURES
from sadpm.extractors.looking.features import FeatureExtractor, Pixels, Rows, as_rgb
from sadpm.running.device import select_device
from sadpm.running.files import UserError, sha256

PYTORCH_FID_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


@dataclass(frozen=True)
class WeightsFile:
    """Where a package publishes its weights.

    Attributes:
        key: the configuration's name for the file, below ``datasets.<name>.extractor``.
        url: the package's own address of it; the cache has it under the same file name.
        sha256: of the published file, "" where it is not known.
    """

    key: str
    url: str
    sha256: str


def pytorch_fid_extractor(weights: str | None) -> FeatureExtractor:
    """Return pytorch-fid's InceptionV3, whose 2048 features are those that its command computes from PNG files."""
    from pytorch_fid import inception  # type: ignore[import-untyped]

    path = find_weights(WeightsFile("fid_weights", inception.FID_WEIGHTS_URL, PYTORCH_FID_SHA256), weights)
    block = inception.InceptionV3.BLOCK_INDEX_BY_DIM[FEATURES]
    device = select_device()
    network = _build(path, inception, lambda: inception.InceptionV3([block])).to(device).eval()

    def compute(images: Pixels) -> tuple[Rows, None]:
        with torch.inference_mode():
            (features,) = network(_channels_first(images).to(device).float().div(255))
        return features.flatten(1).cpu().numpy(), None

    digest = sha256(path)
    unusual = f"Inception weights are not the file that pytorch-fid publishes but one with sha256 {digest[:8]}…"
    return FeatureExtractor(
        name="inception",
        network=f"pytorch-fid {version('pytorch-fid')}, InceptionV3, final pooling ({FEATURES})",
        weights_sha256=digest,
        preprocessing="grey repeated to RGB; uint8 / 255; bilinear to 299x299 by pytorch-fid (align_corners=False)",
        batch_size=50,
        compute=compute,
        notes=() if digest == PYTORCH_FID_SHA256 else (unusual,),
    )


def torch_fidelity_extractor(weights: str | None) -> FeatureExtractor:
    """Return torch-fidelity's ``inception-v3-compat``: features "2048" and the logits "logits_unbiased"."""
    from torch_fidelity import feature_extractor_inceptionv3 as inception  # type: ignore[import-untyped]

    path = find_weights(WeightsFile("is_weights", inception.URL_INCEPTION_V3, ""), weights)
    layers, device = ["2048", "logits_unbiased"], select_device()
    network = _build(path, inception, lambda: inception.FeatureExtractorInceptionV3("inception-v3-compat", layers))
    network = network.to(device).eval()

    def compute(images: Pixels) -> tuple[Rows, Rows]:
        with torch.inference_mode():
            features, logits = network(_channels_first(images).to(device))
        return features.cpu().numpy(), logits.cpu().numpy()

    return FeatureExtractor(
        name="inception",
        network=f"torch-fidelity {version('torch-fidelity')}, inception-v3-compat, {' and '.join(layers)}",
        weights_sha256=sha256(path),
        preprocessing="grey repeated to RGB; uint8; bilinear to 299x299 by torch-fidelity (as in TensorFlow 1)",
        batch_size=64,
        compute=compute,
    )


def find_weights(published: WeightsFile, configured: str | None) -> Path:
    """Return the configured file, else the one in torch's cache, downloaded first if it is not there.

    Raises:
        UserError: there is no such file, or it can't be downloaded; the message says where to put it.
    """
    key = f"datasets.<name>.extractor.{published.key}"
    if configured is not None:
        if not Path(configured).is_file():
            raise UserError(f"{key}: no file {configured}")
        return Path(configured)
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(published.url, str(path), published.sha256 or None, progress=False)
        except (OSError, RuntimeError, HTTPException) as error:
            digest = f" (sha256 {published.sha256})" if published.sha256 else ""
            raise UserError(
                f"no Inception weights: {path.name}{digest} is not in {path.parent} and could not be downloaded from "
                f"{published.url} ({error}); put the file there, or give its path as {key}"
            ) from error
    return path


def _build(path: Path, package: ModuleType, create: Callable[[], nn.Module]) -> nn.Module:
    """Let a package create its network from a file that is read without running pickle."""
    try:
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        # Both packages load with weights_only=False, and pytorch-fid takes no path: hand them what was read safely.
        with patch.object(package, "load_state_dict_from_url", lambda *_, **__: state):
            return create()
    except (OSError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path}: not the Inception weights of {package.__name__.split('.')[0]} ({reason})") from error


def _channels_first(images: Pixels) -> torch.Tensor:
    """Turn (b, H, W, 1 or 3) into contiguous (b, 3, H, W), as both packages make of an image file."""
    rgb = as_rgb(images, "Inception")
    return torch.from_numpy(np.array(np.moveaxis(rgb, -1, 1), order="C"))
