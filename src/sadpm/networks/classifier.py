"""A small classifier whose features and logits stand in for Inception's, a network made for 299x299 photographs."""

from __future__ import annotations

import json
from copy import deepcopy
from os import PathLike
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 64


class DigitsClassifier(nn.Module):
    """Two convolutions, pooling to 4x4, two linear layers; for images (B, channels, H, W) in [-1, 1]."""

    def __init__(self, channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.architecture = {"channels": channels, "num_classes": num_classes}
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=3, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, FEATURES),
            nn.SiLU(),
        )
        self.classify = nn.Linear(FEATURES, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations, (B, 64)."""
        return cast(Tensor, self.trunk(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 64) and logits (B, num_classes)."""
        features = self.features(x)
        return features, self.classify(features)


def train_classifier(
    images_uint8_nhwc: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    num_classes: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> tuple[DigitsClassifier, float]:
    """Train with AdamW on four fifths of every class; the other fifth only measures accuracy.

    Images are uint8 (n, H, W, C), labels integers (n,) in [0, num_classes). The seed decides initial weights, split
    and batches (drawn with replacement); on a CPU the same seed gives the same weights.

    Returns the model in evaluation mode and its accuracy in [0, 1]. Raises ValueError for a wrong shape, dtype or
    label, and where no class has the five images that a split needs.
    """
    _check_images(images_uint8_nhwc)
    if labels.shape != images_uint8_nhwc.shape[:1] or not set(np.unique(labels)) <= set(range(num_classes)):
        raise ValueError(f"labels must be {len(images_uint8_nhwc)} integers in [0, {num_classes})")
    targets = torch.from_numpy(labels.astype(np.int64))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        model = DigitsClassifier(images_uint8_nhwc.shape[-1], num_classes)
    kept, held_out = _stratified_split(targets, num_classes, generator)
    images = _to_model_range(images_uint8_nhwc)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    for _ in range(steps):
        batch = kept[torch.randint(len(kept), (batch_size,), generator=generator)]
        loss = F.cross_entropy(model(images[batch])[1], targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _, logits = extract(model, images_uint8_nhwc[held_out.numpy()])
    return model.eval(), float((logits.argmax(axis=1) == targets[held_out].numpy()).mean())


def extract(
    model: DigitsClassifier, images_uint8_nhwc: NDArray[np.uint8], batch_size: int = 250
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features (n, 64) and logits (n, num_classes) of uint8 images (n, H, W, C), in order; ValueError for others.

    Runs on the model's device in float64: in float32 the last digits would depend on the batch size.
    """
    _check_images(images_uint8_nhwc)
    model = deepcopy(model).double().eval()
    features = np.empty((len(images_uint8_nhwc), FEATURES))
    logits = np.empty((len(images_uint8_nhwc), model.architecture["num_classes"]))
    with torch.inference_mode():
        for start in range(0, len(images_uint8_nhwc), batch_size):
            part = slice(start, start + batch_size)
            outputs = model(_to_model_range(images_uint8_nhwc[part]).to(model.classify.weight))
            features[part], logits[part] = (output.cpu().numpy() for output in outputs)
    return features, logits


def save_classifier(model: DigitsClassifier, path: str | PathLike[str]) -> None:
    """Write the weights as safetensors, the architecture as JSON in its metadata; equal models give equal bytes."""
    save_file(model.state_dict(), path, metadata={"architecture": json.dumps(model.architecture, sort_keys=True)})


def load_classifier(path: str | PathLike[str]) -> DigitsClassifier:
    """Read what `save_classifier` wrote, on the CPU in evaluation mode. ValueError for another model's file."""
    with safe_open(path, framework="pt") as file:
        architecture = (file.metadata() or {}).get("architecture")
        if architecture is None:
            raise ValueError(f"{path}: not written by save_classifier, its metadata has no architecture")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    model = DigitsClassifier(**json.loads(architecture))
    model.load_state_dict(weights)
    return model.eval()


def _check_images(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (n, H, W, C), not {images.dtype} of shape {images.shape}")


def _to_model_range(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1.0


def _stratified_split(targets: Tensor, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices to train on and to hold out; of every class a random fifth, rounded down, is held out."""
    shuffled = torch.randperm(len(targets), generator=generator)
    classes = [shuffled[targets[shuffled] == label] for label in range(num_classes)]
    if max(map(len, classes)) < 5:
        raise ValueError("no class has the 5 images that holding out a fifth needs")
    kept = torch.cat([members[len(members) // 5 :] for members in classes])
    return kept, torch.cat([members[: len(members) // 5] for members in classes])
