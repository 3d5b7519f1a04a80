"""The noise-prediction U-Net of DDPM (Ho et al. 2020, appendix B) with the feature map that heads look at.

Modules and parameters carry the names of diffusers' `UNet2DModel`, so that a folder written by `save_unet` opens there
and a folder written there opens here. All weights start from torch's defaults, as in diffusers. Images are
(B, C, H, W) throughout; every module takes the contiguous and the channels_last memory format and keeps it.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sadpm.networks import diffusers_folder


def sinusoidal_embedding(t: Tensor, channels: int, freq_shift: float, flip_sin_to_cos: bool) -> Tensor:
    """Sines and cosines of the times `t` (B,) at `channels / 2` frequencies from 1 down to 1/10000: (B, channels).

    Computed in float32 whatever the dtype of the network, as the official programs do (Ho et al. 2020, appendix B).
    """
    half = channels // 2
    spacing = math.log(10000) / (half - freq_shift)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * -spacing)
    angles = t.to(torch.float32)[:, None] * frequencies
    sine, cosine = angles.sin(), angles.cos()
    return torch.cat([cosine, sine] if flip_sin_to_cos else [sine, cosine], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after GroupNorm and SiLU, with the time embedding added in between."""

    def __init__(
        self, in_channels: int, out_channels: int, time_embed_dim: int, groups: int, eps: float, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_embed_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """Map h (B, in_channels, H, W) and emb (B or 1, time_embed_dim) to (B, out_channels, H, W)."""
        shortcut = h if self.conv_shortcut is None else self.conv_shortcut(h)
        h = self.conv1(F.silu(self.norm1(h)))
        h = h + self.time_emb_proj(F.silu(emb))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        out: Tensor = shortcut + h
        return out


class SelfAttention(nn.Module):
    """Single-head self-attention over the pixels, with a residual connection; (B, C, H, W) to the same."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, h: Tensor) -> Tensor:
        """Let every pixel attend to every pixel of the same image."""
        pixels = self.group_norm(h).flatten(2).transpose(1, 2)[:, None]  # (B, 1 head, H*W, C)
        mixed = F.scaled_dot_product_attention(self.to_q(pixels), self.to_k(pixels), self.to_v(pixels))
        out: Tensor = self.to_out[0](mixed[:, 0])
        return h + out.transpose(1, 2).reshape(h.shape)


class Level(nn.Module):
    """The layers of one resolution: residual blocks, of which the first ones have an attention each."""

    def __init__(self, resnets: Sequence[ResidualBlock], attentions: Sequence[SelfAttention]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList()
        self.upsamplers = nn.ModuleList()

    def forward(self, index: int, h: Tensor, emb: Tensor, again: bool = False) -> Tensor:
        """Apply residual block `index` and its attention, if any; `again`: the backward pass computes it once more."""
        if again and torch.is_grad_enabled():
            dropout = cast(ResidualBlock, self.resnets[index]).dropout.p
            out: Tensor = checkpoint(self.forward, index, h, emb, use_reentrant=False, preserve_rng_state=dropout > 0)
            return out
        h = self.resnets[index](h, emb)
        return self.attentions[index](h) if index < len(self.attentions) else h


def downsampler(channels: int, padding: int) -> nn.Sequential:
    """(B, C, H, W) -> (B, C, H/2, W/2) by a 3x3 convolution of stride 2; without padding, pad right and below only."""
    pad = nn.ZeroPad2d((0, 1, 0, 1)) if padding == 0 else nn.Identity()
    return nn.Sequential(OrderedDict(pad=pad, conv=nn.Conv2d(channels, channels, 3, stride=2, padding=padding)))


def upsampler(channels: int) -> nn.Sequential:
    """(B, C, H, W) -> (B, C, 2H, 2W) by repeating pixels, then a 3x3 convolution."""
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Sequential(OrderedDict(repeat=nn.Upsample(scale_factor=2, mode="nearest"), conv=conv))


class UNet(nn.Module):
    """Noise prediction eps(x, t) of the official DDPM and SA-DPM programs (Ho et al. 2020, appendix B).

    `sample_size` is the edge length of the square images, `attention_resolutions` the edge lengths in pixels at which
    attention follows each residual block (it always does at the lowest point). The last four options have the values
    of the official programs; networks released by others may differ in them.

    `checkpointing`, which changes no number, has the backward pass compute again what residual blocks computed in the
    forward pass, in place of keeping it in memory.
    """

    checkpointing = False

    def __init__(
        self,
        *,
        sample_size: int,
        in_channels: int = 3,
        block_out_channels: Sequence[int],
        layers_per_block: int = 2,
        attention_resolutions: Sequence[int] = (),
        dropout: float = 0.0,
        norm_num_groups: int = 32,
        freq_shift: float = 1,
        flip_sin_to_cos: bool = False,
        downsample_padding: int = 0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.sample_size, self.in_channels = sample_size, in_channels
        self.block_out_channels, self.layers_per_block = tuple(block_out_channels), layers_per_block
        self.dropout, self.norm_num_groups, self.norm_eps = dropout, norm_num_groups, norm_eps
        self.freq_shift, self.flip_sin_to_cos, self.downsample_padding = freq_shift, flip_sin_to_cos, downsample_padding
        if downsample_padding not in (0, 1):
            raise ValueError(f"downsample_padding: {downsample_padding!r} is neither 0 nor 1")
        if block_out_channels[0] % 2 or block_out_channels[0] < 4:
            raise ValueError(f"block_out_channels: {block_out_channels[0]} is not an even number of at least 4")
        resolutions = level_resolutions(sample_size, len(self.block_out_channels))
        if strangers := set(attention_resolutions) - set(resolutions):
            raise ValueError(f"attention_resolutions: {sorted(strangers)} not among the resolutions {resolutions}")
        self.has_attention = [resolution in attention_resolutions for resolution in resolutions]

        levels = list(zip(self.block_out_channels, self.has_attention, strict=True))
        width = self.block_out_channels[0]
        self.time_embed_dim = hidden = 4 * width
        residual = partial(ResidualBlock, time_embed_dim=hidden, groups=norm_num_groups, eps=norm_eps, dropout=dropout)
        attention = partial(SelfAttention, groups=norm_num_groups, eps=norm_eps)
        perceptron = OrderedDict(linear_1=nn.Linear(width, hidden), act=nn.SiLU(), linear_2=nn.Linear(hidden, hidden))
        self.time_embedding = nn.Sequential(perceptron)
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        skip_widths = [width]
        for index, (channels, attends) in enumerate(levels):
            inputs = [width] + [channels] * (layers_per_block - 1)
            resnets = [residual(size, channels) for size in inputs]
            level = Level(resnets, [attention(channels) for _ in resnets if attends])
            skip_widths += [channels] * layers_per_block
            if index < len(levels) - 1:
                level.downsamplers.append(downsampler(channels, downsample_padding))
                skip_widths.append(channels)
            self.down_blocks.append(level)
            width = channels
        self.mid_block = Level([residual(width, width), residual(width, width)], [attention(width)])
        self.up_blocks = nn.ModuleList()
        for index, (channels, attends) in reversed(list(enumerate(levels))):
            inputs = [size + skip_widths.pop() for size in [width] + [channels] * layers_per_block]
            resnets = [residual(size, channels) for size in inputs]
            level = Level(resnets, [attention(channels) for _ in resnets if attends])
            if index > 0:
                level.upsamplers.append(upsampler(channels))
            self.up_blocks.append(level)
            width = channels
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, width, eps=norm_eps)
        self.conv_out = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Predict the noise in x (B, C, H, W) at network time t = n - 1, (B,) or one number for all: (B, C, H, W)."""
        return self.output(self.features(x, t)[0])

    def see(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the predicted noise, and the feature map and time embedding that it comes from."""
        h, emb = self.features(x, t)
        return self.output(h), h, emb

    def features(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return the last feature map (B, width, H, W) and the time embedding (B or 1, 4 * width) before its SiLU."""
        emb, again = self._embed_time(t, x.device), self.checkpointing
        h = self.conv_in(x)
        skips = [h]
        for level in cast(Sequence[Level], self.down_blocks):
            for index in range(self.layers_per_block):
                skips.append(level(index, skips[-1], emb, again))
            for downsample in level.downsamplers:
                skips.append(downsample(skips[-1]))
        h = self.mid_block(0, skips[-1], emb, again)
        h = self.mid_block(1, h, emb, again)
        for level in cast(Sequence[Level], self.up_blocks):
            for index in range(self.layers_per_block + 1):
                h = level(index, torch.cat([h, skips.pop()], dim=1), emb, again)
            for upsample in level.upsamplers:
                h = upsample(h)
        return h, emb

    def output(self, h: Tensor) -> Tensor:
        """Turn the last feature map into the predicted noise."""
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(h)))
        return out

    def _embed_time(self, t: Tensor | float, device: torch.device) -> Tensor:
        """One row per element of t; a single row then serves the whole batch by broadcasting."""
        if not isinstance(t, Tensor):
            t = torch.full((1,), float(t), device=device)
        width = self.block_out_channels[0]
        sinusoid = sinusoidal_embedding(t.reshape(-1).to(device), width, self.freq_shift, self.flip_sin_to_cos)
        embedding: Tensor = self.time_embedding(sinusoid.to(self.conv_in.weight.dtype))
        return embedding

    @classmethod
    def for_images(cls, shape: Sequence[int], **options: Any) -> "UNet":
        """Build the network for images of this shape (n, H, W, C); ValueError tells what does not fit."""
        _, height, width, channels = shape
        if height != width:
            raise ValueError(f"images must be square, not {height}x{width}")
        return cls(sample_size=height, in_channels=channels, **options)

    @property
    def config(self) -> dict[str, Any]:
        """The options as diffusers writes them into config.json."""
        return {
            **diffusers_folder.WRITTEN_OPTIONS,
            **{name: getattr(self, name) for name in diffusers_folder.NUMERIC_OPTIONS},
            "out_channels": self.in_channels,
            "block_out_channels": list(self.block_out_channels),
            "down_block_types": ["AttnDownBlock2D" if attends else "DownBlock2D" for attends in self.has_attention],
            "up_block_types": ["AttnUpBlock2D" if attends else "UpBlock2D" for attends in self.has_attention[::-1]],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "UNet":
        """Build the network that a diffusers config.json describes; ValueError names what this class does not do."""
        options = diffusers_folder.complete_options(config)
        resolutions = level_resolutions(options["sample_size"], len(options["block_out_channels"]))
        kinds = zip(resolutions, options["down_block_types"], strict=False)
        unet = cls(
            block_out_channels=options["block_out_channels"],
            attention_resolutions=[resolution for resolution, kind in kinds if kind == "AttnDownBlock2D"],
            **{name: options[name] for name in diffusers_folder.NUMERIC_OPTIONS},
        )
        diffusers_folder.check_options(options, unet.config)
        return unet


def level_resolutions(sample_size: int, levels: int) -> list[int]:
    """Edge lengths of the feature maps: sample_size, sample_size / 2, ..., one for each of the levels."""
    if not isinstance(sample_size, int) or sample_size < 1 or sample_size % 2 ** (levels - 1):
        raise ValueError(f"sample_size: {sample_size!r} cannot be halved {levels - 1} times")
    return [sample_size >> level for level in range(levels)]


def save_unet(unet: UNet, folder: Path | str) -> None:
    """Write the folder that `load_unet` and diffusers' `UNet2DModel.from_pretrained` open."""
    diffusers_folder.write_folder(Path(folder), unet.config, unet.state_dict())


def load_unet(folder: Path | str) -> UNet:
    """Read a folder of `save_unet` or diffusers: float32, CPU, dropout off; ValueError tells what does not fit."""
    config, state = diffusers_folder.read_folder(Path(folder))
    try:
        with torch.device("meta"):  # no memory and no random numbers spent on weights that are replaced
            unet = UNet.from_config(config)
        diffusers_folder.check_parameters(unet.state_dict(), state)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    # Copied, not assigned: a tensor within a mapped file lies at any address, and on that depends how a CPU rounds.
    unet = unet.to_empty(device="cpu")
    unet.load_state_dict(state)
    return unet.eval()
