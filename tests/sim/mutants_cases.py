"""The networks, images and engine configurations on which the mutants run.

Four small cases run without a reset between them; each docstring says what the case covers. With
four steps, the engine processes pixels in two passes. The feature memory is so small that rows are
reused.
"""

from typing import Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.engine import Case
from residuum.sw.network.integer_network import IntegerNetwork, Layer
from tests.sw.layers import layer

CONFIG = EngineConfig(
    lanes=4,
    tile_lanes=2,
    steps=4,
    weight_rows=1024,
    feature_rows=512,
    channel_groups=16,
    table_entries=128,
    layers=8,
)

# With 16 steps, the neurons take longer than the fetch of the next layer's descriptor.
DEEP = CONFIG.with_changes(lanes=2, steps=16)

# With one tile, a window drains so slowly that other windows end in the meantime.
WIDE = CONFIG.with_changes(tile_lanes=4)


def cases() -> list[Case]:
    """The same networks and images in every process."""
    return [_strided(), _sparse(), _pooled(), _probing()]


def _strided() -> Case:
    """Stride and padding on pixels; kernels, maps and pools that are not square; all four steps."""
    network = _network(
        (2, 7, 5),
        {"out": 5, "kernel": (3, 2), "stride": 2, "padding": 1},
        {"out": 6, "kernel": (2, 3), "padding": 1},
        {"out": 6, "kernel": (2, 3), "pool": (2, 1)},
        seed=1,
    )
    return Case(network, _images(network, 2, seed=1), tau=2, T=2)


def _sparse() -> Case:
    """Images that are mostly 0, so that windows without events share one result, in several groups
    of channels. One of the four steps is unused, and tau differs from T."""
    network = _network(
        (1, 6, 9),
        {"out": 8, "kernel": (1, 1), "quiet": True, "eager": True},
        {"out": 6, "kernel": (2, 1), "quiet": True, "restless": True},
        {"out": 7, "kernel": (3, 2), "stride": 2, "padding": 1},
        {"out": 3, "kernel": (1, 2), "pool": (3, 2)},
        seed=2,
    )
    images = _images(network, 3, seed=2)
    images[0] *= _images(network, 1, seed=5)[0] > 0
    # The last window of the second layer has no events, the window before it has some.
    images[0, :, 4:, -2:] = 255, 0
    images[1, :, 2:, :6] = 0
    images[2] = 0
    return Case(network, images, tau=1, T=2)


def _pooled() -> Case:
    """Pooled pixels, no probe, more classes than lanes, equal and negative logits."""
    network = _network(
        (3, 8, 6),
        {"out": 3, "kernel": (2, 1), "pool": (2, 3)},
        {"out": 9, "kernel": (3, 2), "tied": True},
        seed=3,
    )
    return Case(network, _images(network, 3, seed=3), tau=0, T=3)


def _probing() -> Case:
    """A probe that is longer than the inference of a single step."""
    network = _network(
        (1, 3, 10),
        {"out": 4, "kernel": (1, 3), "stride": 2},
        {"out": 5, "kernel": (1, 1)},
        {"out": 5, "kernel": (2, 4)},
        seed=4,
    )
    return Case(network, _images(network, 2, seed=4), tau=3, T=1)


def _network(shape: tuple[int, int, int], *specs: dict[str, Any], seed: int) -> IntegerNetwork:
    """Layers with these geometries; the last one is the output layer.

    The first channel of a layer with spikes as input has the weights -1, 0 and 1 and a threshold of
    two weights, so that potentials often equal the threshold or 0. The second channel has the same
    weights and a threshold larger by one, so that V0 is rounded. A ``quiet`` layer has no negative
    weight and no positive bias: without input spikes it does not fire. The first channel of an
    ``eager`` layer fires at any positive potential; the last channel of a ``restless`` layer fires
    in every step. In a ``tied`` layer pairs of classes have equal logits, and all are negative.
    """
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    input_shape = shape
    for index, spec in enumerate(specs):
        last = index == len(specs) - 1
        out, channels = spec["out"], shape[0]
        weight = rng.integers(-40, 41, (out, channels, *spec["kernel"]))
        fraction = 0 if index == 0 else CONFIG.fraction_bits
        unit = 255 if index == 0 else 1 << fraction
        reach = 10 * unit * int(np.sqrt(weight[0].size) + 1)
        bias = rng.integers(-reach // 8, reach // 8, out)
        threshold = rng.integers(reach // 2, reach + 1, out)
        if index > 0 and not last:
            weight[:2] = np.sign(weight[:2])
            bias[:2], threshold[:2] = 0, [2 << fraction, (2 << fraction) + 1]
        if spec.get("quiet"):
            weight, bias = np.abs(weight), -np.abs(bias)
        if spec.get("eager"):
            threshold[0] = 1
        if spec.get("restless"):
            bias[-1] = threshold[-1]
        if spec.get("tied"):
            order = np.arange(out) // 2 * 2
            weight, bias = weight[order], bias[order] - 2 * reach
        layers.append(
            layer(
                index,
                f"layer{index + 1}",
                weight=weight,
                bias=bias,
                threshold=None if last else threshold,
                fraction_bits=fraction,
                stride=spec.get("stride", 1),
                padding=spec.get("padding", 0),
                pool=spec.get("pool", (1, 1)),
            )
        )
        shape = layers[-1].source.output_shape(shape)
    return IntegerNetwork(f"case{seed}", input_shape, tuple(layers), 8)


def _images(network: IntegerNetwork, count: int, *, seed: int) -> np.ndarray:
    """uint8 (count, C, H, W), half of the pixels 0, as in drawings."""
    rng = np.random.default_rng(seed + 100)
    images = rng.integers(1, 256, (count, *network.input_shape), dtype=np.uint8)
    return images * rng.integers(0, 2, images.shape, dtype=np.uint8)
