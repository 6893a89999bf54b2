"""Small random networks for tests, and their conversion for the naive simulators."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import (
    HALF,
    IMAGE,
    INPUT,
    SPIKES,
    ZERO,
    GraphLayer,
    MaxPool,
    Pad,
    Source,
    readers,
)
from residuum.sw.network.integer_network import RADIX, RATE, IntegerNetwork, Layer
from tests.sw.naive import NaiveLayer, NaiveSource

Shape = tuple[int, int, int]


def random_geometry(rng: np.random.Generator, shape: Shape, last: bool) -> dict:
    """Pool, kernel, stride and padding that fit a (C, H, W) map; the last layer is dense."""
    _, height, width = shape
    pool = tuple(int(rng.integers(1, min(size, 3) + 1)) for size in (height, width))
    rows, columns = height // pool[0], width // pool[1]
    if last:
        return {"pool": pool, "kernel": (rows, columns), "stride": 1, "padding": 0}
    kernel = tuple(int(rng.integers(1, 5)) for _ in range(2))
    least = max(0, -(-(kernel[0] - rows) // 2), -(-(kernel[1] - columns) // 2))
    if least >= min(kernel):
        kernel, least = (min(kernel[0], rows), min(kernel[1], columns)), 0
    padding = int(rng.integers(least, min(kernel)))
    return {"pool": pool, "kernel": kernel, "stride": int(rng.integers(1, 4)), "padding": padding}


def chained(
    index: int, weight: np.ndarray, *, stride: int, padding: int, pool: tuple[int, int]
) -> tuple[Source]:
    """The source of layer ``index`` of a chain, with the same stride and padding on both axes."""
    source = Source(
        weight=weight,
        map=index - 1 if index else INPUT,
        stride=(stride, stride),
        padding=(padding,) * 4,
        pool=pool,
    )
    return (source,)


def random_network(seed: int) -> IntegerNetwork:
    """A chain in rate code: up to three hidden layers, odd sizes, pooling, extreme weights."""
    rng = np.random.default_rng(seed)
    bits = int(rng.integers(2, 9))
    input_shape = shape = (int(rng.integers(1, 4)), *map(int, rng.integers(1, 8, 2)))
    depth = int(rng.integers(1, 5))
    layers = []
    for index in range(depth):
        last = index == depth - 1
        geometry = random_geometry(rng, shape, last)
        out = int(rng.integers(1, 6))
        weight = random_weights(rng, (out, shape[0], *geometry.pop("kernel")), bits)
        fraction = int(rng.integers(0, 6))
        unit = (255 if index == 0 else 1) << fraction
        reach = max(int(np.abs(weight).sum()) * unit // (2 * out), 2)
        layer = Layer(
            name=f"layer{index + 1}",
            sources=chained(index, weight, **geometry),
            bias=rng.integers(-reach // 4, reach // 4 + 1, out),
            threshold=None if last else rng.integers(1, reach + 1, out),
            fraction_bits=fraction,
        )
        layers.append(layer)
        shape = layer.source.output_shape(shape)
    return IntegerNetwork("random", input_shape, tuple(layers), bits)


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Uniform, or only the two extremes, or mostly zeros."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    weight = rng.integers(low, high + 1, shape)
    kind = rng.integers(0, 3)
    if kind == 1:
        weight = np.where(rng.random(shape) < 0.5, low, high)
    elif kind == 2:
        weight = np.where(rng.random(shape) < 0.7, 0, weight)
    return weight


def random_images(seed: int, network: IntegerNetwork, count: int) -> np.ndarray:
    """uint8 (count, C, H, W), half of the pixels 0, as in drawings."""
    rng = np.random.default_rng(seed + 1)
    images = rng.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)
    return np.where(rng.random(images.shape) < 0.5, 0, images).astype(np.uint8)


def random_trains(
    seed: int, network: IntegerNetwork | FloatNetwork, count: int, steps: int
) -> np.ndarray:
    """Spike trains uint8 (count, steps, C, H, W), a third of them spikes."""
    rng = np.random.default_rng(seed + 1)
    return (rng.random((count, steps, *network.input_shape)) < 1 / 3).astype(np.uint8)


def random_input(seed: int, network: IntegerNetwork, count: int, steps: int) -> np.ndarray:
    """`random_images` or `random_trains`, whichever the network reads."""
    if network.input == IMAGE:
        return random_images(seed, network, count)
    return random_trains(seed, network, count, steps)


def random_float_network(seed: int) -> FloatNetwork:
    """A chain with weights, biases and thresholds k/16, so that sums in float64 are exact."""
    rng = np.random.default_rng(seed)
    input_shape = shape = (int(rng.integers(1, 3)), *map(int, rng.integers(2, 7, 2)))
    depth = int(rng.integers(1, 4))
    layers = []
    for index in range(depth):
        last = index == depth - 1
        geometry = random_geometry(rng, shape, last)
        # Pool only over powers of two: their means are exact.
        pool = tuple(1 if size == 3 else size for size in geometry.pop("pool"))
        kernel = geometry.pop("kernel")
        if last:
            kernel = shape[1] // pool[0], shape[2] // pool[1]
        out = int(rng.integers(1, 4))
        weight = rng.integers(-16, 17, (out, shape[0], *kernel)) / 16
        layer = FloatLayer(
            name=f"layer{index + 1}",
            sources=chained(index, weight, pool=pool, **geometry),
            bias=rng.integers(-8, 9, out) / 16,
            threshold=None if last else float(rng.integers(1, 5)) / 2,
        )
        layers.append(layer)
        shape = layer.source.output_shape(shape)
    return FloatNetwork("random", input_shape, tuple(layers), levels=4)


class Structure:
    """Random layers of a graph: sources with weights of zero, and max-pooling.

    Every map has a reader. ``layers`` holds the sources of each layer, the numbers of those that
    are identities, and the pooling. ``widest``: channels of a layer without groups; ``general``:
    second sources of any geometry, else of 1 x 1 kernels without padding; ``image_in_pairs``: the
    input may be one of two sources.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: Shape,
        *,
        max_pool: bool,
        pools: Sequence[int],
        widest: int = 4,
        general: bool = True,
        image_in_pairs: bool = True,
        strides: Sequence[int] = (1, 2),
        dilations: Sequence[int] = (1, 2),
    ) -> None:
        self.rng, self.max_pool, self.pools, self.strides = rng, max_pool, pools, strides
        self.dilations = dilations
        self.widest, self.general, self.image_in_pairs = widest, general, image_in_pairs
        self.shapes: dict[int, Shape] = {INPUT: shape}
        # Maps that nobody reads yet, the newest last: at most two.
        self.open = [INPUT]
        self.layers: list[tuple[list[Source], set[int], MaxPool | None]] = []

    def draw(self, low: int, high: int) -> int:
        """A number of low .. high."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def stride(self) -> tuple[int, int]:
        return int(self.rng.choice(self.strides)), int(self.rng.choice(self.strides))

    def zeros(self, out: int, channels: int, kernel: tuple[int, int]) -> np.ndarray:
        return np.zeros((out, channels, *kernel), np.int64)

    def build(self, depth: int) -> None:
        """``depth`` hidden layers at most, and the output layer."""
        for _ in range(depth):
            if not self.hidden_layer():
                break
        if not self.general and len(self.open) == 2:
            self.close()
        sources = [self.dense(number) for number in self.open]
        out = self.draw(1, self.widest)
        self.layers.append(
            (
                [replace(s, weight=np.zeros((out, *s.weight.shape[1:]))) for s in sources],
                set(),
                None,
            )
        )

    def close(self) -> None:
        """Add up two open maps whose second source must have a 1 x 1 kernel: a layer makes one
        position of the newer map, the next adds the whole older map to it."""
        older, newer = self.open
        whole = [
            Source(self.zeros(1, self.shapes[number][0], self.shapes[number][1:]), number)
            for number in (newer, older)
        ]
        self.add(whole[:1], set())
        self.add([whole[1], Source(self.zeros(1, 1, (1, 1)), len(self.layers) - 1)], set())

    def dense(self, number: int) -> Source:
        channels, height, width = self.shapes[number]
        pool = tuple(int(self.rng.choice([p for p in self.pools if p <= size]))
                     for size in (height, width))  # fmt: skip
        kernel = height // pool[0], width // pool[1]
        return Source(self.zeros(1, channels, kernel), number, pool=pool)

    def hidden_layer(self) -> bool:
        """One more layer; False if the open maps cannot be added."""
        if len(self.open) == 2:
            first, second = self.open
            if self.shapes[first][1:] != self.shapes[second][1:]:
                return False
            pair = self.pair(first, second)
        else:
            newest = self.open[-1]
            alike = [m for m, shape in self.shapes.items() if shape[1:] == self.shapes[newest][1:]]
            pairs = [m for m in alike if m != INPUT] if not self.image_in_pairs else alike
            if self.chance(0.55) and newest in pairs:
                other = int(self.rng.choice(pairs))
                pair = self.pair(*((newest, other) if self.chance(0.5) else (other, newest)))
            else:
                # A branch leaves the newest map for a later reader.
                branch = self.chance(0.2) and len(alike) > 1
                number = int(self.rng.choice(alike[:-1])) if branch else newest
                if branch and not self.general:
                    # So that both maps can be added up.
                    pair = [self.same(number, self.draw(1, self.widest), (1, 1), 1)], set()
                else:
                    pair = [self.single(number)], set()
        self.add(*pair)
        return True

    def add(self, sources: list[Source], identities: set[int]) -> None:
        index = len(self.layers)
        shape = sources[0].output_shape(self.shapes[sources[0].map])
        pool = None
        if self.max_pool and self.chance(0.3):
            pool = self.pooling(shape)
        self.layers.append((sources, identities, pool))
        self.shapes[index] = pool.output_shape(shape) if pool else shape
        read = {source.map for source in sources}
        self.open = [number for number in self.open if number not in read] + [index]

    def pooling(self, shape: Shape) -> MaxPool:
        kernel = tuple(min(self.draw(1, 3), size) for size in shape[1:])
        sides = tuple(self.draw(0, kernel[side // 2] - 1) for side in range(4))
        return MaxPool(kernel, (self.draw(1, 3), self.draw(1, 3)), sides)

    def groups(self, channels: int, out: int) -> tuple[int, int]:
        """Groups, and a number of output channels that they divide."""
        if not self.chance(0.35):
            return 1, out
        number = int(self.rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        return number, number * self.draw(1, 2)

    def single(self, number: int) -> Source:
        """A source with a geometry of its own on each axis."""
        channels, height, width = self.shapes[number]
        pool = tuple(int(self.rng.choice([p for p in self.pools if p <= size]))
                     for size in (height, width))  # fmt: skip
        kernel, dilation, sides = [], [], []
        for size in (height // pool[0], width // pool[1]):
            k, d = self.draw(1, 3), int(self.rng.choice(self.dilations))
            reach = d * (k - 1)
            least = max(0, reach + 1 - size)
            before = self.draw(min(-(-least // 2), reach), reach)
            sides += [before, self.draw(min(max(least - before, 0), reach), reach)]
            kernel.append(k)
            dilation.append(d)
        groups, out = self.groups(channels, self.draw(1, self.widest))
        return Source(
            self.zeros(out, channels // groups, (kernel[0], kernel[1])), number,
            self.stride(), (sides[0], sides[1], sides[2], sides[3]),
            (dilation[0], dilation[1]), groups, (pool[0], pool[1]),
        )  # fmt: skip

    def same(self, number: int, out: int, stride: tuple[int, int], groups: int) -> Source:
        """A source whose output has ceil(size / stride) positions."""
        kernel = self.draw(1, 3), self.draw(1, 3)
        dilation = int(self.rng.choice(self.dilations)), int(self.rng.choice(self.dilations))
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = (self.draw(0, extent) for extent in reach)
        sides = (top, reach[0] - top, left, reach[1] - left)
        channels = self.shapes[number][0] // groups
        return Source(self.zeros(out, channels, kernel), number, stride, sides, dilation, groups)

    def pair(self, first: int, second: int) -> tuple[list[Source], set[int]]:
        """Two sources with the same output; the set names those that are identities."""
        channels = self.shapes[second][0]
        kinds = ["identity", "projection", "option A", "identities", "general"]
        kind = self.rng.choice(kinds[: 5 if self.general else 4])
        stride = self.stride()
        groups, out = self.groups(self.shapes[first][0], self.draw(1, self.widest))
        point = Source(self.zeros(out, channels, (1, 1)), second, stride)
        if kind == "projection":
            return [self.same(first, out, stride, groups), point], set()
        if kind == "general":
            return [self.same(first, out, stride, groups), self.same(second, out, stride, 1)], set()
        if kind == "option A":
            stride, out = (2, 2), channels + self.draw(1, 2)
        elif kind == "identity":
            stride, out = (1, 1), channels
        else:
            stride, out = (1, 1), max(channels, self.shapes[first][0])
        point = Source(self.zeros(out, channels, (1, 1)), second, stride)
        if kind == "identities":
            other = Source(self.zeros(out, self.shapes[first][0], (1, 1)), first, stride)
            return [other, point], {0, 1}
        groups = groups if out % groups == 0 else 1
        return [self.same(first, out, stride, groups), point], {1}


def identity(out: int, channels: int, values: Any, first: int = 0) -> np.ndarray:
    """A 1 x 1 kernel (out, channels, 1, 1) that hands channel c on as channel ``first + c``."""
    weight = np.zeros((out, channels, 1, 1), np.asarray(values).dtype)
    for channel in range(channels):
        weight[first + channel, channel] = np.broadcast_to(values, (out,))[first + channel]
    return weight


def _random_structure(
    rng: np.random.Generator, *, max_pool: bool, pools: Sequence[int], depth: int
) -> tuple[Structure, Pad | None]:
    """Layers, and the border of an image in front of them."""
    shape = (int(rng.integers(1, 5)), *map(int, rng.integers(1, 9, 2)))
    pad = None
    if rng.random() < 0.3:
        sides = tuple(map(int, rng.integers(0, 3, 4)))
        pad = Pad(sides, tuple(map(float, rng.integers(0, 256, shape[0]))))  # type: ignore[arg-type]
    structure = Structure(rng, pad.shape(shape) if pad else shape, max_pool=max_pool, pools=pools)
    structure.build(int(rng.integers(0, depth + 1)))
    return structure, pad


def random_graph(seed: int, code: str | None = None, input: str | None = None) -> IntegerNetwork:
    """A graph with every kind of source, odd sizes and extreme weights, in either code.

    ``code`` and ``input`` are drawn if they are None.
    """
    rng = np.random.default_rng(seed)
    code = code or str(rng.choice([RATE, RADIX]))
    spikes = input == SPIKES or (input is None and code == RATE and rng.random() < 0.3)
    structure, pad = _random_structure(rng, max_pool=code == RADIX, pools=(1, 1, 2, 3), depth=5)
    shape = structure.shapes[INPUT]
    input_shape = shape
    if pad is not None and not spikes:
        top, bottom, left, right = pad.sides
        input_shape = shape[0], shape[1] - top - bottom, shape[2] - left - right
    bits = int(rng.choice([2, 3, 4, 5, 6, 7, 8, 16]))
    equal = int(rng.integers(1, 9)) if rng.random() < 0.5 else None
    tokens = {INPUT: 1 if spikes else 255}
    strict = code == RATE and rng.random() < 0.2
    layers = []
    for index, (sources, identities, pool) in enumerate(structure.layers):
        last = index == len(structure.layers) - 1
        largest = [tokens[source.map] for source in sources]
        layer = _random_layer(rng, index, sources, identities, bits, largest, last)
        if not last and code == RADIX:
            k = equal or int(rng.integers(1, 9))
            reach = np.maximum(layer.threshold >> max(k - 2, 0), 1)
            layer = replace(layer, threshold=reach, bits=k, max_pool=pool)
            tokens[index] = (1 << k) - 1
        elif not last:
            start = HALF if rng.random() < 0.7 else ZERO
            layer = replace(layer, start=start, strict=bool(strict and rng.random() < 0.5))
            tokens[index] = 1
        layers.append(layer)
    return IntegerNetwork(
        "random", input_shape, tuple(layers), bits, code, SPIKES if spikes else IMAGE,
        None if spikes else pad,
    )  # fmt: skip


def _random_layer(
    rng: np.random.Generator,
    index: int,
    sources: list[Source],
    identities: set[int],
    bits: int,
    largest: list[int],
    last: bool,
) -> Layer:
    """Weights, biases and thresholds up to half of what the currents can reach."""
    fraction = int(rng.integers(0, 6)) if rng.random() < 0.5 else 0
    shift = int(rng.integers(1, 7)) if len(sources) == 2 and rng.random() < 0.5 else 0
    filled = []
    for number, source in enumerate(sources):
        out, channels = source.weight.shape[:2]
        if number in identities:
            values = rng.integers(1, 1 << (bits - 1), out)
            first = int(rng.integers(0, out - channels + 1))
            weight = identity(out, channels, values, first)
        else:
            weight = random_weights(rng, source.weight.shape, bits)
        filled.append(replace(source, weight=weight))
    out = filled[0].out_channels
    reach = 2
    for number, (source, most) in enumerate(zip(filled, largest, strict=True)):
        factor = most * source.pool_area << (fraction + shift * number)
        reach += int(np.abs(source.weight).sum()) * factor // (2 * out)
    return Layer(
        f"layer{index + 1}", tuple(filled), rng.integers(-reach // 4, reach // 4 + 1, out),
        None if last else rng.integers(1, reach + 1, out), fraction, shift,
    )  # fmt: skip


def random_float_graph(seed: int, input: str | None = None) -> FloatNetwork:
    """A graph with numbers k/16 and pools of powers of two, so that sums in float64 are exact.

    Its neurons start at zero or half of the threshold, and some fire strictly above it.
    """
    rng = np.random.default_rng(seed)
    structure, _ = _random_structure(rng, max_pool=False, pools=(1, 1, 2), depth=4)
    spikes = input == SPIKES or (input is None and rng.random() < 0.3)
    layers = []
    for index, (sources, identities, _) in enumerate(structure.layers):
        last = index == len(structure.layers) - 1
        filled = tuple(
            replace(
                source,
                weight=identity(*source.weight.shape[:2], 1.0)
                if number in identities
                else rng.integers(-16, 17, source.weight.shape) / 16,
            )
            for number, source in enumerate(sources)
        )
        layers.append(
            FloatLayer(
                name=f"layer{index + 1}",
                sources=filled,
                bias=rng.integers(-8, 9, filled[0].out_channels) / 16,
                threshold=None if last else float(rng.integers(1, 5)) / 2,
                start=HALF if last or rng.random() < 0.6 else ZERO,
                strict=bool(not last and rng.random() < 0.2),
            )
        )
    shape = structure.shapes[INPUT]
    return FloatNetwork("random", shape, tuple(layers), 4, SPIKES if spikes else IMAGE)


CORNERS = (
    "residual", "projection", "option A", "concatenation", "two identities", "depthwise", "groups",
    "dilation", "max-pool with overlap", "max-pool with padding", "odd size", "two readers",
    "odd threshold", "h = 0", "h > 0", "f = 0", "f > 0", "average pooling", "unequal sides",
    "pad", "spikes", "image", "strict", "start zero", *(f"K = {k}" for k in range(1, 9)),
)  # fmt: skip


def corners(network: IntegerNetwork) -> Iterator[str]:
    """The corners of ``CORNERS`` that a network has."""
    yield network.input
    if network.pad and any(network.pad.sides):
        yield "pad"
    for index, layer in enumerate(network.layers):
        yield from _corners_of_layer(network.layers, index)
        yield "f > 0" if layer.fraction_bits else "f = 0"
        if len(layer.sources) == 2:
            yield "h > 0" if layer.shift else "h = 0"
        if layer.threshold is not None and (layer.threshold % 2).any():
            yield "odd threshold"
        if layer.bits:
            yield f"K = {layer.bits}"
        if layer.strict:
            yield "strict"
        if layer.start == ZERO:
            yield "start zero"
    if any(size % 2 and size > 1 for shape in network.shapes for size in shape[1:]):
        yield "odd size"


def _corners_of_layer(layers: Sequence[GraphLayer], index: int) -> Iterator[str]:
    layer = layers[index]
    if len(readers(layers, index)) > 1:
        yield "two readers"
    for source in layer.sources:
        if source.groups > 1:
            yield "groups"
            if source.weight.shape[1] == 1:
                yield "depthwise"
        if any(d > 1 and k > 1 for d, k in zip(source.dilation, source.kernel, strict=True)):
            yield "dilation"
        if source.pooled:
            yield "average pooling"
        if len(set(source.padding)) > 1:
            yield "unequal sides"
    if layer.max_pool:
        pool = layer.max_pool
        if any(s < k for s, k in zip(pool.stride, pool.kernel, strict=True)):
            yield "max-pool with overlap"
        if any(pool.padding):
            yield "max-pool with padding"
    if len(layer.sources) == 2:
        yield _kind_of_pair(*layer.sources)


def is_identity(source: Source) -> bool:
    """Whether a source hands channels on: a 1 x 1 kernel, at most one weight per output channel."""
    return source.kernel == (1, 1) and bool(
        (np.count_nonzero(source.weight, axis=1) <= 1).all() and (source.weight >= 0).all()
    )


def _kind_of_pair(first: Source, second: Source) -> str:
    if is_identity(first) and is_identity(second):
        return "two identities"
    if is_identity(second):
        full = np.count_nonzero(second.weight) == second.out_channels
        return "residual" if full and second.stride == (1, 1) else "option A"
    return "concatenation" if first.kernel == second.kernel else "projection"


def same(first: Any, second: Any) -> bool:
    """Whether two networks, or parts of them, are equal in every field and value."""
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if is_dataclass(first):
        return all(
            same(getattr(first, item.name), getattr(second, item.name)) for item in fields(first)
        )
    return bool(first == second)


def naive_integer(network: IntegerNetwork) -> list[NaiveLayer]:
    """The layers with Python integers, which cannot overflow."""
    layers = []
    for layer in network.layers:
        factors = [2**layer.fraction_bits, 2**layer.fraction_bits * 2**layer.shift]
        thresholds = None if layer.threshold is None else layer.threshold.tolist()
        layers.append(
            NaiveLayer(
                sources=[
                    naive_source(source, source.weight.tolist(), factor)
                    for source, factor in zip(layer.sources, factors, strict=False)
                ],
                bias=layer.bias.tolist(),
                threshold=thresholds,
                start=thresholds and [th // 2 if layer.start == HALF else 0 for th in thresholds],
                strict=layer.strict,
                bits=layer.bits,
                max_pool=naive_pool(layer.max_pool),
            )
        )
    return layers


def naive_source(
    source: Source, weight: list, factor: float, *, divide: bool = False
) -> NaiveSource:
    return NaiveSource(
        weight=weight,
        map=source.map,
        stride=source.stride,
        padding=source.padding,
        dilation=source.dilation,
        groups=source.groups,
        pool=source.pool,
        factor=factor,
        divide=divide,
    )


def naive_pool(pool: MaxPool | None) -> tuple | None:
    return pool and (pool.kernel, pool.stride, pool.padding)


def naive_float(network: FloatNetwork) -> list[NaiveLayer]:
    """The layers for the naive simulator; a spike is worth its layer's threshold."""
    worth = [math.nan if layer.threshold is None else layer.threshold for layer in network.layers]
    layers = []
    for layer in network.layers:
        theta, count = layer.threshold, len(layer.bias)
        start = None if theta is None else theta / 2 if layer.start == HALF else 0
        layers.append(
            NaiveLayer(
                sources=[
                    naive_source(
                        source,
                        source.weight.tolist(),
                        1 if source.map == INPUT else worth[source.map],
                        divide=True,
                    )
                    for source in layer.sources
                ],
                bias=layer.bias.tolist(),
                threshold=None if theta is None else [theta] * count,
                start=None if theta is None else [start] * count,
                strict=layer.strict,
            )
        )
    return layers
