"""The sources of a layer as matrices: one row per output channel, one column per input of a window.

Grouped convolutions are block diagonal. A layer is cut into as many equal blocks of output channels
as its sources need: the least common multiple of their groups.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.network.forward import padded, pooled
from residuum.sw.network.graph import Source


def blocks(sources: Sequence[Source]) -> int:
    """g: the blocks of output channels that read the same inputs of every source."""
    return math.lcm(*(source.groups for source in sources)) if sources else 1


def rows(source: Source, g: int) -> Tensor:
    """The weights of a source, (g, out_channels / g, columns), in their own type."""
    return torch.as_tensor(source.weight).reshape(g, source.out_channels // g, -1)


def windows(source: Source, x: Tensor, g: int, chosen: Tensor) -> Tensor:
    """What the weights of `rows` are multiplied by, (g, N * len(chosen), columns).

    Parameters
    ----------
    x
        Maps (N, C, H, W) of any float type; pooling sums.
    chosen
        Numbers of the windows to take, counted row by row, int64.
    """
    x, (height, width) = padded(source, pooled(source, x, "sum"))
    x = F.pad(x, (width, width, height, height))
    for axis, (kernel, stride, dilation) in enumerate(
        zip(source.kernel, source.stride, source.dilation, strict=True), start=2
    ):
        x = x.unfold(axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    across = x.shape[3]
    taken = x[:, :, chosen // across, chosen % across].transpose(1, 2)
    by_group = taken.reshape(len(x) * len(chosen), source.groups, -1).transpose(0, 1)
    return by_group.repeat_interleave(g // source.groups, dim=0)


def by_block(values: Tensor, g: int, chosen: Tensor) -> Tensor:
    """Numbers of neurons (N, out, H, W) in the order of `windows`: (g, N * windows, out / g)."""
    taken = values.flatten(2)[:, :, chosen].transpose(1, 2)
    return taken.reshape(len(values) * len(chosen), g, -1).transpose(0, 1)


def is_identity(source: Source) -> bool:
    """Whether a source adds single channels of its map as they are.

    That is a 1x1 kernel with at most one weight per output channel, equal to 1. A source without
    any weight is none.
    """
    weight = source.weight.reshape(source.out_channels, -1)
    single = source.kernel == (1, 1) and ((weight != 0).sum(axis=1) <= 1).all()
    return bool(single and weight.any() and (weight[weight != 0] == 1).all())
