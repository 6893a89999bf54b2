"""The reference for a spiking network: the same network with QCFS activations, in firing rates.

The rate r (0..1) of a neuron is its activation divided by lambda. In rates, every layer has the
threshold 1:

    z = sum of e * r_in + beta;    r = clip(floor(z*L + 1/2)/L, 0, 1)

With the amplitude A of one input spike (docs/arithmetic.md),

    e = w * A / lambda,  beta = b / lambda       from a float network
    e = W * 2**f / TH,   beta = B / TH           from an integer network

so two networks can be compared layer by layer, independently of their weight scales. Pixels are
u = 0..255. The output layer has no threshold: its z are the logits, up to a common factor.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residuum.sw.errors import ResiduumError
from residuum.sw.network.convolution import convolve
from residuum.sw.network.float_network import FORMAT as FLOAT_FORMAT
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import LARGEST_PIXEL, IntegerNetwork
from residuum.sw.network.library import float_file


@dataclass(frozen=True)
class RateLayer:
    """A layer in rates.

    Attributes
    ----------
    weight, bias
        e and beta, float64 (out, in, kernel_h, kernel_w) and (out,).
    output
        Whether the layer is the output layer, which has no neurons.
    """

    name: str
    weight: Tensor
    bias: Tensor
    output: bool
    stride: int
    padding: int
    pool: tuple[int, int]

    def drive(self, rates: Tensor) -> Tensor:
        """z, float64 (N, out, H', W'), for rates or pixels (N, C, H, W)."""
        # Pooling sums; e includes the division.
        return convolve(self, rates.to(torch.float64), self.weight, self.bias, pooling="sum")


def staircase(z: Tensor, levels: int) -> Tensor:
    """QCFS with threshold 1: ``clip(floor(z*L + 1/2)/L, 0, 1)``, any shape."""
    return torch.clamp(torch.floor(z * levels + 0.5) / levels, 0.0, 1.0)


@dataclass(frozen=True)
class Reference:
    """A network of QCFS activations.

    Attributes
    ----------
    levels
        L of the activations.
    source
        Origin of the reference, for the reader: "the float network", ...
    own
        Whether the reference was made from the integers of the network under test. Then it has the
        same rounding errors.
    """

    layers: tuple[RateLayer, ...]
    levels: int
    source: str
    own: bool = False

    def rates(self, images: np.ndarray) -> tuple[list[Tensor], Tensor]:
        """Rates (N, C, H, W) of every hidden layer and logits (N, classes) of uint8 images."""
        x, rates = torch.from_numpy(np.ascontiguousarray(images)), []
        with torch.inference_mode():
            for layer in self.layers[:-1]:
                x = staircase(layer.drive(x), self.levels)
                rates.append(x)
            return rates, self.layers[-1].drive(x).flatten(1)

    def logits_from(self, index: int, rates: Tensor) -> Tensor:
        """Logits (N, classes) of the layers from ``index`` on, for the input ``rates``."""
        with torch.inference_mode():
            for layer in self.layers[index:-1]:
                rates = staircase(layer.drive(rates), self.levels)
            return self.layers[-1].drive(rates).flatten(1)

    def batches(self, images: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Predictions of the images, int64 (size,) per batch."""
        for first in range(0, len(images), size):
            logits = self.rates(images[first : first + size])[1]
            yield logits.argmax(dim=1).numpy()


def from_integers(network: IntegerNetwork, levels: int, source: str, own: bool) -> Reference:
    """The reference with the weights and thresholds of an integer network."""
    layers = []
    for layer in network.layers:
        threshold = 1.0 if layer.threshold is None else layer.threshold.astype(np.float64)
        unit = np.broadcast_to(1 / np.asarray(threshold), (layer.out_channels,))
        weight = layer.weight * (unit * 2**layer.fraction_bits)[:, None, None, None]
        layers.append(
            RateLayer(
                layer.name,
                torch.from_numpy(weight),
                torch.from_numpy(layer.bias * unit),
                layer.threshold is None,
                layer.stride,
                layer.padding,
                layer.pool,
            )
        )
    return Reference(tuple(layers), levels, source, own)


def from_float(network: FloatNetwork, source: str) -> Reference:
    """The reference with the weights and thresholds of a float network."""
    layers = []
    amplitude = 1 / LARGEST_PIXEL
    for layer in network.layers:
        threshold = 1.0 if layer.threshold is None else layer.threshold
        weight = layer.weight * (amplitude / math.prod(layer.pool) / threshold)
        layers.append(
            RateLayer(
                layer.name,
                torch.from_numpy(weight),
                torch.from_numpy(layer.bias / threshold),
                layer.threshold is None,
                layer.stride,
                layer.padding,
                layer.pool,
            )
        )
        amplitude = threshold
    return Reference(tuple(layers), network.levels, source)


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
    path = against or float_file(model)
    if against is None and not path.exists():
        return from_integers(
            network, own_levels(network, T), "the network's own integers", own=True
        )
    if _is_float(path):
        reference = from_float(FloatNetwork.load(path), "the float network")
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


def _check_same_layers(network: IntegerNetwork, reference: Reference, path: Path) -> None:
    if len(reference.layers) != len(network.layers):
        raise ResiduumError(
            f"{path} has {len(reference.layers)} layers and {network.name!r} has "
            f"{len(network.layers)}; they are not the same network"
        )
    for ours, theirs in zip(network.layers, reference.layers, strict=True):
        shapes = (
            (ours.weight.shape, ours.stride, ours.padding, ours.pool),
            (tuple(theirs.weight.shape), theirs.stride, theirs.padding, theirs.pool),
        )
        if shapes[0] != shapes[1]:
            raise ResiduumError(
                f"{path} is not the same network as {network.name!r}: layer {ours.name!r} has "
                f"another weight shape, stride, padding or pool there"
            )
