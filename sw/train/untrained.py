"""Deep networks with random weights, for the speed of networks that nobody has trained yet.

Weights are random, thresholds and biases are calibrated, layer by layer, so that a given share of
the neurons fires; a network of the same shape that was trained makes as many events then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from residuum.sw.data.data_sets import PUBLISHED_ONLY, Access
from residuum.sw.data.images import load_images
from residuum.sw.errors import ResiduumError
from residuum.sw.network.forward import convolve
from residuum.sw.network.graph import INPUT, Source
from residuum.sw.network.integer_network import (
    MAX_WEIGHT_BITS,
    MIN_WEIGHT_BITS,
    RADIX,
    IntegerNetwork,
    Layer,
)
from residuum.sw.train.deep import ARCHITECTURES, deep_definition
from residuum.sw.train.models import ConvDefinition

# Shift of the second source, as of the engine, and the weight of an added map.
SHIFT = 4
_IDENTITY = 2
# Standard deviation of the weights, in shares of the largest.
_SPREAD = 0.4
# Largest share of the neurons that is clipped to the largest number.
_CLIPPED = 0.01

# Images of CIFAR-10 for the calibration.
CALIBRATION = 16

UNTRAINED = tuple(ARCHITECTURES)


def untrained_for_cifar10(
    architecture: str, *, bits: int = 4, access: Access = PUBLISHED_ONLY
) -> IntegerNetwork:
    """`untrained_network`, calibrated on training images of CIFAR-10.

    Raises
    ------
    ResiduumError
        If the number of bits is out of range, or the images cannot be had.
    """
    if not MIN_WEIGHT_BITS <= bits <= MAX_WEIGHT_BITS:
        raise ResiduumError(
            f"--bits must be {MIN_WEIGHT_BITS} to {MAX_WEIGHT_BITS} for random weights, not {bits}"
        )
    found = load_images("cifar10", split="training", at_most=CALIBRATION, access=access)
    with access.reporter.task(f"random weights for {architecture}"):
        network = untrained_network(architecture, found.images, bits=bits)
    return replace(network, metadata={**network.metadata, "dataset": "cifar10"})


def untrained_network(
    architecture: str,
    images: np.ndarray,
    *,
    bits: int = 4,
    map_bits: int = 4,
    firing: float = 0.45,
    seed: int = 0,
) -> IntegerNetwork:
    """A network in radix code for CIFAR-10 with random weights.

    Parameters
    ----------
    architecture
        One of `UNTRAINED`.
    images
        uint8 (N, 3, 32, 32), for the calibration.
    bits, map_bits
        Bits of a weight, and of a number in a map.
    firing
        Share of the neurons of each layer that fire, on ``images``.
    """
    definition = deep_definition(architecture, "cifar10")
    random = np.random.default_rng(seed)
    largest = (1 << bits - 1) - 1

    def weights(*shape: int) -> np.ndarray:
        normal = random.normal(0, _SPREAD * largest, shape)
        result: np.ndarray = np.clip(np.rint(normal), -largest, largest).astype(np.int32)
        return result

    layers: list[Layer] = []
    maps: dict[int, Tensor] = {INPUT: torch.from_numpy(images).double()}
    before, last = INPUT, INPUT
    for number, hidden in enumerate(definition.hidden):
        sources = _sources(hidden, maps, last, before, weights)
        current = _current(sources, maps)
        threshold, bias = _calibrated(current, firing, map_bits)
        count = hidden.channels
        layers.append(
            Layer(
                name=f"conv{number + 1}",
                sources=tuple(sources),
                bias=np.full(count, bias),
                threshold=np.full(count, threshold),
                fraction_bits=0,
                shift=SHIFT if len(sources) > 1 else 0,
                bits=map_bits,
            )
        )
        numbers = ((current + bias + (threshold >> 1)) / threshold).floor()
        maps[number] = numbers.clamp(0, (1 << map_bits) - 1)
        before, last = last, number
    channels, height, width = maps[last].shape[1:]
    head = Source(
        weights(definition.classes, channels, height // definition.pool, width // definition.pool),
        last,
        pool=(definition.pool, definition.pool),
    )
    layers.append(Layer("classifier", (head,), np.zeros(definition.classes, np.int64), None, 0))
    return IntegerNetwork(
        name=f"{architecture}-untrained",
        input_shape=definition.input_shape,
        layers=tuple(layers),
        weight_bits=bits,
        code=RADIX,
    )


def _sources(
    hidden: ConvDefinition,
    maps: Mapping[int, Tensor],
    last: int,
    before: int,
    weights: Callable[..., np.ndarray],
) -> list[Source]:
    """The convolution, and the map that the layer before reads."""
    inputs, kernel = maps[last].shape[1], hidden.kernel
    sources = [
        Source(
            weights(hidden.channels, inputs, kernel, kernel),
            last,
            stride=(hidden.stride, hidden.stride),
            padding=(hidden.padding,) * 4,
            pool=(hidden.pool, hidden.pool),
        )
    ]
    if shortcut := hidden.shortcut:
        added, stride = maps[before].shape[1], (shortcut.stride, shortcut.stride)
        if added == hidden.channels and shortcut.stride == 1:
            weight = np.eye(added, dtype=np.int32)[:, :, None, None] * _IDENTITY
        else:
            weight = weights(hidden.channels, added, 1, 1)
        sources.append(Source(weight, before, stride=stride))
    return sources


def _current(sources: Sequence[Source], maps: Mapping[int, Tensor]) -> Tensor:
    total = torch.zeros(())
    for index, source in enumerate(sources):
        weight = torch.from_numpy(source.weight.astype(np.float64)) * (1 << SHIFT * index)
        total = total + convolve(source, maps[source.map], weight, pooling="sum")
    return total


def _calibrated(current: Tensor, firing: float, map_bits: int) -> tuple[int, int]:
    """Threshold and bias."""
    values = np.sort(current.numpy().reshape(-1))
    lowest = int(values[int(len(values) * (1 - firing))])
    highest = int(values[int(len(values) * (1 - _CLIPPED))])
    threshold = max(2, (highest - lowest) // ((1 << map_bits) - 1))
    return threshold, (threshold + 1 >> 1) - lowest
