"""Random networks that use all features of the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.engine import Case
from residuum.sw.compiler.program import compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import Pad
from residuum.sw.network.integer_network import IntegerNetwork, Layer
from tests.sw.layers import layer

MAX_NEURONS = 1500


def _extent(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Pool size (1, 2, 4 or global) and pooled size along one axis; partial windows are dropped."""
    pools = [pool for pool in (1, 1, 1, 2, 4, size) if pool <= size]
    pool = int(rng.choice(pools))
    return pool, size // pool


def random_layer(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    index: int,
    last: bool,
    config: EngineConfig,
) -> Layer:
    """A convolution or dense layer on a (C, H, W) map; the last layer must be dense."""
    channels, height, width = shape
    (pool_y, rows), (pool_x, columns) = _extent(rng, height), _extent(rng, width)
    padding, stride = 0, int(rng.integers(1, 5))
    if last or rng.random() < 0.15:
        kernel = (rows, columns)
    else:
        kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
        needed = max(0, -(-max(kernel[0] - rows, kernel[1] - columns) // 2))
        if needed >= min(kernel):
            kernel, needed = (min(kernel[0], rows), min(kernel[1], columns)), 0
        padding = int(rng.choice([rng.integers(needed, min(kernel)), min(kernel) - 1]))
    out = int(rng.integers(1, 2 * config.lanes + 6 if config.lanes < 8 else 40))
    weight = _weights(rng, (out, channels, *kernel), config.weight_bits)
    pixels = index == 0
    fraction = 0 if pixels else config.fraction_bits
    # Typical sum of weights: with thresholds around it, neurons fire from always to hardly ever.
    unit = (255 if pixels else 1) << fraction
    reach = max(int(np.abs(weight).sum()) * pool_y * pool_x * unit // (2 * out), 8)
    low = rng.choice([1, reach // 8 + 1, reach // 2 + 1])
    return layer(
        index,
        f"layer{index + 1}",
        weight=weight,
        bias=rng.integers(-reach // 3, reach // 3 + 1, out)
        if rng.random() < 0.8
        else np.zeros(out, int),
        threshold=None if last else rng.integers(low, reach + 2, out),
        fraction_bits=fraction,
        stride=stride,
        padding=padding,
        pool=(pool_y, pool_x),
    )


def _weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Uniform, only the extremes, or sparse."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    weight = rng.integers(low, high + 1, shape)
    kind = rng.integers(4)
    if kind == 0:
        weight = rng.choice([low, high], shape)
    elif kind == 1:
        weight = np.where(rng.random(shape) < 0.8, 0, weight)
    return weight


def freed(rng: np.random.Generator, built: Layer, shape: tuple[int, int, int]) -> Layer:
    """A hidden layer with a stride of its own on each axis, a padding on each side, dilation and
    groups; the layer itself if these do not fit its map (C, H, W)."""
    read = built.source
    dilation = [1 if read.pooled else int(rng.integers(1, 4)) for _ in range(2)]
    reach = [d * (k - 1) for d, k in zip(dilation, read.kernel, strict=True)]
    padding = [int(rng.integers(0, reach[side // 2] + 1)) for side in range(4)]
    groups = int(rng.choice([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
    if built.out_channels % groups:
        groups = 1
    source = replace(
        read,
        weight=read.weight[:, : shape[0] // groups],
        stride=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        padding=(padding[0], padding[1], padding[2], padding[3]),
        dilation=(dilation[0], dilation[1]),
        groups=groups,
    )
    try:
        source.output_shape(shape)
    except ResiduumError:
        return built
    return replace(built, sources=(source,))


def random_network(
    rng: np.random.Generator, config: EngineConfig, depth: int | None = None, *, free: bool = False
) -> IntegerNetwork:
    """A network of ``depth`` layers, by default 1 to 5.

    If ``free``, its hidden layers are `freed`, and its image has a border.
    """
    depth = depth or int(rng.integers(1, 6))
    top = 13 if config.steps >= 8 and config.lanes >= 8 else 7
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, top)), int(rng.integers(1, top)))
    input_shape, layers, pad = shape, [], None
    if free:
        top, bottom, left, right = (int(side) for side in rng.integers(0, 3, 4))
        pad = Pad((top, bottom, left, right), tuple(map(int, rng.integers(0, 256, shape[0]))))
        shape = pad.shape(shape)
    for index in range(depth):
        last = index == depth - 1
        built = random_layer(rng, shape, index, last, config)
        layers.append(freed(rng, built, shape) if free and not last else built)
        shape = layers[-1].source.output_shape(shape)
    return IntegerNetwork("random", input_shape, tuple(layers), config.weight_bits, pad=pad)


def random_cases(
    seed: int,
    config: EngineConfig,
    count: int,
    *,
    images: int = 2,
    depth: int | None = None,
    free: bool = False,
) -> list[Case]:
    """Cases that fit the engine, each with a new network and new steps; see `random_network`."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        steps = int(rng.choice([rng.integers(1, config.steps + 1), config.steps]))
        T = steps if rng.random() < 0.25 else int(rng.integers(1, steps + 1))
        network = random_network(rng, config, depth, free=free)
        if max(np.prod(shape) for shape in network.shapes) > MAX_NEURONS:
            continue
        try:
            compile_network(network, config, tau=steps - T, T=T)
        except ResiduumError:
            continue
        pixels = rng.integers(0, 256, (images, *network.input_shape), dtype=np.uint8)
        kept = rng.random(pixels.shape) < rng.choice([0.02, 0.3, 1.0])
        cases.append(Case(network, np.where(kept, pixels, 0).astype(np.uint8), steps - T, T))
    return cases
