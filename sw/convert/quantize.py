"""Weight scales, shared by the conversion and by quantisation-aware fine-tuning."""

import torch
from torch import Tensor

_CANDIDATES = 61
_SMALLEST = 0.4


def largest_weight(bits: int) -> int:
    """Largest magnitude of a signed weight of ``bits`` bits, kept symmetric: 2**(bits-1) - 1."""
    return int(2 ** (bits - 1) - 1)


def weight_scales(weight: Tensor, bits: int, *, shared: bool) -> Tensor:
    """The scales s_c that lose least: minimise ``sum((w - s*round(w/s))**2)`` per channel.

    The search goes over shares 0.4 .. 1 of the scale that just holds the largest weight. With few
    bits it pays to clip the largest weights, as the others then get finer steps.

    Parameters
    ----------
    weight
        (out_channels, ...), any float type.
    bits
        Bits of the signed weight, at least 2.
    shared
        One scale for all channels: the output layer, whose sums are compared with one another.

    Returns
    -------
    Tensor
        (out_channels,), all > 0. A channel without any weight has scale 1.
    """
    rows = weight.detach().reshape(1 if shared else len(weight), -1)
    limit = largest_weight(bits)
    full = rows.abs().amax(dim=1) / limit
    full = torch.where(full > 0, full, torch.ones_like(full))
    shares = torch.linspace(_SMALLEST, 1.0, _CANDIDATES, dtype=rows.dtype)
    best = full.clone()
    smallest = torch.full_like(full, torch.inf)
    for share in shares:
        scale = (full * share)[:, None]
        error = (rows - scale * torch.clamp(torch.round(rows / scale), -limit, limit)).square()
        total = error.sum(dim=1)
        # "<=" prefers the larger scale, so nothing is clipped without gain.
        better = total <= smallest
        smallest = torch.where(better, total, smallest)
        best = torch.where(better, scale[:, 0], best)
    return best.expand(len(weight)).clone() if shared else best


def quantize_weights(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """``clip(round(w / s_c))`` as floats; ``weight`` (out, ...), ``scales`` (out,)."""
    limit = largest_weight(bits)
    column = scales.reshape(-1, *[1] * (weight.ndim - 1))
    return torch.clamp(torch.round(weight / column), -limit, limit)


def fake_quantize(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """The weights that the integers stand for, with the gradient of the unrounded ones."""
    column = scales.reshape(-1, *[1] * (weight.ndim - 1))
    rounded = quantize_weights(weight, scales, bits) * column
    return weight + (rounded - weight).detach()
