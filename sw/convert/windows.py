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


def windows(source: Source, x: Tensor, g: int, chosen: Tensor | None = None) -> Tensor:
    """What the weights of `rows` are multiplied by, (g, N * windows, columns).

    Parameters
    ----------
    x
        Maps (N, C, H, W) of any float type; pooling sums.
    chosen
        Numbers of the windows to take, int64; None: all, row by row.
    """
    x, padding = padded(source, pooled(source, x, "sum"))
    columns = F.unfold(x, source.kernel, source.dilation, padding, source.stride)
    if chosen is not None:
        columns = columns[:, :, chosen]
    count, depth, positions = columns.shape
    columns = columns.reshape(count, source.groups, depth // source.groups, positions)
    by_group = columns.permute(1, 0, 3, 2).reshape(source.groups, count * positions, -1)
    return by_group.repeat_interleave(g // source.groups, dim=0)


def by_block(values: Tensor, g: int, chosen: Tensor | None = None) -> Tensor:
    """Numbers of neurons (N, out, H, W) in the order of `windows`: (g, N * windows, out / g)."""
    values = values.flatten(2)
    if chosen is not None:
        values = values[:, :, chosen]
    count, channels, positions = values.shape
    values = values.reshape(count, g, channels // g, positions)
    return values.permute(1, 0, 3, 2).reshape(g, count * positions, channels // g)


def is_identity(source: Source) -> bool:
    """Whether a source adds single channels of its map as they are.

    That is a 1x1 kernel with at most one weight per output channel, equal to 1. A source without
    any weight is none.
    """
    weight = source.weight.reshape(source.out_channels, -1)
    single = source.kernel == (1, 1) and ((weight != 0).sum(axis=1) <= 1).all()
    return bool(single and weight.any() and (weight[weight != 0] == 1).all())
