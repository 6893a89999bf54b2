"""Pooling and convolution in torch, for float and integer layers."""

from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional as F

Pooling = Literal["mean", "sum"]


class Geometry(Protocol):
    """Parameters of a layer's pooling and convolution, as in `FloatLayer` and `Layer`."""

    @property
    def stride(self) -> int:
        """Stride of the convolution, along both axes."""

    @property
    def padding(self) -> int:
        """Zeros around the pooled input, on all four sides."""

    @property
    def pool(self) -> tuple[int, int]:
        """(h, w) of the pooling window; (1, 1) means no pooling."""


def pooled(layer: Geometry, x: Tensor, pooling: Pooling) -> Tensor:
    """Maps (N, C, H, W) pooled for the convolution; partial windows are dropped."""
    if layer.pool == (1, 1):
        return x
    return F.avg_pool2d(x, layer.pool, divisor_override=None if pooling == "mean" else 1)


def convolve(
    layer: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None = None, *, pooling: Pooling
) -> Tensor:
    """``sum(weight * pooled(x)) + bias``, (N, out, H', W'), for maps (N, C, H, W).

    ``pooling`` is "mean" for float networks. It is "sum" for integers and rates, whose weights
    already include the division by the window's area.
    """
    return F.conv2d(pooled(layer, x, pooling), weight, bias, layer.stride, layer.padding)
