"""Random graphs for an engine: two sources, radix code, max-pooling, spike trains, corrections.

Sizes lie around what the engine does at once: channels around its lanes, more layers than maps are
alive, maps narrow enough to be packed. `coverage` counts what a list of cases has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.engine import Case
from residuum.sw.compiler.maps import MapPlan, PackedMap
from residuum.sw.compiler.program import LayerPlan, Program, compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import CARRY, MASK
from residuum.sw.network.graph import HALF, IMAGE, INPUT, SPIKES, ZERO, Pad, Source
from residuum.sw.network.integer_network import RADIX, RATE, IntegerNetwork, Layer
from tests.sw.networks import Structure, corners, identity, random_weights

MAX_NEURONS = 4000


def random_engine_graph(
    rng: np.random.Generator, config: EngineConfig, *, depth: int | None = None
) -> IntegerNetwork:
    """A graph that an engine may run: its widths are those of the engine, its size may not be.

    ``depth``: number of hidden layers at most; by default up to 6.
    """
    images = config.pixel_planes > 0
    code = str(rng.choice([RATE, RADIX])) if images else RATE
    spikes = code == RATE and (not images or rng.random() < 0.3)
    # Without pooling and dilation, maps of few channels can be packed.
    plain = depth is not None or rng.random() < 0.4
    side = 6 if depth is not None else 15 if plain else 11
    shape = (int(rng.integers(1, 6)), *map(int, rng.integers(1, side, 2)))
    pad = None
    if not spikes and rng.random() < 0.3:
        sides = tuple(map(int, rng.integers(0, 3, 4)))
        pad = Pad(sides, tuple(map(float, rng.integers(0, 256, shape[0]))))  # type: ignore[arg-type]
    widest = int(rng.choice([4, config.lanes, 2 * config.lanes + 3]))
    structure = Structure(
        rng,
        pad.shape(shape) if pad else shape,
        max_pool=code == RADIX and (depth is None or depth < 20),
        pools=(1,) if plain else (1, 1, 1, 2),
        dilations=(1,) if plain else (1, 2),
        strides=(1, 2) if depth is None else (1,) * 15 + (2,),
        widest=min(widest, 40),
        general=False,
        image_in_pairs=code == RADIX and config.steps >= 8,
    )
    structure.build(int(rng.integers(0, 9)) if depth is None else depth)
    strict = code == RATE and rng.random() < 0.3
    most_bits = min(config.steps, 8)
    equal = int(rng.integers(1, most_bits + 1)) if rng.random() < 0.5 else None
    quiet = rng.random() < 0.3
    bits: dict[int, int] = {INPUT: 1 if spikes else 8}
    layers = []
    for index, (sources, identities, pool) in enumerate(structure.layers):
        last = index == len(structure.layers) - 1
        numbers = code == RADIX or (sources[0].map == INPUT and not spikes)
        fraction = config.fraction_bits
        if numbers:
            fraction *= int(rng.integers(0, 2))
        elif rng.random() < 0.3:
            fraction = int(rng.integers(0, fraction + 1))
        shift = config.shift_bits * int(rng.integers(0, 2)) if len(sources) == 2 else 0
        most = [(1 << bits[source.map]) - 1 for source in sources]
        layer = _layer(rng, index, sources, identities, config, most, fraction, shift, last, quiet)
        if not last and code == RADIX:
            k = equal or int(rng.integers(1, most_bits + 1))
            threshold = np.maximum(layer.threshold >> max(k - 2, 0), 1)
            layer = replace(layer, threshold=threshold, bits=k, max_pool=pool)
        elif not last:
            start = HALF if rng.random() < 0.7 else ZERO
            layer = replace(layer, start=start, strict=bool(strict and rng.random() < 0.5))
        bits[index] = layer.bits or 1
        layers.append(layer)
    return IntegerNetwork(
        "random", shape, tuple(layers), config.weight_bits, code, SPIKES if spikes else IMAGE, pad
    )


def random_narrow_graph(rng: np.random.Generator, config: EngineConfig) -> IntegerNetwork:
    """A graph whose maps have channels for a part of the lanes, and lines of 4, 8 or 12 positions,
    so that windows may be wide; the engine has two lanes per tile at least."""
    images = config.pixel_planes > 0
    code = str(rng.choice([RATE, RADIX])) if images else RATE
    used = [n for n in range(1, config.tile_lanes) if config.tile_lanes % n == 0]
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 6)), int(rng.choice([4, 8, 12])))
    shapes = {INPUT: shape}
    bits = int(rng.integers(1, min(config.steps, 8) + 1))
    layers: list[Layer] = []
    for index in range(int(rng.integers(2, 6))):
        out = config.tiles * int(rng.choice(used))
        before = int(rng.integers(max(-1, index - 2), index))
        stride = int(rng.integers(1, 3)), int(rng.choice([1, 1, 2]) if shapes[before][2] > 4 else 1)
        sources, identities = [_narrow(rng, before, shapes[before][0], out, stride)], set()
        wanted = sources[0].output_shape(shapes[before])
        for other in range(before):
            if shapes[other][0] <= out and rng.random() < 0.8:
                step = int(rng.integers(1, 3)), int(rng.integers(1, 3))
                second = Source(np.zeros((out, shapes[other][0], 1, 1), int), other, step)
                if second.output_shape(shapes[other]) == wanted:
                    sources.append(second)
                    identities = {1} if rng.random() < 0.5 else set()
                    break
        most = [255 if s.map == INPUT and images else (1 << bits) - 1 for s in sources]
        layer = _layer(
            rng, index, sources, identities, config, most, config.fraction_bits,
            config.shift_bits * int(rng.integers(0, 2)) * (len(sources) - 1), False, False,
        )  # fmt: skip
        if code == RADIX:
            layer = replace(layer, bits=bits, threshold=np.maximum(layer.threshold >> bits, 1))
        layers.append(layer)
        shapes[index] = wanted
    # The output layer reads the last map, and the one before it where nobody has.
    last = len(layers) - 1
    dense = [Source(np.zeros((3, *shapes[last]), int), last)]
    if last - 1 not in {source.map for layer in layers for source in layer.sources}:
        raise ResiduumError("a map without a reader")
    fraction = config.fraction_bits
    layers.append(
        _layer(rng, last + 1, dense, set(), config, [1], fraction, 0, last=True, quiet=False)
    )
    return IntegerNetwork(
        "narrow", shape, tuple(layers), config.weight_bits, code, IMAGE if images else SPIKES
    )


def _narrow(
    rng: np.random.Generator, number: int, channels: int, out: int, stride: tuple[int, int]
) -> Source:
    """A convolution that keeps the size of its map, or divides it by the stride."""
    height, width = (int(rng.choice([1, 3, 5])) for _ in range(2))
    groups = int(rng.choice([1, 1, 2])) if channels % 2 == 0 and out % 2 == 0 else 1
    return Source(
        np.zeros((out, channels // groups, height, width), int),
        number,
        stride,
        (height // 2, height // 2, width // 2, width // 2),
        groups=groups,
    )


def _layer(
    rng: np.random.Generator,
    index: int,
    sources: list,
    identities: set[int],
    config: EngineConfig,
    most: list[int],
    fraction: int,
    shift: int,
    last: bool,
    quiet: bool,
) -> Layer:
    """Weights, biases and thresholds: neurons fire from always to hardly ever; in a ``quiet`` layer
    none fires without a current."""
    filled, reach = [], 4
    for number, (source, largest) in enumerate(zip(sources, most, strict=True)):
        out, channels = source.weight.shape[:2]
        if number in identities:
            values = rng.integers(1, 1 << (config.weight_bits - 1), out)
            weight = identity(out, channels, values, int(rng.integers(0, out - channels + 1)))
        else:
            weight = random_weights(rng, source.weight.shape, config.weight_bits)
            if rng.random() < 0.2:
                # Whole groups of input or output channels of zero.
                half = channels // 2
                weight[: out // 2, half:] = 0
                weight[out // 2 :, :half] = 0
        filled.append(replace(source, weight=weight))
        factor = largest * source.pool_area << (fraction + shift * number)
        reach += int(np.abs(weight).sum()) * factor // (2 * out)
    out = filled[0].out_channels
    low = int(rng.choice([1, reach // 8 + 1, reach // 2 + 1]))
    bias = rng.integers(-reach // 4, reach // 4 + 1, out)
    if quiet:
        bias = np.minimum(bias, 0)
    threshold = None if last else rng.integers(low, reach + 2, out)
    return Layer(f"layer{index + 1}", tuple(filled), bias, threshold, fraction, shift)


def random_graph_cases(
    seed: int,
    config: EngineConfig,
    count: int,
    *,
    images: int = 2,
    layers: int | None = None,
    narrow: bool = False,
) -> list[Case]:
    """Cases that the engine runs, each with a new graph, new steps and a new correction; all of
    ``layers`` layers unless it is None. ``narrow``: of `random_narrow_graph`."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        depth = None if layers is None else max(layers - int(rng.integers(1, 4)), 0)
        try:
            network = (
                random_narrow_graph(rng, config)
                if narrow
                else random_engine_graph(rng, config, depth=depth)
            )
        except ResiduumError:  # no network, by the rules of the graph
            continue
        if layers is not None and len(network.layers) != layers:
            continue
        if max(np.prod(shape) for shape in (*network.shapes, *network.neuron_shapes)) > MAX_NEURONS:
            continue
        tau, T, correction = 0, 1, None
        if network.code == RATE:
            steps = int(rng.choice([rng.integers(1, config.steps + 1), config.steps]))
            T = steps if rng.random() < 0.25 else int(rng.integers(1, steps + 1))
            tau = steps - T
            strict = any(layer.strict for layer in network.layers)
            correction = CARRY if strict or rng.random() < 0.5 else MASK
        try:
            compile_network(network, config, tau=tau, T=T, correction=correction)
        except ResiduumError:
            continue
        cases.append(
            Case(network, _inputs(rng, network, images, tau + T), tau, T, correction=correction)
        )
    return cases


def _inputs(
    rng: np.random.Generator, network: IntegerNetwork, count: int, steps: int
) -> np.ndarray:
    """Pictures or spike trains, some of them sparse, so that windows have no events."""
    share = rng.choice([0.02, 0.3, 1.0])
    if network.input == SPIKES:
        return rng.random((count, steps, *network.input_shape)) < share * 0.7
    pixels = rng.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)
    return np.where(rng.random(pixels.shape) < share, pixels, 0).astype(np.uint8)


def coverage(cases: Iterable[Case], config: EngineConfig) -> Counter[str]:
    """How often each corner of a graph, and each way of the compiler, is in the cases."""
    found: Counter[str] = Counter()
    for case in cases:
        network = case.network
        program = compile_network(
            network, config, tau=case.tau, T=case.T, correction=case.correction
        )
        found.update(set(corners(network)))
        found.update(set(_ways(program)))
        found[f"{len(network.layers)} layers"] += 1
        if network.code == RATE and case.tau:
            found[case.correction] += 1
    return found


def wide_positions(plan: LayerPlan) -> int:
    """Output positions per window."""
    if plan.output is None or plan.layer.max_pool:
        return 1
    return plan.output.shape[2] // (plan.descriptor.windows_x + 1)


def _ways(program: Program) -> Iterable[str]:
    """What the compiler made of a network."""
    config = program.config
    for plan in program.layers:
        descriptor = plan.descriptor
        for name in (
            "skip_empty",
            "second_shift",
            "two_sources",
            "fraction",
            "start_zero",
            "strict",
        ):
            if getattr(descriptor, name):
                yield name
        if descriptor.position_lanes:
            yield "packed map"
        if (positions := wide_positions(plan)) > 1:
            yield "wide windows"
            if descriptor.two_sources:
                yield "wide windows, two sources"
                if plan.layer.sources[1].stride[1] > positions:
                    yield "wide windows, second stride"
            if descriptor.position_lanes:
                yield "wide windows in a part of a row"
            if isinstance(plan.inputs[0], PackedMap) and plan.inputs[0].column % config.lanes:
                yield "wide windows of a packed map"
        if descriptor.first_lane:
            yield "shared weight rows"
        if descriptor.groups:
            yield "several groups"
        if descriptor.parts and not descriptor.two_sources:
            yield "passes"
        if descriptor.max_y or descriptor.max_x:
            yield "max-pooling"
        output, reads = plan.output, plan.inputs
        if output is not None and len(reads) > 1 and output.row == reads[1].row:
            yield "overwritten map"
        if isinstance(reads[0], MapPlan):
            spans = [entry.span for entry in plan.group_entries[:: len(reads)]]
            if min(spans) + 1 < reads[0].groups:
                yield "skipped rows"
        if descriptor.bits == min(config.steps, 8):
            yield "all bits"
