"""Floating-point operations and parameters of the networks, counted from their configuration without building them.

A multiply-add counts as two operations. Convolutions, linear layers and the two products of attention count;
normalisation, activations and additions don't, as in `torch.utils.flop_counter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Literal, NamedTuple

from sadpm.config.datasets import NetworkConfig


class Layer(NamedTuple):
    """What one layer costs.

    Attributes:
        flops: operations of one image's forward pass.
        parameters: trained numbers.
    """

    flops: int
    parameters: int


def unet_flops(network: NetworkConfig, size: int, channels: int) -> int:
    """Return the operations of one image's forward pass through `networks.UNet`.

    Args:
        network: the architecture.
        size: edge length of the square images in pixels.
        channels: of the images.

    Raises:
        ValueError: the images can't be halved once between each level and the next, or never have a size at which the
            network is to attend.
    """
    return sum(layer.flops for layer in unet_layers(network, size, channels))


def unet_parameters(network: NetworkConfig, size: int, channels: int) -> int:
    """Return how many parameters `networks.UNet` has; arguments and errors as of :func:`unet_flops`."""
    return sum(layer.parameters for layer in unet_layers(network, size, channels))


def head_cost(network: NetworkConfig, size: int, channels: int, kind: Literal["simple", "complex"]) -> Layer:
    """Return the operations of one image and the parameters of one `networks.CovarianceHead` (NPR, SN, OCM)."""
    width = network.block_out_channels[0]
    layers = [_norm(width), _conv(width, channels, 3, size)]
    if kind == "complex":
        layers += _residual_block(width, width, 4 * width, size)
    return Layer(sum(layer.flops for layer in layers), sum(layer.parameters for layer in layers))


def unet_layers(network: NetworkConfig, size: int, channels: int) -> Iterator[Layer]:
    """Walk the architecture as `networks.UNet` does; arguments and errors as of :func:`unet_flops`."""
    network.check_size(size)
    levels = list(enumerate(network.block_out_channels))
    width, hidden = network.block_out_channels[0], 4 * network.block_out_channels[0]
    yield from (_linear(width, hidden), _linear(hidden, hidden), _conv(channels, width, 3, size))
    skips = [width]
    for index, outputs in levels:
        for inputs in [width] + [outputs] * (network.layers_per_block - 1):
            yield from _block(network, inputs, outputs, size >> index)
        skips += [outputs] * network.layers_per_block
        if index < len(levels) - 1:
            yield _conv(outputs, outputs, 3, size >> (index + 1))
            skips.append(outputs)
        width = outputs
    lowest = size >> (len(levels) - 1)
    middle = _residual_block(width, width, hidden, lowest)
    yield from chain(middle, _attention(width, lowest), middle)
    for index, outputs in reversed(levels):
        for below in [width] + [outputs] * network.layers_per_block:
            yield from _block(network, below + skips.pop(), outputs, size >> index)
        if index > 0:
            yield _conv(outputs, outputs, 3, size >> (index - 1))
        width = outputs
    yield from (_norm(width), _conv(width, channels, 3, size))


def _block(network: NetworkConfig, inputs: int, outputs: int, size: int) -> list[Layer]:
    attends = size in network.attention_resolutions
    block = _residual_block(inputs, outputs, 4 * network.block_out_channels[0], size)
    return block + (_attention(outputs, size) if attends else [])


def _residual_block(inputs: int, outputs: int, hidden: int, size: int) -> list[Layer]:
    layers = [_norm(inputs), _conv(inputs, outputs, 3, size), _linear(hidden, outputs)]
    layers += [_norm(outputs), _conv(outputs, outputs, 3, size)]
    return layers + ([_conv(inputs, outputs, 1, size)] if inputs != outputs else [])


def _attention(channels: int, size: int) -> list[Layer]:
    """Queries, keys, values and output, and between them the products with all keys and with all values."""
    pixels = size * size
    return [_norm(channels), *[_linear(channels, channels, pixels)] * 4, Layer(2 * 2 * pixels * pixels * channels, 0)]


def _conv(inputs: int, outputs: int, kernel: int, size: int) -> Layer:
    weights = inputs * outputs * kernel * kernel
    return Layer(2 * weights * size * size, weights + outputs)


def _linear(inputs: int, outputs: int, rows: int = 1) -> Layer:
    return Layer(2 * inputs * outputs * rows, inputs * outputs + outputs)


def _norm(channels: int) -> Layer:
    return Layer(0, 2 * channels)
