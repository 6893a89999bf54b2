"""The golden model: the integer arithmetic in PyTorch, batched and exact. The project's oracle.

Each layer is computed for all S steps of a run before the next layer. In rate code, S = tau + T;
this is exact because all layers change stage at the same step, and the correction of a layer
depends only on its own probe. In radix code, the S = K bits of a map are one number, which is
computed once. Pooling is an explicit sum or maximum of a map. The engine folds it into the windows,
so the two implementations are independent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import MASK, OFFSET, check_correction
from residuum.sw.network.forward import max_pooled, pooled
from residuum.sw.network.graph import IMAGE, Source
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer
from residuum.sw.threads import no_spinning_threads

# Integers below these limits are exact in float32 and float64, for any order of summation.
_EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53
_EXACT_INT32 = 1 << 31
# Elements of the largest intermediate array of a batch: small enough for the caches.
_BATCH_NUMBERS = 1 << 23
# Elements of unfolded windows at a time: they stay in the cache until they are multiplied.
_WINDOW_NUMBERS = 1 << 18


@dataclass(frozen=True)
class LayerTrace:
    """Activity of the neurons of one layer, and the map that it writes.

    Attributes
    ----------
    trains
        bool (N, S, C, H, W), the map, as its readers see it. Rate code: S = tau + T steps; with
        mask, the inference without the spikes of silenced neurons. Radix code: S = K, and train bit
        k is bit k of the number, after max-pooling.
    residual
        int64 (N, C, H, W). Rate code: v(tau) before any restart; with tau = 0 the start potential.
        Radix code: what the division leaves of v. One per neuron, before max-pooling.
    silenced
        bool, shape of ``residual``: v(tau) < 0 if the correction is mask; else all False.
    worth
        int64 (S,), what a spike of each step adds to ``values``. Rate code: 0 in the probe, 1 in
        the inference. Radix code: 2**k.
    """

    trains: np.ndarray
    residual: np.ndarray
    silenced: np.ndarray
    worth: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """int64 (N, C, H, W), the numbers of the map: spikes in the inference, or q."""
        values = np.zeros((len(self.trains), *self.trains.shape[2:]), np.int64)
        for step, worth in enumerate(self.worth.tolist()):
            if worth:
                values += self.trains[:, step] * np.int64(worth)
        return values


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
    correction: str | None = None,
    keep_layers: bool = True,
) -> Trace:
    """Run ``images`` through the network: tau probe steps, then T inference steps.

    Parameters
    ----------
    images
        uint8 (N, C, H, W), or anything that `IntegerNetwork.as_images` accepts. For a network that
        reads spikes, trains (N, tau + T, C, H, W), see `IntegerNetwork.as_trains`.
    tau
        >= 0; with 0 there is no probe and no correction (plain QCFS conversion). In radix code, 0.
    T
        >= 1. In radix code, 1.
    correction
        What the residual potential decides after the probe, one of
        `residuum.sw.network.corrections`; None: mask, or none if tau = 0.
    keep_layers
        Keep all trains, residual potentials and masks; otherwise only logits and predictions.

    Raises
    ------
    ResiduumError
        If the images do not fit the network, tau or T is out of range, the network has no such
        correction, or a sum could exceed the range in which float64 is exact.
    """
    tau, T = network.check_stages(tau, T)
    steps = {"tau": tau, "T": T}
    parts = list(
        simulate_batches(network, images, **steps, correction=correction, keep_layers=keep_layers)
    )
    return _join(network, parts, tau, T, keep_layers)


def simulate_batches(
    network: IntegerNetwork,
    images: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    keep_layers: bool = True,
) -> Iterator[Trace]:
    """As ``simulate``, but yields the trace of one batch at a time, in the order of the images.

    The batch size keeps the arrays small for any network, so a whole data set can be processed
    without holding all its spike trains.
    """
    tau, T = network.check_stages(tau, T)
    correction = check_correction(network, correction, tau)
    if network.input == IMAGE:
        images = network.as_images(images)
    else:
        images = network.as_trains(images, tau + T)
    currents = [_Currents(network, layer, tau + T) for layer in network.layers]
    batch = batch_size(network, tau + T)
    for first in range(0, len(images), batch):
        chunk = np.array(images[first : first + batch])
        with no_spinning_threads(), torch.inference_mode():
            trace = _simulate_batch(network, currents, chunk, tau, T, correction, keep_layers)
        yield trace


def firing_share(layer: LayerTrace) -> float:
    """Share (0..1) of neurons that fire at least once in S steps, and so become events."""
    return float(layer.trains.any(axis=1).mean())


class _Kernel:
    """The weights of a source, in the smallest float type that is exact for all its sums.

    Attributes
    ----------
    matrix
        (groups, out_channels / groups, inputs of a window).
    reach
        Largest magnitude of a sum.
    """

    def __init__(self, layer: Layer, source: Source, largest: int) -> None:
        rows = source.weight.reshape(source.out_channels, -1)
        self.reach = int(np.abs(rows.astype(np.int64)).sum(axis=1).max())
        self.reach *= source.pool_area * largest
        if self.reach >= _EXACT_FLOAT64:
            raise ResiduumError(
                f"layer {layer.name!r} can reach a weight sum of {self.reach}, beyond the 2**53 up "
                f"to which the golden model counts exactly"
            )
        self.source = source
        exact = self.reach < _EXACT_FLOAT32 and _products_are_float32()
        self.dtype = torch.float32 if exact else torch.float64
        self.matrix = torch.from_numpy(rows.copy()).to(self.dtype).unflatten(0, (source.groups, -1))

    def sums(self, x: Tensor) -> Tensor:
        """The weight sums (M, out, H', W') over M maps (M, C, H, W), exact, in ``dtype``.

        Matrix products, not conv2d: a library may compute a convolution by a transform that rounds
        (Winograd), whereas every partial sum of a product is an integer.
        """
        source = self.source
        size = source.output_shape((x.shape[1], x.shape[2], x.shape[3]))[1:]
        x = pooled(source, x.to(self.dtype), "sum")
        if source.groups == 1 and x.shape[2:] == source.kernel and not any(source.padding):
            return (x.flatten(1) @ self.matrix[0].T)[:, :, None, None]
        if source.kernel == (1, 1):
            x = x[:, :, :: source.stride[0], :: source.stride[1]]
            return self._product(x.flatten(2)).unflatten(2, size)
        if self.matrix.shape[1:] == (1, source.kernel[0] * source.kernel[1]):
            return self._depthwise(x, size)
        return self._unfolded(x, size)

    def _product(self, columns: Tensor) -> Tensor:
        """(M, out, L) of the windows (M, in_channels * kernel, L), group by group."""
        if self.source.groups == 1:
            return torch.matmul(self.matrix[0], columns)
        return torch.matmul(self.matrix, columns.unflatten(1, (self.source.groups, -1))).flatten(
            1, 2
        )

    def _unfolded(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        source = self.source
        sums = torch.empty((len(x), source.out_channels, size[0] * size[1]), dtype=self.dtype)
        step = max(_WINDOW_NUMBERS // (_inputs_of_windows(source) * size[0] * size[1]), 1)
        for first in range(0, len(x), step):
            windows = _windows(source, x[first : first + step], size)
            sums[first : first + step] = self._product(windows.flatten(1, 3).flatten(2))
        return sums.unflatten(2, size)

    def _depthwise(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """One input and one output channel per group: products with shifted maps."""
        windows = _windows(self.source, x, size)
        taps = self.matrix.unflatten(2, self.source.kernel)[:, 0, :, :, None, None]
        sums = torch.zeros((*x.shape[:2], *size), dtype=self.dtype)
        for row, column in np.ndindex(*self.source.kernel):
            sums.addcmul_(windows[:, :, row, column], taps[:, row, column])
        return sums


def _windows(source: Source, x: Tensor, size: tuple[int, int]) -> Tensor:
    """A view (M, C, kernel_h, kernel_w, H', W') of the windows of pooled maps (M, C, H, W).

    Copying it takes a fifth of the time of ``torch.nn.functional.unfold``.
    """
    top, bottom, left, right = source.padding
    x = F.pad(x, (left, right, top, bottom)).contiguous()
    image, channel, row, column = x.stride()
    down, across = source.dilation[0] * row, source.dilation[1] * column
    strides = (image, channel, down, across, source.stride[0] * row, source.stride[1] * column)
    return x.as_strided((*x.shape[:2], *source.kernel, *size), strides)


class _Currents:
    """The currents of a layer in integers, the smallest type that holds its potentials too."""

    def __init__(self, network: IntegerNetwork, layer: Layer, steps: int) -> None:
        self.layer = layer
        self.kernels = [
            _Kernel(layer, source, largest)
            for source, largest in zip(layer.sources, network.largest_inputs(layer), strict=True)
        ]
        self.dtype = torch.int32 if self._largest_potential(steps) < _EXACT_INT32 else torch.int64
        self.bias = torch.from_numpy(layer.bias.copy()).to(self.dtype)[:, None, None]

    def _largest_potential(self, steps: int) -> int:
        """No current and no potential of the layer is larger in magnitude."""
        current = int(np.abs(self.layer.bias).max()) + sum(
            kernel.reach * factor
            for kernel, factor in zip(self.kernels, self.layer.factors, strict=True)
        )
        if self.layer.threshold is None:
            return current * steps
        largest_threshold = int(self.layer.threshold.max()) << ((self.layer.bits or 1) - 1)
        return current * steps + 2 * largest_threshold

    def of(self, inputs: list[Tensor]) -> Tensor:
        """I (N, S, out, H', W') of the maps (N, S, C, H, W) of each source.

        The step axis of a map that is the same in all steps has length 1.
        """
        total: Tensor | None = None
        for kernel, factor, x in zip(self.kernels, self.layer.factors, inputs, strict=True):
            sums = kernel.sums(x.flatten(0, 1)).to(self.dtype).unflatten(0, x.shape[:2])
            if factor != 1:
                sums *= factor
            total = sums + self.bias if total is None else total + sums
        assert total is not None
        return total


def _simulate_batch(
    network: IntegerNetwork,
    currents: list[_Currents],
    images: np.ndarray,
    tau: int,
    T: int,
    correction: str,
    keep_layers: bool,
) -> Trace:
    layers: list[LayerTrace] = []
    worth = np.array([0] * tau + [1] * T)

    def step(index: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """The map that a layer writes, (N, S, C, H, W); in radix code S = 1."""
        if layer.threshold is None:
            inputs = [x if x.shape[1] == 1 else x[:, tau:] for x in inputs]
            current = currents[index].of(inputs).to(torch.int64)
            return current.sum(dim=1) * (T if current.shape[1] == 1 else 1)
        current = currents[index].of(inputs)
        if layer.bits is not None:
            number, trace = _numbers(layer, current[:, 0], keep_layers)
            layers.extend(trace)
            return number[:, None]
        trains, residual, silenced = integrate_and_fire(
            current.expand(-1, tau + T, -1, -1, -1),
            layer.threshold,
            tau,
            layer.start_potential,
            correction,
        )
        if keep_layers:
            layers.append(LayerTrace(trains.numpy(), residual.numpy(), silenced.numpy(), worth))
        return trains

    if network.input == IMAGE:
        # An image is the same current in all steps, so a step axis of length 1 is enough.
        images = network.with_border(images)[:, None]
    logits = network.walk(torch.from_numpy(images), step).flatten(1).numpy()
    return Trace(tuple(layers), logits, _first_largest(logits))


def integrate_and_fire(
    current: Tensor,
    threshold: np.ndarray,
    tau: int,
    start: np.ndarray | None = None,
    correction: str = MASK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer's neurons through both stages: trains, v(tau) and mask, as in ``LayerTrace``.

    Parameters
    ----------
    current
        I(t), int64 or int32 (N, S, C, H, W); the type must hold all potentials.
    threshold
        TH, int64 (C,).
    start
        V0, int64 (C,); None: TH >> 1.
    correction
        What happens after step ``tau`` > 0: mask, carry or offset.
    """
    limit = torch.from_numpy(threshold.copy()).to(current.dtype)[:, None, None]
    if start is None:
        start = threshold >> 1
    begin = torch.from_numpy(start.copy()).to(current.dtype)[:, None, None]
    potential = begin.expand(current[:, 0].shape)
    residual = potential
    silenced = torch.zeros(residual.shape, dtype=torch.bool)
    trains = torch.empty(current.shape, dtype=torch.bool)
    for step in range(current.shape[1]):
        potential = potential + current[:, step]
        spike = potential >= limit
        potential -= spike * limit
        trains[:, step] = spike & ~silenced
        if step + 1 == tau:
            residual = potential
            if correction == MASK:
                silenced, potential = potential < 0, begin.expand(potential.shape)
            elif correction == OFFSET:
                surplus = (potential < 0) & trains[:, :tau].any(dim=1)
                potential = begin + limit * (potential >= limit) - limit * surplus
    return trains, residual.to(torch.int64).contiguous(), silenced


def divide(current: Tensor, threshold: np.ndarray, bits: int) -> tuple[Tensor, Tensor]:
    """Restoring division: the numbers q of a layer in radix code, and what is left of v.

    v = I + (TH >> 1); for k = K-1 .. 0: bit k = v >= TH << k, then v = v - bit*(TH << k).

    Parameters
    ----------
    current
        I, int64 or int32 (N, C, H, W); the type must hold all potentials and TH << (K-1).
    threshold
        TH, int64 (C,).
    bits
        K, 1 .. 8.

    Returns
    -------
    Tensor
        q, uint8 (N, C, H, W).
    Tensor
        v, in the type of ``current``.
    """
    limit = torch.from_numpy(threshold.copy()).to(current.dtype)[:, None, None]
    potential = current + (limit >> 1)
    number = torch.zeros(current.shape, dtype=torch.uint8)
    for k in reversed(range(bits)):
        bit = potential >= limit << k
        potential -= bit * (limit << k)
        number |= bit.to(torch.uint8) << k
    return number, potential


def _numbers(layer: Layer, current: Tensor, keep: bool) -> tuple[Tensor, list[LayerTrace]]:
    """The map of numbers (N, C, H, W) of a layer in radix code, and its trace if it is kept."""
    assert layer.threshold is not None
    assert layer.bits is not None
    number, residual = divide(current, layer.threshold, layer.bits)
    if layer.max_pool is not None:
        # Numbers of 8 bits are exact in float32.
        number = max_pooled(layer.max_pool, number.to(torch.float32)).to(torch.uint8)
    if not keep:
        return number, []
    planes = torch.arange(layer.bits, dtype=torch.uint8)[:, None, None, None]
    trace = LayerTrace(
        trains=((number[:, None] >> planes) & 1).to(torch.bool).numpy(),
        residual=residual.to(torch.int64).numpy(),
        silenced=np.zeros(residual.shape, bool),
        worth=1 << np.arange(layer.bits),
    )
    return number, [trace]


def _products_are_float32() -> bool:
    """Whether torch multiplies float32 matrices in float32; its switches may allow bfloat16."""
    try:
        highest = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:
        # Torch refuses to answer where its old and new switches were mixed.
        return False
    return highest and not torch.is_autocast_enabled("cpu")


def _first_largest(logits: np.ndarray) -> np.ndarray:
    prediction: np.ndarray = logits.argmax(axis=1)
    return prediction


def _inputs_of_windows(source: Source) -> int:
    """Inputs of the windows at one output position, over all groups."""
    return source.in_channels * source.kernel[0] * source.kernel[1]


def batch_size(network: IntegerNetwork, steps: int) -> int:
    """Images per batch for about ``_BATCH_NUMBERS`` elements in the largest array."""
    steps = 1 if network.code == RADIX else steps
    largest = 1
    for layer, (channels, height, width) in zip(network.layers, network.neuron_shapes, strict=True):
        bits = layer.bits or 1
        largest = max(largest, steps * bits * channels * height * width)
        for source in layer.sources:
            repeats = 1 if network.reads_image(layer) else steps
            largest = max(largest, repeats * _inputs_of_windows(source) * height * width)
    return max(_BATCH_NUMBERS // largest, 1)


def _join(
    network: IntegerNetwork, parts: list[Trace], tau: int, T: int, keep_layers: bool
) -> Trace:
    if not parts:
        return _empty(network, tau, T, keep_layers)
    layers = []
    for index in range(len(parts[0].layers)):
        of_layer = [part.layers[index] for part in parts]
        layers.append(
            LayerTrace(
                np.concatenate([layer.trains for layer in of_layer]),
                np.concatenate([layer.residual for layer in of_layer]),
                np.concatenate([layer.silenced for layer in of_layer]),
                of_layer[0].worth,
            )
        )
    return Trace(
        tuple(layers),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.prediction for part in parts]),
    )


def _empty(network: IntegerNetwork, tau: int, T: int, keep_layers: bool) -> Trace:
    """The trace of zero images, with the right shapes."""
    layers = []
    for layer, neurons, shape in zip(
        network.layers[:-1], network.neuron_shapes, network.shapes, strict=False
    ):
        worth = np.array([0] * tau + [1] * T) if layer.bits is None else 1 << np.arange(layer.bits)
        layers.append(
            LayerTrace(
                np.zeros((0, len(worth), *shape), bool),
                np.zeros((0, *neurons), np.int64),
                np.zeros((0, *neurons), bool),
                worth,
            )
        )
    kept = tuple(layers) if keep_layers else ()
    return Trace(kept, np.zeros((0, network.classes), np.int64), np.zeros(0, np.int64))
