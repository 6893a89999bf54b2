"""Weight scales, shared by the conversion and by quantisation-aware fine-tuning."""

import torch
from torch import Tensor

_CANDIDATES = 61
_SMALLEST = 0.4


def largest_weight(bits: int) -> int:
    """Largest magnitude of a signed weight of ``bits`` bits, kept symmetric: 2**(bits-1) - 1."""
    return int(2 ** (bits - 1) - 1)


def weight_scales(weight: Tensor, bits: int, *, shared: bool) -> Tensor:
    """The scales s_c that minimise ``sum((w - s*round(w/s))**2)`` per channel.

    The search covers 0.4 .. 1 times the scale at which the largest weight just fits. With few bits
    the optimum clips the largest weights, which gives the others finer steps.

    Parameters
    ----------
    weight
        (out_channels, ...), any float type.
    bits
        Bits of the signed weight, at least 2.
    shared
        One scale for all channels. The output layer needs it, because its sums are compared.

    Returns
    -------
    Tensor
        (out_channels,), all > 0. A channel whose weights are all 0 has scale 1.
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
    """Weights rounded as in the conversion, with the gradient of the unrounded weights."""
    column = scales.reshape(-1, *[1] * (weight.ndim - 1))
    rounded = quantize_weights(weight, scales, bits) * column
    return weight + (rounded - weight).detach()
