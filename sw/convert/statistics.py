"""What the calibration images say about the inputs of a layer: second moments of its windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from residuum.sw.convert.compensation import damped
from residuum.sw.convert.windows import blocks, by_block, windows
from residuum.sw.network.graph import Source

# Windows of a layer that are looked at; more are drawn from at random.
_MOST_WINDOWS = 1 << 16
# Numbers in the windows of one chunk of images.
_CHUNK = 1 << 23


@dataclass(frozen=True)
class Statistics:
    """Moments over the windows of some sources; g blocks (`blocks`), d columns.

    Attributes
    ----------
    gram
        (g, d, d): covariance of the inputs, damped; float64, as all.
    mean
        (g, d): means of the inputs.
    target
        (g, out / g, d): the weights whose currents come closest to the wanted ones.
    current
        (g, out / g): mean of the wanted currents.
    """

    gram: Tensor
    mean: Tensor
    target: Tensor
    current: Tensor


def statistics(
    sources: Sequence[Source],
    numbers: Sequence[Tensor],
    wanted: Tensor,
    weight: Tensor,
    *,
    feedback: float,
    seed: int = 0,
) -> Statistics:
    """Moments of the inputs, and the weights that make the best of them.

    Parameters
    ----------
    sources, numbers
        What the windows read, and its maps (N, C, H, W) in rounded numbers.
    wanted
        (N, out, H', W'): the current of these sources in the float network, which reads maps that
        are not rounded.
    weight
        (g, out / g, d): the weights of the float network, in current per number.
    feedback
        0: keep these weights; 1: the least-squares solution for ``wanted``, which makes up for
        errors of the layers before.
    """
    g = blocks(sources)
    depth = weight.shape[2]
    positions = wanted[0, 0].numel()
    count = len(wanted)
    share = min(1.0, _MOST_WINDOWS / (count * positions))
    kept = max(1, round(positions * share))
    at_once = max(1, _CHUNK // (g * depth * kept))
    generator = torch.Generator().manual_seed(seed)
    products = torch.zeros(g, depth, depth, dtype=torch.float64)
    crossed = torch.zeros(g, depth, weight.shape[1], dtype=torch.float64)
    sums, currents = torch.zeros_like(products[:, 0]), torch.zeros_like(crossed[:, 0])
    total = 0
    for first in range(0, count, at_once):
        chosen = torch.randperm(positions, generator=generator)[:kept]
        part = slice(first, first + at_once)
        x = torch.cat(
            [windows(s, n[part], g, chosen) for s, n in zip(sources, numbers, strict=True)], dim=2
        )
        z = by_block(wanted[part], g, chosen)
        products += x.mT @ x
        crossed += x.mT @ z
        sums += x.sum(dim=1)
        currents += z.sum(dim=1)
        total += x.shape[1]
    mean, current = sums / total, currents / total
    gram = products / total - mean[:, :, None] * mean[:, None, :]
    cross = crossed / total - mean[:, :, None] * current[:, None, :]
    solid = damped(gram)
    missing = cross.mT - weight @ gram
    target = weight + feedback * torch.linalg.solve(solid, missing.mT).mT
    return Statistics(solid, mean, target, current)
