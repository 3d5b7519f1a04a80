"""A trained model as samplers see it: noise, and Cov[x_0 | x_t] where a covariance was fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sadpm.diffusion.covariance import average_over_pixels, clip_covariance
from sadpm.diffusion.samplers import Prediction
from sadpm.networks.execution import allow_tf32
from sadpm.networks.memory import See
from sadpm.networks.unet import UNet, load_unet
from sadpm.running.files import UserError, write_atomically
from sadpm.running.finite import first_not_finite


@dataclass(frozen=True)
class Seen:
    """A batch of noisy images, and what a frozen network makes of them.

    Attributes:
        x: (B, C, H, W), x_n.
        n: the levels 1..N, (B,), or one number for all images.
        noise: (B, C, H, W), the prediction f(x_n, n), in a chain divided as its sampler asks for.
        h: the network's last feature map, (B, channels, H, W).
        emb: its embedding of the level.
        hessian: (B, C, H, W), an unbiased estimate of (1 - abar_n) times the diagonal of the Hessian of log q(x_n), by
            the score that ``noise`` means; None where no covariance in fitting needs it.
    """

    x: Tensor
    n: Tensor | int
    noise: Tensor
    h: Tensor
    emb: Tensor
    hessian: Tensor | None = None


Covariances = Callable[[Seen], Tensor]
"""From a batch to Cov[x_0 | x_n] per pixel, (B, C, H, W), or of any shape that broadcasts to it."""


class Predictor:
    """The network with one way to estimate the covariance; called with x_t (B, C, H, W) and the level t."""

    def __init__(
        self,
        unet: UNet,
        covariances: Covariances | None = None,
        *,
        average: bool = False,
        clip: bool = False,
        divisors: Mapping[int, float] | None = None,
        see: See | None = None,
    ) -> None:
        """Join them.

        Args:
            unet: the frozen network.
            covariances: None stands for a fixed variance.
            average: one value an image in place of one a pixel.
            clip: clamp the covariance to [0, 1].
            divisors: by level, what the predicted noise is divided by, also where a covariance is made of it.
            see: how the network is run; None for as it is.
        """
        self._see = unet.see if see is None else see
        self._covariances, self._average, self._clip = covariances, average, clip
        self._divisors = divisors or {}

    def __call__(self, x: Tensor, t: int) -> Prediction:
        """Predict at level t, in one forward pass; UserError for a covariance of a shape that does not fit."""
        # A tensor, so that what is compiled or recorded for one level serves all.
        noise, h, emb = self._see(x, torch.full((1,), float(t - 1), device=x.device))
        if (divisor := self._divisors.get(t, 1.0)) != 1:
            noise = noise / divisor
        if self._covariances is None:
            return Prediction(noise)
        covariance = self._covariances(Seen(x, t, noise, h, emb))
        if not _broadcasts(covariance, x):
            raise UserError(f"a covariance of shape {tuple(covariance.shape)} does not fit images {tuple(x.shape)}")
        if self._average and covariance.ndim:
            covariance = average_over_pixels(covariance)
        return Prediction(noise, clip_covariance(covariance) if self._clip else covariance)


def _broadcasts(tensor: Tensor, images: Tensor) -> bool:
    pairs = zip(reversed(tensor.shape), reversed(images.shape), strict=False)
    return tensor.ndim <= images.ndim and all(length in (1, whole) for length, whole in pairs)


def load_network(model: Path, device: torch.device) -> UNet:
    """Read a model's folder; the network is frozen and in evaluation mode, and float32 means float32 from then on.

    Raises:
        UserError: a file is missing or does not fit, or a weight is not finite.
    """
    try:
        unet = load_unet(model)
    except (OSError, ValueError) as error:
        raise UserError(f"{model}: {error}; delete the folder to have the model trained again") from error
    if (name := first_not_finite(unet.state_dict())) is not None:
        raise UserError(f"{model}: {name} holds values that are not finite; delete it to have it trained again")
    allow_tf32(device, False)
    return unet.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def write_fitted(path: Path, fitted: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write what the estimates of several covariances left, by name, as one file of safetensors."""
    from safetensors.torch import save

    content = save({f"{name}/{key}": tensor for name, part in fitted.items() for key, tensor in part.items()})
    write_atomically(path, lambda file: file.write(content))


def read_fitted(path: Path, name: str) -> dict[str, Tensor]:
    """Read what the estimate of one covariance left, into memory of its own.

    Raises:
        UserError: the file can't be read, or has nothing of this covariance.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if key.startswith(f"{name}/")]  # noqa: SIM118 (not a mapping)
            tensors = {key.removeprefix(f"{name}/"): file.get_tensor(key).clone() for key in keys}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: can't be read ({error}); delete it to have it fitted again") from error
    if not tensors:
        raise UserError(f"{path}: nothing of the covariance {name!r} in it; delete it to have it fitted again")
    return tensors
