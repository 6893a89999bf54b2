"""Ranges of the activations of a float network, from calibration images."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from residuum.sw.convert.currents import check_images, float_current
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import max_pooled
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.integer_network import LARGEST_PIXEL
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.threads import no_spinning_threads

_BINS = 8192
# Ranges that are tried, as shares of the largest activation.
_SHARES = np.linspace(0.05, 1.0, 191)


def calibrate(
    network: FloatNetwork, images: np.ndarray, *, bits: int, reporter: Reporter = SILENT
) -> FloatNetwork:
    """The network with a finite threshold in every hidden layer.

    The threshold is the range whose rounding to ``bits`` bits has the smallest squared error on the
    activations of ``images``. A layer that clips already keeps at most its clip. Networks with QCFS
    activations and spiking networks are returned as they are.

    Parameters
    ----------
    images
        uint8 (N, C, H, W) of the network's input shape, without its border; a few hundred.
    bits
        K of the maps: 2**K - 1 levels above zero, and half a level is rounded up.

    Raises
    ------
    ResiduumError
        If the images do not fit the network.
    """
    if network.levels is not None or network.input != IMAGE:
        return network
    check_images(network, images)
    ranges: list[float | None] = []

    def step(index: int, layer: FloatLayer, inputs: list[Tensor]) -> Tensor:
        current = float_current(layer, inputs)
        task.advance()
        if layer.threshold is None:
            ranges.append(None)
            return current
        activation = max_pooled(layer.max_pool, current.clamp(0, layer.threshold))
        ranges.append(smallest_error(activation, bits, limit=layer.threshold))
        return activation

    pixels = images.astype(np.float32) / LARGEST_PIXEL
    count = len(network.layers)
    with (
        no_spinning_threads(),
        torch.no_grad(),
        reporter.task("calibrate", total=count, unit="layers") as task,
    ):
        network.walk(torch.from_numpy(network.with_border(pixels)), step)
    layers = [
        replace(layer, threshold=each) for layer, each in zip(network.layers, ranges, strict=True)
    ]
    return replace(network, layers=tuple(layers))


def smallest_error(values: Tensor, bits: int, *, limit: float = math.inf) -> float:
    """The range, at most ``limit``, with the smallest squared error of rounding ``values`` >= 0.

    The values are counted in bins first, so the cost does not grow with their number. Values that
    are all 0 have the range ``limit``, or 1.
    """
    largest = float(values.max())
    if not largest > 0:
        return limit if math.isfinite(limit) else 1.0
    counts = torch.histc(values, _BINS, 0, largest).double().numpy()
    centres = (np.arange(_BINS) + 0.5) * (largest / _BINS)
    # Most activations are exactly 0, and are rounded without error.
    counts[0] -= int((values == 0).sum())
    levels = 2**bits - 1
    best, smallest = largest, math.inf
    for share in _SHARES[::-1]:
        scale = largest * share / levels
        rounded = np.minimum(np.floor(centres / scale + 0.5), levels) * scale
        error = float((counts * (centres - rounded) ** 2).sum())
        if error < smallest:
            best, smallest = largest * float(share), error
    return min(best, limit)
