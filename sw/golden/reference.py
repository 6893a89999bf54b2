"""The reference for a spiking network: the same network with rounded activations, in rates.

The rate r (0..1) of a neuron is its activation divided by lambda. In rates, every layer has the
threshold 1, and its activation is a staircase of L levels (QCFS):

    z = sum of e * r_in + beta;    r = clip(floor(z*L + 1/2)/L, 0, 1)

With the amplitude A of an input of rate 1 (docs/arithmetic.md),

    e = w * A / lambda,     beta = b / lambda       from a float network
    e = W * 2**f * n / TH,  beta = B / TH           from an integer network in rate code (n = 1)
    e = W * 2**f * n / (TH*L),  beta = B / (TH*L)   from an integer network in radix code

where n is the largest number of the map that the source reads, 2**K - 1 in radix code, L = 2**K - 1
of the layer's own map, and W of a second source counts 2**h times. So two networks can be compared
layer by layer, independently of their weight scales. In radix code the reference of an integer
network is its golden model, in rates. Pixels are u = 0..255. The output layer has no threshold: its
z are the logits, up to a common factor.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FORMAT as FLOAT_FORMAT
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import convolve, max_pooled
from residuum.sw.network.graph import HALF, IMAGE, INPUT, MaxPool, Pad, Source, as_entry, walk
from residuum.sw.network.integer_network import LARGEST_PIXEL, RADIX, IntegerNetwork, Layer
from residuum.sw.network.library import float_file_of

# Far above the rounding errors of float64 and below 1/TH: where I/TH is a whole number and a half,
# as happens in integers, the staircase rounds up.
_TIE = 2.0**-38


@dataclass(frozen=True)
class RateLayer:
    """A layer in rates.

    Attributes
    ----------
    sources
        Their weights are e, float64 (out, in / groups, kernel_h, kernel_w).
    bias
        beta, float64 (out,).
    output
        Whether the layer is the output layer, which has no neurons.
    levels
        L of the activation; None: it is not rounded.
    max_pool
        Maximum over windows of the rates.
    start
        Start potential of the neurons, 0 or 1/2 of the threshold: what the staircase adds to z*L.
    """

    name: str
    sources: tuple[Source, ...]
    bias: Tensor
    output: bool
    levels: int | None
    max_pool: MaxPool | None = None
    start: float = 0.5

    def drive(self, inputs: Sequence[Tensor]) -> Tensor:
        """z, float64 (N, out, H', W'), for the rates or pixels (N, C, H, W) of each source."""
        weights = [torch.from_numpy(source.weight) for source in self.sources]
        # Pooling sums; e includes the division.
        parts = [
            convolve(source, rates.to(torch.float64), weight, bias, pooling="sum")
            for source, rates, weight, bias in zip(
                self.sources, inputs, weights, (self.bias, None), strict=False
            )
        ]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def activation(self, z: Tensor) -> Tensor:
        """The rates of the map that the layer writes, for z (N, C, H, W)."""
        return max_pooled(self.max_pool, staircase(z, self.levels, self.start))


def staircase(z: Tensor, levels: int | None, start: float = 0.5) -> Tensor:
    """QCFS with threshold 1: ``clip(floor(z*L + 1/2)/L, 0, 1)``, any shape.

    ``start`` stands for the 1/2. Without levels, ``clip(z, 0, 1)``.
    """
    if levels is None:
        return torch.clamp(z, 0.0, 1.0)
    return torch.clamp(torch.floor(z * levels + start) / levels, 0.0, 1.0)


@dataclass(frozen=True)
class Reference:
    """A network of rounded activations.

    Attributes
    ----------
    levels
        L of the activations; the largest, if those of the layers differ.
    source
        Origin of the reference, for the reader: "the float network", ...
    own
        Whether the reference was made from the integers of the network under test. Then it has the
        same rounding errors.
    pad
        Border around the picture, in pixels u = 0..255.
    input
        "image" or "spikes".
    """

    layers: tuple[RateLayer, ...]
    levels: int
    source: str
    own: bool = False
    pad: Pad | None = None
    input: str = IMAGE

    def rates(self, images: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Rates (N, C, H, W) of every hidden layer's map and logits (N, classes).

        ``images`` are uint8 (N, C, H, W), or spike trains (N, S, C, H, W), whose rate is their
        mean.
        """
        rates: list[Tensor] = []
        logits = self._run(images, rates)
        return rates, logits

    def logits_from(self, index: int, images: np.ndarray, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, classes), if the layers before ``index`` write ``maps``.

        ``maps`` are the rates of hidden layers 0 .. ``index`` - 1 at least; later ones are ignored.
        """
        return self._run(images, list(maps[:index]))

    def _run(self, images: np.ndarray, maps: list[Tensor]) -> Tensor:
        """The logits; hidden layers that ``maps`` lacks are computed and appended to it."""

        def step(index: int, layer: RateLayer, inputs: list[Tensor]) -> Tensor:
            if layer.output:
                return layer.drive(inputs)
            if index == len(maps):
                maps.append(layer.activation(layer.drive(inputs)))
            return maps[index]

        with torch.inference_mode():
            return walk(self.layers, self.inputs(images), step).flatten(1)

    def inputs(self, images: np.ndarray) -> Tensor:
        """The map `INPUT`: pixels with their border, or rates of spike trains, (N, C, H, W)."""
        if self.input != IMAGE:
            return torch.from_numpy(np.asarray(images, np.float64).mean(axis=1))
        images = np.ascontiguousarray(images)
        if self.pad is not None:
            images = self.pad.apply(images.astype(np.float64))
        return torch.from_numpy(images)

    def batches(self, images: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Predictions of the images, int64 (size,) per batch."""
        for first in range(0, len(images), size):
            logits = self.rates(images[first : first + size])[1]
            yield logits.argmax(dim=1).numpy()


def from_integers(network: IntegerNetwork, levels: int, source: str, own: bool) -> Reference:
    """The reference with the weights and thresholds of an integer network.

    ``levels`` is L in rate code; in radix code it follows from the bits of each map.
    """
    layers = []
    for layer in network.layers:
        steps = 1 if layer.bits is None else (1 << layer.bits) - 1
        threshold = 1.0 if layer.threshold is None else layer.threshold.astype(np.float64) * steps
        unit = np.broadcast_to(1 / np.asarray(threshold), (layer.out_channels,))
        sources = tuple(
            # A pixel stays u, so its unit is 1.
            _scaled(read, unit * (factor * (1 if _is_image(network, read) else largest)))
            for read, factor, largest in zip(
                layer.sources, layer.factors, network.largest_inputs(layer), strict=True
            )
        )
        layers.append(
            RateLayer(
                layer.name,
                sources,
                torch.from_numpy(layer.bias * unit),
                layer.threshold is None,
                steps if network.code == RADIX else levels,
                layer.max_pool,
                _start(layer) + (_TIE if network.code == RADIX else 0.0),
            )
        )
    return _reference(layers, levels, source, own, network.pad, network.input)


def from_float(
    network: FloatNetwork, source: str, levels: Sequence[int | None] | None = None
) -> Reference:
    """The reference with the weights and thresholds of a float network.

    ``levels`` are L of each layer; None takes the network's own.

    Raises ``ResiduumError`` if a layer is a plain ReLU, whose range is not known.
    """
    of_layers = levels or [network.levels] * len(network.layers)
    worth = {INPUT: 1 / LARGEST_PIXEL if network.input == IMAGE else 1.0}
    layers = []
    for index, (layer, steps) in enumerate(zip(network.layers, of_layers, strict=True)):
        if layer.threshold == math.inf:
            raise ResiduumError(
                f"layer {layer.name!r} of network {network.name!r} is a plain ReLU, whose range is "
                f"not known; give a calibrated network"
            )
        threshold = 1.0 if layer.threshold is None else layer.threshold
        unit = np.full(layer.out_channels, 1 / threshold)
        sources = tuple(
            _scaled(read, unit * worth[read.map] / read.pool_area) for read in layer.sources
        )
        layers.append(
            RateLayer(
                layer.name,
                sources,
                torch.from_numpy(layer.bias * unit),
                layer.threshold is None,
                steps,
                layer.max_pool,
                _start(layer),
            )
        )
        worth[index] = threshold
    pad = network.pad and replace(
        network.pad, pixel=tuple(value * LARGEST_PIXEL for value in network.pad.pixel)
    )
    return _reference(layers, 1, source, False, pad, network.input)


def _start(layer: Layer | FloatLayer) -> float:
    return 0.5 if layer.start == HALF else 0.0


def _scaled(source: Source, unit: np.ndarray) -> Source:
    """The source with weights times ``unit`` (out,), float64."""
    return replace(source, weight=source.weight * unit[:, None, None, None])


def _is_image(network: IntegerNetwork, source: Source) -> bool:
    return source.map == INPUT and network.input == IMAGE


def _reference(
    layers: list[RateLayer], levels: int, source: str, own: bool, pad: Pad | None, kind: str
) -> Reference:
    """``levels`` is L of a network without hidden layers, or without rounding."""
    found = [layer.levels for layer in layers if not layer.output and layer.levels is not None]
    return Reference(tuple(layers), max(found, default=levels), source, own, pad, kind)


def own_levels(network: IntegerNetwork, T: int) -> int:
    """L of the network's training, from its metadata, or T if it is not there."""
    text = network.metadata.get("levels", "")
    return int(text) if text.isdecimal() and len(text) < 5 and int(text) > 0 else T


def find_reference(
    network: IntegerNetwork, model: str, *, against: Path | None, T: int
) -> Reference:
    """The reference for ``network``, which the user calls ``model``.

    ``against`` is the file of a float or integer network with the same layers. None selects the
    float network in the folder of the model or, if there is none, the network's own integers.

    Raises
    ------
    ResiduumError
        If the file cannot be read, or holds a network with other layers.
    """
    path = against or float_file_of(network, model)
    if against is None and not path.exists():
        return from_integers(
            network, own_levels(network, T), "the network's own integers", own=True
        )
    if _is_float(path):
        found = FloatNetwork.load(path)
        reference = from_float(found, "the float network", _levels_for(network, found, T))
    else:
        other = IntegerNetwork.load(path)
        source = f"the {other.weight_bits}-bit network in {path.name}"
        reference = from_integers(other, own_levels(other, T), source, own=False)
    _check_same_layers(network, reference, path)
    return reference


def _is_float(path: Path) -> bool:
    """Whether a file has the header of a float network. The loader reports damaged files."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return FLOAT_FORMAT in str(archive["header"])
    except Exception:
        return False


def _levels_for(network: IntegerNetwork, found: FloatNetwork, T: int) -> list[int | None]:
    """L of each layer: what the maps of ``network`` can hold, or L of the training."""
    if network.code == RADIX and len(network.layers) == len(found.layers):
        return [None if layer.bits is None else (1 << layer.bits) - 1 for layer in network.layers]
    return [found.levels or T] * len(found.layers)


def _check_same_layers(network: IntegerNetwork, reference: Reference, path: Path) -> None:
    if len(reference.layers) != len(network.layers):
        raise ResiduumError(
            f"{path} has {len(reference.layers)} layers and {network.name!r} has "
            f"{len(network.layers)}; they are not the same network"
        )
    for ours, theirs in zip(network.layers, reference.layers, strict=True):
        if (_geometry(ours.sources), ours.max_pool) != (_geometry(theirs.sources), theirs.max_pool):
            raise ResiduumError(
                f"{path} is not the same network as {network.name!r}: layer {ours.name!r} has "
                f"another source, weight shape, stride, padding or pool there"
            )


def _geometry(sources: Sequence[Source]) -> list[object]:
    return [(source.weight.shape, as_entry(source)) for source in sources]
