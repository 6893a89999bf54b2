"""Pooling, convolution and the float network in torch."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import MaxPool, Source

Pooling = Literal["mean", "sum"]
Activation = Callable[[int, FloatLayer, Tensor], Tensor]


def pooled(source: Source, x: Tensor, pooling: Pooling) -> Tensor:
    """Maps (N, C, H, W) pooled for the convolution; partial windows are dropped."""
    if not source.pooled:
        return x
    return F.avg_pool2d(x, source.pool, divisor_override=None if pooling == "mean" else 1)


def padded(source: Source, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Maps that need no more than the returned symmetric (h, w) padding of zeros."""
    top, bottom, left, right = source.padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom)), (0, 0)


def convolve(
    source: Source, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pooling: Pooling
) -> Tensor:
    """``sum(weight * pooled(x)) + bias``, (N, out, H', W'), for maps (N, C, H, W).

    ``pooling`` is "mean" for float networks. It is "sum" for integers and rates, whose weights
    already include the division by the window's area.
    """
    x, padding = padded(source, pooled(source, x, pooling))
    return F.conv2d(x, weight, bias, source.stride, padding, source.dilation, source.groups)


def max_pooled(pool: MaxPool | None, x: Tensor) -> Tensor:
    """Maxima of non-negative maps (N, C, H, W); the map itself without ``pool``."""
    if pool is None:
        return x
    top, bottom, left, right = pool.padding
    # Zero never wins over a map that is not negative.
    return F.max_pool2d(F.pad(x, (left, right, top, bottom)), pool.kernel, pool.stride)


def clipped(index: int, layer: FloatLayer, z: Tensor) -> Tensor:
    """``clip(z, 0, lambda)``: ReLU, ReLU6 and others, not rounded."""
    assert layer.threshold is not None
    return z.clamp(0, layer.threshold)


def rounded_to(levels: int) -> Activation:
    """``lambda * clip(floor(z * L / lambda + 1/2), 0, L) / L``: activations of L levels above 0."""

    def activation(index: int, layer: FloatLayer, z: Tensor) -> Tensor:
        assert layer.threshold is not None
        steps = levels / layer.threshold
        return torch.floor(z * steps + 0.5).clamp(0, levels) / steps

    return activation


def forward(network: FloatNetwork, images: Tensor, *, activation: Activation = clipped) -> Tensor:
    """Logits (N, classes) of the float network as an ANN.

    Parameters
    ----------
    images
        float (N, C, H, W), u/255, without the border of `FloatNetwork.pad`; the result has their
        type.
    activation
        ``activation(index, layer, z)`` for the currents z (N, C, H, W) of each hidden layer, before
        max-pooling.
    """

    def step(index: int, layer: FloatLayer, inputs: list[Tensor]) -> Tensor:
        z = torch.as_tensor(layer.bias, dtype=images.dtype)[:, None, None]
        for source, x in zip(layer.sources, inputs, strict=True):
            weight = torch.as_tensor(source.weight, dtype=images.dtype)
            z = z + convolve(source, x, weight, pooling="mean")
        if layer.threshold is None:
            return z
        return max_pooled(layer.max_pool, activation(index, layer, z))

    return network.walk(with_border(network, images), step).flatten(1)


def with_border(network: FloatNetwork, images: Tensor) -> Tensor:
    """Pictures (N, C, H, W) with the border that the network puts around them."""
    if network.pad is None:
        return images
    return torch.from_numpy(network.with_border(images.numpy()))
