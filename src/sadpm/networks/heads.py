"""Heads that predict a number per pixel from the last feature map of the U-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sadpm.networks.diffusers_folder import check_parameters
from sadpm.networks.unet import ResidualBlock, UNet
from sadpm.running.finite import first_not_finite


class CovarianceHead(nn.Module):
    """Second output on the frozen U-Net's last feature map, as in NPR- and SN-DPM (Bao et al. 2022, arXiv:2206.07309).

    "simple" is GroupNorm, SiLU and a 3x3 convolution; "complex" has a residual block before them.
    """

    def __init__(
        self,
        unet_channels: int,
        out_channels: int,
        time_embed_dim: int,
        norm_num_groups: int,
        kind: Literal["simple", "complex"],
        *,
        norm_eps: float = 1e-6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kind not in ("simple", "complex"):
            raise ValueError(f"kind: {kind!r} is neither 'simple' nor 'complex'")
        block = (unet_channels, unet_channels, time_embed_dim, norm_num_groups, norm_eps, dropout)
        self.resnet = ResidualBlock(*block) if kind == "complex" else None
        self.norm = nn.GroupNorm(norm_num_groups, unet_channels, eps=norm_eps)
        self.conv = nn.Conv2d(unet_channels, out_channels, 3, padding=1)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """Map the two results of `UNet.features` to (B, out_channels, H, W), of either sign."""
        if self.resnet is not None:
            h = self.resnet(h, emb)
        out: Tensor = self.conv(F.silu(self.norm(h)))
        return out


def new_head(unet: UNet, kind: str) -> CovarianceHead:
    """Return an initialised head that fits a network's last feature map."""
    arguments = (unet.block_out_channels[0], unet.in_channels, unet.time_embed_dim, unet.norm_num_groups)
    return CovarianceHead(*arguments, "complex" if kind == "complex" else "simple", norm_eps=unet.norm_eps)


def load_head(weights: Mapping[str, Tensor], unet: UNet) -> CovarianceHead:
    """Return a frozen head of this network with these weights, on the network's device.

    Raises:
        ValueError: they are those of a head of another network, or one is not finite.
    """
    head = new_head(unet, "complex" if any(name.startswith("resnet.") for name in weights) else "simple")
    check_parameters(head.state_dict(), weights)
    if (name := first_not_finite(weights)) is not None:
        raise ValueError(f"{name} holds values that are not finite")
    head.load_state_dict(weights)
    return head.to(unet.conv_out.weight.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
