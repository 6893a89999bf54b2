"""A small network in radix code for the netlists, with the kinds of layers that no chain has."""

from typing import Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sw.network.graph import INPUT, MaxPool, Pad, Shape, Source
from residuum.sw.network.integer_network import LARGEST_PIXEL, RADIX, IntegerNetwork, Layer

CLASSES = 10
_LARGEST_WEIGHT = 40
# Of an identity.
_WEIGHT = 20
_POOL = MaxPool((3, 3), (2, 2), (1, 1, 1, 1))
_MOST_BITS = 4


def graph_network(shape: Shape, config: EngineConfig) -> IntegerNetwork:
    """A network for images of a shape, (C, H, W), with random but always the same weights.

    The first two maps have two channels and nearly twice the size of the image, so that an engine
    with little feature memory packs them; their lines are odd, so that windows are not wide. The
    third layer adds a projection of the first map with a shift, and takes a maximum; the fifth adds
    the third map in a block of its own, and may replace it.
    """
    rng = np.random.default_rng(0)
    channels, height, width = shape
    bits = min(config.steps, _MOST_BITS)
    sides = height // 2, height - height // 2, width // 2, width - width // 2 - 1
    same: dict[str, Any] = {"padding": (1, 1, 1, 1)}
    half: dict[str, Any] = {"padding": (1, 1, 1, 1), "stride": (2, 2)}
    last = -(-height // 4), -(-width // 4)

    def read(number: int, out: int, inputs: int, kernel: int = 3, **geometry: Any) -> Source:
        size = (out, inputs, kernel, kernel) if number < 5 else (out, inputs, *last)
        return Source(_random(rng, size), number, **geometry)

    identity = Source(np.eye(6, dtype=np.int64).reshape(6, 6, 1, 1) * _WEIGHT, 2)
    small = Source(_random(rng, (6, 2, 1, 1)) >> config.shift_bits, 0, stride=(2, 2))
    sources = [
        (read(INPUT, 2, channels, **same),),
        (read(0, 2, 2, **same),),
        (read(1, 6, 2, **half), small),
        (read(2, 6, 6, **same),),
        (read(3, 6, 6, **same), identity),
        (read(4, 9, 6, **half),),
        (read(5, CLASSES, 9),),
    ]
    layers = []
    for index, of_layer in enumerate(sources):
        output = index == len(sources) - 1
        largest = LARGEST_PIXEL if index == 0 else (1 << bits) - 1
        # A current that is seldom exceeded.
        reach = _LARGEST_WEIGHT * largest * (int(np.sqrt(of_layer[0].weight[0].size)) + 1) // 4
        layers.append(
            Layer(
                f"layer{index + 1}",
                of_layer,
                bias=rng.integers(-reach // 8, reach // 8 + 1, of_layer[0].out_channels),
                threshold=None
                if output
                else rng.integers(reach // 2, reach + 1, of_layer[0].out_channels) + 1 >> bits - 1,
                fraction_bits=0,
                shift=config.shift_bits if index == 2 else 0,
                bits=None if output else bits,
                max_pool=_POOL if index == 2 else None,
            )
        )
    pad = Pad(sides, (0.0,) * channels)
    return IntegerNetwork("graph", shape, tuple(layers), 8, RADIX, pad=pad)


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a shape."""
    return rng.integers(-_LARGEST_WEIGHT, _LARGEST_WEIGHT + 1, shape)
