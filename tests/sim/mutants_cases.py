"""The networks, images and engine configurations on which the mutants run.

A few small cases run without a reset between them; each docstring says what the case covers. With
four steps, the engine processes pixels in two passes. The feature memory is so small that rows are
reused, and that maps of few channels are packed.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.engine import Case
from residuum.sw.network.corrections import CARRY, MASK
from residuum.sw.network.graph import HALF, IMAGE, INPUT, SPIKES, ZERO, MaxPool, Source
from residuum.sw.network.integer_network import RADIX, RATE, IntegerNetwork, Layer
from tests.sw.layers import layer
from tests.sw.networks import identity

CONFIG = EngineConfig(
    lanes=4,
    tile_lanes=2,
    event_width=2,
    steps=4,
    weight_rows=2048,
    feature_rows=208,
    parameter_rows=128,
    logit_rows=12,
    table_entries=256,
    layers=8,
)

# With one tile, a window drains so slowly that other windows end in the meantime.
WIDE = CONFIG.with_changes(tile_lanes=4, event_width=1)

# Some of the networks fit this weight store, the others read their weights from an external memory.
RING = CONFIG.with_changes(weight_rows=128, external=14)

CONFIGS = {"small": CONFIG, "wide": WIDE, "ring": RING}


@cache
def cases() -> list[Case]:
    """The same networks and images in every process."""
    rate = [_strided(), _sparse(), _pooled(), _probing(), _packed(), _carrying()]
    return [*rate, _residual(), _maximum()]


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


def _packed() -> Case:
    """Packed maps: lines that do not fill their last row, a second source that starts within a row,
    lanes without a channel between the positions, layers that share weight rows."""
    network = _graph(
        (1, 13, 9),
        {"sources": [_conv(INPUT, (2, 1, 2, 3), padding=(1, 0, 1, 1))]},
        {"sources": [_conv(0, (1, 2, 3, 2), padding=(1, 1, 0, 1))]},
        {"sources": [_conv(1, (2, 1, 2, 2), padding=(0, 1, 1, 0)), _conv(0, (2, 2, 1, 1))]},
        {"sources": [_conv(2, (3, 2, 3, 3), stride=(3, 3))]},
        {"sources": [_conv(3, (5, 3, 4, 3))]},
        seed=5,
    )
    return Case(network, _images(network, 2, seed=5), tau=2, T=2, correction=MASK)


def _carrying() -> Case:
    """The correction *carry*, spike trains as input, neurons that start at zero or fire strictly
    above their threshold; potentials often equal the threshold."""
    network = _graph(
        (3, 4, 5),
        {"sources": [_conv(INPUT, (5, 3, 2, 2))], "ternary": True, "strict": True, "start": ZERO},
        {"sources": [_conv(0, (4, 5, 1, 2))], "ternary": True, "start": ZERO},
        {"sources": [_conv(1, (4, 4, 2, 2))], "ternary": True, "strict": True},
        {"sources": [_conv(2, (4, 4, 2, 2))]},
        seed=6,
        read=SPIKES,
    )
    trains = np.random.default_rng(106).random((3, 4, *network.input_shape)) < 0.4
    return Case(network, trains, tau=2, T=2, correction=CARRY)


def _residual() -> Case:
    """Radix code with maps of different bits: a sum written over the map that it adds, an option-A
    shortcut, a projection with a shift, blocks of zeros (identities, a depthwise and a grouped
    convolution), windows without events, more classes than lanes."""
    network = _graph(
        (2, 5, 4),
        {
            "sources": [_conv(INPUT, (6, 2, 2, 2), padding=(1, 0, 0, 1))],
            "bits": 3,
            "fraction": 4,
            "quiet": True,
        },
        {"sources": [_conv(0, (7, 6, 1, 2), padding=(0, 0, 1, 0))], "bits": 2, "quiet": True},
        {"sources": [_conv(1, (6, 7, 2, 1), padding=(1, 0, 0, 0)), _pass_on(0, 6, 6)], "bits": 4},
        {"sources": [_conv(2, (9, 6, 3, 2), stride=(2, 2), padding=(1, 1, 0, 0))], "bits": 3},
        {
            "sources": [
                _conv(3, (9, 9, 2, 2), padding=(1, 0, 0, 1)),
                _pass_on(2, 9, 6, stride=(2, 2)),
            ],
            "bits": 4,
        },
        {
            "sources": [_conv(4, (9, 1, 2, 3), groups=9, padding=(0, 1, 1, 1))],
            "bits": 4,
            "fraction": 4,
        },
        {
            "sources": [
                _conv(5, (9, 3, 1, 2), groups=3, padding=(0, 0, 1, 0)),
                _conv(4, (9, 9, 1, 1)),
            ],
            "bits": 4,
            "shift": CONFIG.shift_bits,
        },
        {"sources": [_conv(6, (10, 9, 3, 2))]},
        seed=7,
        code=RADIX,
    )
    images = _images(network, 2, seed=7)
    images[1, :, :3] = 0
    return Case(network, images, tau=0, T=1)


def _maximum() -> Case:
    """Max-pooling: windows that overlap, reach over the border, or lie in a single line; numbers
    that use all slots."""
    network = _graph(
        (2, 7, 6),
        {
            "sources": [_conv(INPUT, (5, 2, 2, 3), padding=(1, 0, 1, 1))],
            "bits": 4,
            "max_pool": MaxPool((3, 2), (2, 2), (1, 1, 0, 0)),
        },
        {
            "sources": [_conv(0, (6, 5, 2, 2), padding=(1, 0, 0, 1))],
            "bits": 4,
            "max_pool": MaxPool((1, 2), (1, 1), (0, 0, 1, 0)),
        },
        {"sources": [_conv(1, (4, 6, 4, 3))]},
        seed=8,
        code=RADIX,
    )
    return Case(network, _images(network, 2, seed=8), tau=0, T=1)


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


def _conv(number: int, shape: tuple[int, int, int, int], **geometry: Any) -> Source:
    """A source that reads a map with weights of this shape, still 0."""
    return Source(np.zeros(shape, np.int64), number, **geometry)


def _pass_on(number: int, out: int, channels: int, **geometry: Any) -> Source:
    """A source that hands the channels of a map on, to the last of ``out`` channels."""
    return Source(identity(out, channels, 20, out - channels), number, **geometry)


def _graph(
    shape: tuple[int, int, int],
    *specs: dict[str, Any],
    seed: int,
    code: str = RATE,
    read: str = IMAGE,
) -> IntegerNetwork:
    """Layers with these sources, `_conv` or `_pass_on`; the last one is the output layer.

    ``bits``, ``max_pool``, ``shift``, ``start`` and ``strict`` are those of `Layer`, ``fraction``
    its fraction bits in radix code. A ``ternary`` layer has the weights -1, 0 and 1 and thresholds
    of about two weights. A ``quiet`` layer has no negative weight and no positive bias.
    """
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    # The largest number of each map.
    most = {INPUT: 255 if read == IMAGE else 1}
    for index, spec in enumerate(specs):
        last, shift, bits = index == len(specs) - 1, spec.get("shift", 0), spec.get("bits")
        numbers = code == RADIX or (index == 0 and read == IMAGE)
        fraction = spec.get("fraction", 0) if numbers else CONFIG.fraction_bits
        sources, reach = [], 0
        for number, source in enumerate(spec["sources"]):
            largest = 1 if spec.get("ternary") else 40 >> shift * number
            weight = rng.integers(-largest, largest + 1, source.weight.shape)
            if spec.get("quiet"):
                weight = np.abs(weight)
            if not source.weight.any():
                source = replace(source, weight=weight)
            sources.append(source)
            typical = largest * int(np.sqrt(source.weight[0].size) + 1) // 4 + 1
            reach += typical * most[source.map] << fraction + shift * number
        out = sources[0].out_channels
        bias = rng.integers(-reach // 8, 1 if spec.get("quiet") else reach // 8 + 1, out)
        threshold = rng.integers(reach // 2, reach + 1, out)
        if spec.get("ternary"):
            bias, threshold = bias * 0, (2 << fraction) + np.arange(out) % 3 - 1
        if bits:
            threshold = np.maximum(threshold >> bits - 1, 1)
        layers.append(
            Layer(
                f"layer{index + 1}",
                tuple(sources),
                bias,
                None if last else threshold,
                fraction,
                shift,
                bits,
                spec.get("max_pool"),
                spec.get("start", HALF),
                spec.get("strict", False),
            )
        )
        most[index] = (1 << bits) - 1 if bits else 1
    return IntegerNetwork(f"case{seed}", shape, tuple(layers), 8, code, read)


def _images(network: IntegerNetwork, count: int, *, seed: int) -> np.ndarray:
    """uint8 (count, C, H, W), half of the pixels 0, as in drawings."""
    rng = np.random.default_rng(seed + 100)
    images = rng.integers(1, 256, (count, *network.input_shape), dtype=np.uint8)
    return images * rng.integers(0, 2, images.shape, dtype=np.uint8)
