"""The golden model: the integer arithmetic in PyTorch, batched and exact. The project's oracle.

Each layer is computed for all S = tau + T steps before the next layer. This is exact because all
layers change stage at the same step, and the mask of a layer depends only on its own probe.
Pooling is an explicit sum of spikes. The engine folds it into the kernel, so the two
implementations are independent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import (
    LARGEST_PIXEL,
    PIXELS,
    IntegerNetwork,
    Layer,
    check_stages,
)
from residuum.sw.threads import no_spinning_threads

# Integers below these limits are exact in float32 and float64, for any order of summation.
_EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53
# Elements of the largest intermediate array of a batch: small enough for the caches.
_BATCH_NUMBERS = 1 << 23


@dataclass(frozen=True)
class LayerTrace:
    """Activity of the neurons of one layer.

    Attributes
    ----------
    trains
        bool (N, S, C, H, W), input of the next layer: probe steps unmasked, inference masked.
    residual
        int64 (N, C, H, W), v(tau) before the restart; with tau = 0 the start potential.
    silenced
        bool (N, C, H, W), v(tau) < 0; with tau = 0 all False.
    """

    trains: np.ndarray
    residual: np.ndarray
    silenced: np.ndarray


@dataclass(frozen=True)
class Trace:
    """Traces of the hidden layers, and the network's output.

    Attributes
    ----------
    layers
        One ``LayerTrace`` per hidden layer; empty if traces were not kept.
    logits
        int64 (N, classes), summed over the T inference steps.
    prediction
        int64 (N,), the lowest index among the largest logits.
    """

    layers: tuple[LayerTrace, ...]
    logits: np.ndarray
    prediction: np.ndarray


def simulate(
    network: IntegerNetwork,
    images: np.ndarray,
    *,
    tau: int,
    T: int,
    keep_layers: bool = True,
) -> Trace:
    """Run ``images`` through the network: tau probe steps, then T inference steps.

    Parameters
    ----------
    images
        uint8 (N, C, H, W), or anything that `IntegerNetwork.as_images` accepts.
    tau
        >= 0; with 0 there is no probe and nothing is silenced (plain QCFS conversion).
    T
        >= 1.
    keep_layers
        Keep all trains, residual potentials and masks; otherwise only logits and predictions.

    Raises
    ------
    ResiduumError
        If the images do not fit the network, tau or T is out of range, or a sum could exceed the
        range in which float64 is exact.
    """
    tau, T = check_stages(tau, T)
    parts = []
    for trace in simulate_batches(network, images, tau=tau, T=T):
        parts.append(trace if keep_layers else Trace((), trace.logits, trace.prediction))
    return _join(network, parts, tau + T, keep_layers)


def simulate_batches(
    network: IntegerNetwork, images: np.ndarray, *, tau: int, T: int
) -> Iterator[Trace]:
    """As ``simulate``, but yields the trace of one batch at a time, in the order of the images.

    The batch size keeps the arrays small for any network, so a whole data set can be processed
    without holding all its spike trains.
    """
    tau, T = check_stages(tau, T)
    images = network.as_images(images)
    kernels = [_Kernel(layer) for layer in network.layers]
    batch = batch_size(network, tau + T)
    for first in range(0, len(images), batch):
        chunk = torch.from_numpy(np.ascontiguousarray(images[first : first + batch]))
        with no_spinning_threads(), torch.inference_mode():
            trace = _simulate_batch(network, kernels, chunk, tau, T)
        yield trace


def firing_share(layer: LayerTrace) -> float:
    """Share (0..1) of neurons that fire at least once in S steps, and so become events."""
    return float(layer.trains.any(axis=1).mean())


class _Kernel:
    """A layer's weights as a matrix, in the smallest float type that is exact for all sums."""

    def __init__(self, layer: Layer) -> None:
        rows = layer.weight.reshape(layer.out_channels, -1)
        largest_input = layer.pool_area * (LARGEST_PIXEL if layer.coding == PIXELS else 1)
        bound = int(np.abs(rows.astype(np.int64)).sum(axis=1).max()) * largest_input
        if bound >= _EXACT_FLOAT64:
            raise ResiduumError(
                f"layer {layer.name!r} can reach a weight sum of {bound}, beyond the 2**53 up to "
                f"which the golden model counts exactly"
            )
        self.layer = layer
        self.dtype = torch.float32 if bound < _EXACT_FLOAT32 else torch.float64
        self.matrix = torch.from_numpy(rows.copy()).to(self.dtype)

    def current(self, x: Tensor) -> Tensor:
        """I, int64 (M, out, H', W'), of M input maps (M, C, H, W) of pixels or of spikes.

        Unfolding and a matrix product, not conv2d: a library may compute a convolution by a
        transform that rounds, whereas every partial sum of the product is an integer.
        """
        layer = self.layer
        x = x.to(self.dtype)
        if layer.pool != (1, 1):
            x = F.avg_pool2d(x, layer.pool, divisor_override=1)
        height, width = (
            (size + 2 * layer.padding - kernel) // layer.stride + 1
            for size, kernel in zip(x.shape[2:], layer.kernel, strict=True)
        )
        columns = F.unfold(x, layer.kernel, padding=layer.padding, stride=layer.stride)
        sums = torch.matmul(self.matrix, columns).to(torch.int64)
        bias = torch.from_numpy(layer.bias.copy())[:, None]
        return ((sums << layer.fraction_bits) + bias).reshape(len(x), -1, height, width)


def _simulate_batch(
    network: IntegerNetwork,
    kernels: list[_Kernel],
    images: Tensor,
    tau: int,
    T: int,
) -> Trace:
    layers: list[LayerTrace] = []
    steps = tau + T
    # The image is the same current in all steps, so a step axis of length 1 is enough.
    signal = images[:, None]
    for kernel in kernels:
        repeated = kernel.layer.coding == PIXELS
        if kernel.layer.threshold is None:
            used = signal if repeated else signal[:, tau:]
            current = kernel.current(used.flatten(0, 1)).reshape(*used.shape[:2], -1)
            logits = current.sum(dim=1) * (T if repeated else 1)
            return Trace(tuple(layers), logits.numpy(), _first_largest(logits.numpy()))
        current = kernel.current(signal.flatten(0, 1)).unflatten(0, signal.shape[:2])
        signal, residual, silenced = integrate_and_fire(
            current.expand(-1, steps, -1, -1, -1), kernel.layer.threshold, tau
        )
        layers.append(LayerTrace(signal.numpy(), residual.numpy(), silenced.numpy()))
    raise AssertionError("an IntegerNetwork ends in an output layer")


def integrate_and_fire(
    current: Tensor, threshold: np.ndarray, tau: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer's neurons through both stages: trains, v(tau) and mask, as in ``LayerTrace``.

    Parameters
    ----------
    current
        I(t), int64 (N, S, C, H, W).
    threshold
        TH, int64 (C,); the start potential is TH >> 1.
    """
    limit = torch.from_numpy(threshold.copy())[:, None, None]
    start = limit >> 1
    potential = start.expand(current[:, 0].shape)
    residual = potential.clone()
    silenced = torch.zeros(residual.shape, dtype=torch.bool)
    trains = torch.empty(current.shape, dtype=torch.bool)
    for step in range(current.shape[1]):
        if step == tau and tau > 0:
            residual = potential
            silenced = potential < 0
            potential = start.expand(potential.shape)
        potential = potential + current[:, step]
        spike = potential >= limit
        potential = potential - spike * limit
        trains[:, step] = spike & ~silenced if step >= tau else spike
    if tau == current.shape[1]:
        residual, silenced = potential, potential < 0
    return trains, residual, silenced


def _first_largest(logits: np.ndarray) -> np.ndarray:
    prediction: np.ndarray = logits.argmax(axis=1)
    return prediction


def batch_size(network: IntegerNetwork, steps: int) -> int:
    """Images per batch for about ``_BATCH_NUMBERS`` elements in the largest array."""
    largest = 1
    for layer, (channels, height, width) in zip(network.layers, network.shapes, strict=True):
        repeats = 1 if layer.coding == PIXELS else steps
        largest = max(
            largest,
            repeats * layer.weight[0].size * height * width,
            steps * channels * height * width,
        )
    return max(_BATCH_NUMBERS // largest, 1)


def _join(network: IntegerNetwork, parts: list[Trace], steps: int, keep_layers: bool) -> Trace:
    if not parts:
        return _empty(network, steps, keep_layers)
    layers = []
    for index in range(len(parts[0].layers)):
        of_layer = [part.layers[index] for part in parts]
        layers.append(
            LayerTrace(
                np.concatenate([layer.trains for layer in of_layer]),
                np.concatenate([layer.residual for layer in of_layer]),
                np.concatenate([layer.silenced for layer in of_layer]),
            )
        )
    return Trace(
        tuple(layers),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.prediction for part in parts]),
    )


def _empty(network: IntegerNetwork, steps: int, keep_layers: bool) -> Trace:
    """The trace of zero images, with the right shapes."""
    shapes = network.shapes[:-1] if keep_layers else ()
    layers = tuple(
        LayerTrace(
            np.zeros((0, steps, *shape), bool),
            np.zeros((0, *shape), np.int64),
            np.zeros((0, *shape), bool),
        )
        for shape in shapes
    )
    return Trace(layers, np.zeros((0, network.classes), np.int64), np.zeros(0, np.int64))
