"""Pooling and convolution as every layer has them, float or integer, for torch."""

from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional as F

Pooling = Literal["mean", "sum"]


class Geometry(Protocol):
    """What a layer's shape of work consists of; `FloatLayer` and `Layer` have it."""

    @property
    def stride(self) -> int:
        """Of the convolution, both ways."""

    @property
    def padding(self) -> int:
        """Zeros around the pooled input, on all four sides."""

    @property
    def pool(self) -> tuple[int, int]:
        """(h, w) of the pooling window; (1, 1) is no pooling."""


def pooled(layer: Geometry, x: Tensor, pooling: Pooling) -> Tensor:
    """Maps (N, C, H, W) after the pooling in front of the convolution; partial windows drop out."""
    if layer.pool == (1, 1):
        return x
    return F.avg_pool2d(x, layer.pool, divisor_override=None if pooling == "mean" else 1)


def convolve(
    layer: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pooling: Pooling
) -> Tensor:
    """``sum(weight * pooled(x)) + bias``, (N, out, H', W'), for maps (N, C, H, W).

    ``pooling`` is "mean" for the float network, whose layers average; "sum" for integers and rates,
    whose weights already hold the division by the window's area.
    """
    return F.conv2d(pooled(layer, x, pooling), weight, bias, layer.stride, layer.padding)
