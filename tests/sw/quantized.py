"""An independent reference of radix code: the quantised network in torch, from the formulas.

It shares no code with the golden model or the conversion. conv2d in float64 is exact here: every
partial sum is an integer below 2**53.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def quantized_maps(network, images: np.ndarray, *, dtype=torch.float64) -> list[Tensor]:
    """The map of every layer, (N, C, H, W); the last holds the logits.

    I = 2^f (sum W x + 2^h sum W' x') + B
    q = clip(floor((I + (TH >> 1)) / TH), 0, 2^K - 1)
    """
    x = torch.from_numpy(np.asarray(images)).to(dtype)
    if network.pad is not None:
        top, bottom, left, right = network.pad.sides
        channels = [
            F.pad(x[:, c : c + 1], (left, right, top, bottom), value=float(network.pad.pixel[c]))
            for c in range(x.shape[1])
        ]
        x = torch.cat(channels, dim=1)
    maps: list[Tensor] = []
    for layer in network.layers:
        total = torch.zeros((), dtype=dtype)
        for number, source in enumerate(layer.sources):
            read = x if source.map < 0 else maps[source.map]
            kernel_h, kernel_w = source.pool
            if (kernel_h, kernel_w) != (1, 1):
                read = F.avg_pool2d(read, source.pool, source.pool, divisor_override=1)
            top, bottom, left, right = source.padding
            read = F.pad(read, (left, right, top, bottom))
            weight = torch.from_numpy(source.weight.astype(np.float64)).to(dtype)
            weight = weight * (2**layer.shift if number else 1)
            total = total + F.conv2d(
                read, weight, None, source.stride, 0, source.dilation, source.groups
            )
        current = total * 2**layer.fraction_bits + _column(layer.bias, dtype)
        if layer.threshold is None:
            maps.append(current)
            continue
        threshold = _column(layer.threshold, dtype)
        q = torch.floor((current + torch.floor(threshold / 2)) / threshold)
        q = q.clamp(0, 2**layer.bits - 1)
        if layer.max_pool is not None:
            pool = layer.max_pool
            top, bottom, left, right = pool.padding
            q = F.max_pool2d(F.pad(q, (left, right, top, bottom)), pool.kernel, pool.stride)
        maps.append(q)
    return maps


def quantized_logits(network, images: np.ndarray, *, dtype=torch.float64, batch=500) -> np.ndarray:
    """Logits (N, classes), float64; only the last map is kept."""
    with torch.inference_mode():
        parts = [
            quantized_maps(network, images[first : first + batch], dtype=dtype)[-1].flatten(1)
            for first in range(0, len(images), batch)
        ]
    return torch.cat(parts).double().numpy()


def _column(values: np.ndarray, dtype) -> Tensor:
    return torch.from_numpy(values.astype(np.float64)).to(dtype)[:, None, None]
