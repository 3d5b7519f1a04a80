"""A trained model as samplers see it: noise, and Cov[x_0 | x_t] where a covariance was fitted."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from sadpm.artifacts import UserError, write_atomically
from sadpm.config import CovarianceConfig
from sadpm.diffusion.covariance import (
    analytic_covariance,
    average_over_pixels,
    clip_covariance,
    npr_covariance,
    sn_covariance,
)
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.finite import first_not_finite
from sadpm.networks import CovarianceHead, UNet, load_unet


class Predictor:
    """The network with one way to estimate the covariance; called with x_t (B, C, H, W) and the level t."""

    def __init__(
        self,
        unet: UNet,
        schedule: NoiseSchedule,
        config: CovarianceConfig | None = None,
        fitted: Path | None = None,
        *,
        clip: bool = False,
    ) -> None:
        """Read the fitted covariance, unless the variance is fixed.

        Args:
            unet: the frozen network.
            schedule: the forward process that it was trained with.
            config: which covariance; None is a fixed variance.
            fitted: ``analytic.npz``, ``npr.safetensors`` or ``sn.safetensors``.
            clip: clamp the covariance to [0, 1].

        Raises:
            UserError: the file is missing, or belongs to another network.
        """
        self._unet, self._schedule, self._config, self._clip = unet, schedule, config, clip
        self._kind = config.kind if config else "fixed"
        if self._kind == "fixed":
            return
        if fitted is None:
            raise UserError(f"the covariance {self._kind!r} needs its fitted file")
        if self._kind == "analytic":
            self._ms_eps = load_ms_eps(fitted, schedule)
        else:
            self._head = load_head(fitted, unet)

    def __call__(self, x: Tensor, t: int) -> Prediction:
        """Predict at level t, in one forward pass."""
        h, emb = self._unet.features(x, t - 1)
        noise = self._unet.output(h)
        if self._config is None or self._kind == "fixed":
            return Prediction(noise)
        covariance = self._covariance(t, noise, h, emb)
        if self._config.average and covariance.ndim:
            covariance = average_over_pixels(covariance)
        return Prediction(noise, clip_covariance(covariance) if self._clip else covariance)

    def _covariance(self, t: int, noise: Tensor, h: Tensor, emb: Tensor) -> Tensor:
        match self._kind:
            case "analytic":
                return analytic_covariance(self._schedule, t, self._ms_eps)
            case "npr":
                return npr_covariance(self._schedule, t, self._head(h, emb))
        return sn_covariance(self._schedule, t, self._head(h, emb), noise)


def load_network(model: Path, device: torch.device) -> UNet:
    """Read a model's folder; the network is frozen and in evaluation mode.

    Raises:
        UserError: a file is missing or does not fit, or a weight is not finite.
    """
    try:
        unet = load_unet(model)
    except (OSError, ValueError) as error:
        raise UserError(f"{model}: {error}; delete the folder to have the model trained again") from error
    return unet.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def load_ms_eps(path: Path, schedule: NoiseSchedule) -> Tensor:
    """Read Analytic-DPM's estimate, (N + 1,) float64.

    Raises:
        UserError: the file can't be read, is for another number of levels, or does not know one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            ms_eps = torch.from_numpy(archive["ms_eps"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: not an estimate of ms_eps ({error}); delete it to have it fitted again") from error
    if len(ms_eps) != len(schedule.betas):
        raise UserError(f"{path}: for {len(ms_eps) - 1} noise levels, and the schedule has {len(schedule.betas) - 1}")
    if unknown := (~ms_eps.isfinite()).nonzero().flatten().tolist():
        raise UserError(
            f"{path}: nothing is known of {len(unknown)} noise levels, first {unknown[0]}: no image was seen there, or"
            " one that is not finite; heads.steps times heads.batch_size must be at least the number of levels,"
            f" {len(ms_eps) - 1}"
        )
    return ms_eps


def new_head(unet: UNet, kind: str) -> CovarianceHead:
    """Return an initialised head that fits a network's last feature map."""
    arguments = (unet.block_out_channels[0], unet.in_channels, unet.time_embed_dim, unet.norm_num_groups)
    return CovarianceHead(*arguments, "complex" if kind == "complex" else "simple", norm_eps=unet.norm_eps)


def save_head(head: CovarianceHead, path: Path) -> None:
    """Write a head's weights as safetensors."""
    from safetensors.torch import save

    kind = "simple" if head.resnet is None else "complex"
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    content = save(weights, metadata={"kind": kind})
    write_atomically(path, lambda file: file.write(content))


def load_head(path: Path, unet: UNet) -> CovarianceHead:
    """Read a head of :func:`save_head` for this network.

    Raises:
        UserError: the file can't be read, belongs to another network, or holds a weight that is not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            kind = (file.metadata() or {})["kind"]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        head = new_head(unet, kind)
        head.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: not a head of this model ({error}); delete it to have it fitted again") from error
    if (name := first_not_finite(weights)) is not None:
        raise UserError(f"{path}: {name} holds values that are not finite; delete it to have it fitted again")
    weight = unet.conv_out.weight
    return head.to(weight.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
