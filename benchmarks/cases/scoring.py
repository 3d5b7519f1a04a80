"""From images to a Frechet distance, and the distance itself, beside what others compute."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import nn

from paired.rounds import Side
from paired.running import Case
from sadpm.extractors.looking.features import FeatureExtractor, Pixels, Rows, measure
from sadpm.metrics.features import FloatArray
from sadpm.metrics.frechet import frechet_distance

FEATURES = 2048
IMAGES = 500
NARROW = 16
"""Features of the network that stands for Inception, whose weights are not needed to see what surrounds it."""

OURS, PYTORCH_FID, FIDELITY, METRICS = "sadpm", "pytorch-fid", "torch-fidelity", "torchmetrics"

Gaussians = tuple[FloatArray, FloatArray, FloatArray, FloatArray]
Distance = Callable[..., object]


def cases(device: torch.device, features: int = FEATURES, images: int = IMAGES) -> Iterator[Case]:
    """Yield the way from images to the distance, and the distance of Gaussians of so many features."""
    distances, absent = peers()
    reason = {PYTORCH_FID: absent[PYTORCH_FID]} if PYTORCH_FID in absent else {}
    yield Case(
        "scoring",
        f"from {images} uint8 images of 32x32 to their Fréchet distance, by a small network",
        partial(_ways, device, images),
        absent=reason,
    )
    yield Case(
        "distance",
        f"Fréchet distance of Gaussians in {features} dimensions",
        partial(_distances, distances, features),
        absent=absent,
    )


def peers() -> tuple[dict[str, Distance], dict[str, str]]:
    """Return how others compute the distance (means and covariances as numpy has them), and who can't be asked."""
    known: dict[str, Callable[[], Distance]] = {
        PYTORCH_FID: _pytorch_fid, FIDELITY: _torch_fidelity, METRICS: _torchmetrics
    }  # fmt: skip
    found, absent = {}, {}
    for name, peer in known.items():
        if find_spec(name.replace("-", "_")) is None:
            absent[name] = "not installed"
            continue
        try:
            distance = peer()
            distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(2))
        except (ImportError, TypeError) as error:
            absent[name] = f"does not run with what is installed ({error})"
        else:
            found[name] = distance
    return found, absent


def _pytorch_fid() -> Distance:
    from pytorch_fid.fid_score import calculate_frechet_distance

    return calculate_frechet_distance


def _torch_fidelity() -> Distance:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    def distance(*gaussians: FloatArray) -> object:
        first, second = ({"mu": mean, "sigma": covariance} for mean, covariance in (gaussians[:2], gaussians[2:]))
        return fid_statistics_to_metric(first, second, False)

    return distance


def _torchmetrics() -> Distance:
    from torchmetrics.image.fid import _compute_fid

    return lambda *gaussians: _compute_fid(*map(torch.from_numpy, gaussians))


def gaussians_of(features: int) -> Gaussians:
    """Return two Gaussians with eigenvalues over some orders, as features have them."""
    rng = np.random.default_rng(0)
    scales = np.geomspace(1, 1e-3, features)
    covariances = []
    for _ in range(2):
        rows = rng.standard_normal((2 * features, features)) * scales
        covariances.append(np.cov(rows, rowvar=False))
    return rng.standard_normal(features), covariances[0], rng.standard_normal(features), covariances[1]


@contextmanager
def _distances(distances: dict[str, Distance], features: int, _: int) -> Iterator[list[Side]]:
    gaussians = gaussians_of(features)
    everyone = {OURS: frechet_distance, **distances}
    yield [Side(name, partial(distance, *gaussians)) for name, distance in everyone.items()]


class Narrow(nn.Module):
    """Stands for pytorch-fid's network, and answers in its form."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(3, NARROW, 3, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return features (b, d, 1, 1) of images (b, 3, H, W) in [0, 1]."""
        return [self.layers(2 * images - 1)]


@contextmanager
def _ways(device: torch.device, images: int, _: int) -> Iterator[list[Side]]:
    rng = np.random.default_rng(0)
    sampled, real = (rng.integers(0, high, (images, 32, 32, 3)).astype(np.uint8) for high in (256, 200))
    network = Narrow().to(device).eval()
    ours = looking(network, device)
    reference = gaussian_of(real, ours)
    sides = [Side(OURS, lambda: frechet_distance(*gaussian_of(sampled, ours), *reference))]
    with TemporaryDirectory() as folder:
        if PYTORCH_FID in peers()[0]:
            usual = partial(score_of_files, sampled, Path(folder), network, device, reference)
            sides.append(Side(PYTORCH_FID, usual))
        yield sides


def gaussian_of(images: Pixels, extractor: FeatureExtractor) -> tuple[FloatArray, FloatArray]:
    """Return mean and covariance of the features of images (n, H, W, C)."""
    with redirect_stderr(io.StringIO()):
        statistics = measure(images, extractor, ("fd",)).statistics
    assert statistics is not None
    return statistics.mean, statistics.covariance


def looking(network: Narrow, device: torch.device) -> FeatureExtractor:
    """Return the network as the stage `score` is given one."""

    def compute(images: Pixels) -> tuple[Rows, None]:
        with torch.inference_mode():
            (features,) = network(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div(255))
        return features.flatten(1).cpu().numpy(), None

    return FeatureExtractor("narrow", "one convolution", "", "uint8 / 255", 50, compute)


def score_of_files(
    images: Pixels, folder: Path, network: Narrow, device: torch.device, reference: tuple[FloatArray, FloatArray]
) -> float:
    """Write PNG files, and have pytorch-fid read and compare them, with as many workers as its command starts."""
    from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path

    for place, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{place:05d}.png")
    workers = min(os.cpu_count() or 1, 8)
    with redirect_stderr(io.StringIO()):  # a bar
        mean, covariance = compute_statistics_of_path(str(folder), network, 50, NARROW, device, workers)
    return float(calculate_frechet_distance(mean, covariance, *reference))
