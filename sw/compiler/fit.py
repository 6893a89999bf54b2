"""What a network needs of an engine, what the engine has, and what helps where it is too little.

The compiler refuses a network with the sentences of this module. For networks that the engine
cannot run yet (`residuum.sw.compiler.runnable`) the needs are an estimate.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from residuum.hw.isa.config import MAX_DIMENSION, PIXEL_BITS, EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap
from residuum.hw.isa.memories import DEVICE_EBR, block_memories
from residuum.hw.isa.presets import PRESETS, preset
from residuum.sw.compiler.maps import MapPlan, PackedImage, place_maps, plan_image, rows_in_use
from residuum.sw.compiler.runnable import not_runnable
from residuum.sw.errors import ResiduumError
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.graph import INPUT
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer

# Subject of the sentences; `residuum.sw.compiler.program.grow_to_fit` names the largest engine.
ENGINE = "this engine"
# Widest weights, accumulators (without fraction bits) and potentials of an engine.
_WIDEST = {"weight_bits": 16, "accumulator_bits": 32, "potential_bits": 32}
_BIT_PARAMETERS = tuple(_WIDEST)


@dataclass(frozen=True)
class Need:
    """One resource of an engine.

    Attributes
    ----------
    what
        The resource in words, such as "weight rows".
    parameter
        The size of `EngineConfig` that holds it; empty if no size does.
    needed, available
        By the whole network; of the engine.
    sentence
        If the resource is too small, the refusal: names layer, need and size. Else empty.
    cures
        What helps then, the simplest first; each is a phrase such as "--weight-rows 4096".
    """

    what: str
    parameter: str
    needed: int
    available: int
    sentence: str = ""
    cures: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.sentence


def preset_named(name: str) -> EngineConfig:
    """The preset called ``name``; ``ResiduumError`` lists the known ones."""
    try:
        return preset(name)
    except ValueError as error:
        raise ResiduumError(str(error)) from None


def engine_named(name: str, sizes: Mapping[str, int]) -> EngineConfig:
    """The preset called ``name`` with other ``sizes``, by the names of `EngineConfig`.

    Raises ``ResiduumError`` if the preset is unknown, or there is no such engine.
    """
    changes = dict(sizes)
    try:
        if "lanes" in changes:
            changes["tile_lanes"] = EngineConfig.for_lanes(changes["lanes"]).tile_lanes
        return preset_named(name).with_changes(**changes)
    except (TypeError, ValueError) as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None


def describe_sizes(name: str, sizes: Mapping[str, int]) -> str:
    """An engine of `engine_named` in words: "85f" or "85f with 4,096 weight rows"."""
    parts = [f"{size:,} {what.replace('_', ' ')}" for what, size in sizes.items()]
    return f"{name} with {', '.join(parts)}" if parts else name


def device_of(name: str) -> str:
    """Size of the device, a key of `DEVICE_EBR`, that the preset called ``name`` is for."""
    return next(size for size in DEVICE_EBR if name.startswith(size))


def block_memory_need(config: EngineConfig, device: str) -> Need:
    """The block memories of a whole design, and those of a device of this size."""
    taken, there = sum(block_memories(config).values()), DEVICE_EBR[device]
    sentence = f"this engine takes {taken} block memories (EBR); an ECP5-{device}F has {there}"
    return _need("block memories", "", taken, there, sentence)


def fit(
    network: IntegerNetwork,
    config: EngineConfig,
    *,
    steps: int | None = None,
    device: str | None = None,
) -> tuple[Need, ...]:
    """All needs of a network, those that exceed the engine with their cures.

    Parameters
    ----------
    steps
        max(tau, T) of the longest run, which bounds the potentials; None: as many as the engine
        has. A network in radix code runs once.
    device
        Size of the device, a key of `DEVICE_EBR`, whose block memories must hold the engine; None:
        any device.
    """
    found = list(needs(network, config, config.steps if steps is None else steps))
    if device is not None:
        memories = block_memory_need(config, device)
        cures = () if memories.fits else tuple(_smaller_memories(config, found))
        found.append(replace(memories, cures=cures))
    return tuple(
        need
        if need.fits or need.cures
        else replace(need, cures=tuple(_cures(network, config, need)))
        for need in found
    )


def fit_presets(network: IntegerNetwork) -> Mapping[str, tuple[Need, ...]]:
    """`fit` for every preset, by name."""
    return {name: fit(network, config, device=device_of(name)) for name, config in PRESETS.items()}


def needs(
    network: IntegerNetwork, config: EngineConfig, steps: int, engine: str = ENGINE
) -> Iterator[Need]:
    """The needs of a network in the order in which the compiler looks at them, without cures.

    The compiler refuses with the first that has a sentence. ``engine`` is the subject of the
    sentences.
    """
    if network.code == RADIX:
        steps = 1
        yield _map_bits(network, config, engine)
    yield _fraction_bits(network, config)
    for parameter in _BIT_PARAMETERS:
        yield _width(network, config, parameter, steps, engine)
    if engine == ENGINE:
        bits = HostMap(config).address_bits
        sentence = (
            f"host addresses of {engine} need {bits} bits; the host link has {HOST_WORD_BITS}"
        )
        yield _need("host address bits", "", bits, HOST_WORD_BITS, sentence)
    count = len(network.layers)
    sentence = (
        f"the network {network.name} has {count} layers; {engine} holds {config.layers} layer "
        "descriptors"
    )
    yield _need("layers", "layers", count, config.layers, sentence)
    for memory in ("weight_rows", "channel_groups", "table_entries"):
        yield _memory(network, config, memory, engine)
    yield _positions(network, config)
    yield _feature_rows(network, config, engine)


def _need(what: str, parameter: str, needed: int, available: int, sentence: str) -> Need:
    return Need(what, parameter, needed, available, sentence if needed > available else "")


def _map_bits(network: IntegerNetwork, config: EngineConfig, engine: str) -> Need:
    """K of the maps; a train of S slots holds numbers of S bits."""
    available = min(config.steps, PIXEL_BITS)
    bits = [(layer.bits or 1, layer) for layer in network.layers]
    most, layer = max(bits, key=lambda pair: pair[0])
    sentence = f"layer {layer.name!r} writes numbers of {most} bits; {engine} has {available}"
    return _need("bits per activation", "steps", most, available, sentence)


def _fraction_bits(network: IntegerNetwork, config: EngineConfig) -> Need:
    """f of the layers: the engine has one for trains, and none for pixels."""
    runnable = not not_runnable(network)
    for layer in network.layers:
        pixels = network.reads_image(layer)
        # In radix code, f is a field of the layer.
        free = network.code == RADIX and layer.fraction_bits <= config.fraction_bits
        expected = 0 if pixels else config.fraction_bits
        # An engine that runs graphs has a choice of both for each layer.
        if layer.fraction_bits != expected and not free and (runnable or layer.fraction_bits):
            sentence = (
                f"layer {layer.name!r} has {layer.fraction_bits} fraction bits; this engine has "
                f"{expected} for {'pixels' if pixels else 'spikes'}"
            )
            return Need("fraction bits", "fraction_bits", layer.fraction_bits, expected, sentence)
    most = max(layer.fraction_bits for layer in network.layers)
    return Need("fraction bits", "fraction_bits", most, config.fraction_bits)


# A table over all presets asks for the same bits again and again.
@lru_cache(maxsize=2)
def _bits_needed(
    network: IntegerNetwork, steps: int
) -> tuple[tuple[Layer, str, str, list[int]], ...]:
    """`_bits_of` every layer."""
    return tuple(
        (layer, *found) for layer in network.layers for found in _bits_of(network, layer, steps)
    )


def _bits_of(network: IntegerNetwork, layer: Layer, steps: int) -> list[tuple[str, str, list[int]]]:
    """Quantities of a layer: name, width parameter in `EngineConfig`, bits needed per channel.

    Thresholds are checked separately from potentials: v starts at TH / 2, so TH may need one bit
    more than every potential.
    """
    limits = bounds(network, layer, steps)
    weights = [source.weight.reshape(layer.out_channels, -1) for source in layer.sources]
    weight = np.concatenate(weights, axis=1)
    threshold = layer.bias if layer.threshold is None else layer.threshold
    if layer.bits is not None:
        threshold = threshold << layer.bits - 1
    ranges: list[tuple[str, str, np.ndarray, np.ndarray]] = [
        ("weights", "weight_bits", weight.min(axis=1), weight.max(axis=1)),
        ("accumulators", "accumulator_bits", limits.acc_min, limits.acc_max),
        ("currents", "potential_bits", limits.current_min, limits.current_max),
        ("potentials", "potential_bits", limits.potential_min, limits.potential_max),
        ("biases", "potential_bits", layer.bias, layer.bias),
        ("thresholds", "potential_bits", threshold, threshold),
    ]
    return [
        (what, width, [signed_bits(int(a), int(b)) for a, b in zip(low, high, strict=True)])
        for what, width, low, high in ranges
    ]


def _width(
    network: IntegerNetwork, config: EngineConfig, parameter: str, steps: int, engine: str
) -> Need:
    """A register: the widest value of all layers, and the first that could overflow."""
    most, there, sentence = 0, getattr(config, parameter), ""
    for layer, what, width, bits in _bits_needed(network, steps):
        if width != parameter:
            continue
        channel = int(np.argmax(bits))
        most = max(most, bits[channel])
        if bits[channel] > there and not sentence:
            sentence = (
                f"layer {layer.name!r}, channel {channel}: {what} need {bits[channel]} bits; "
                f"{engine} has {there}"
            )
    return Need(parameter.replace("_", " "), parameter, most, there, sentence)


def weight_rows(layer: Layer, lanes: int) -> int:
    """Weight rows of a layer: one for each input of its window and group of output channels.

    The weights between different groups of a grouped convolution are stored as zeros.
    """
    inputs = sum(source.in_channels * math.prod(source.kernel) for source in layer.sources)
    return -(-layer.out_channels // lanes) * inputs


def _memory(network: IntegerNetwork, config: EngineConfig, memory: str, engine: str) -> Need:
    """A memory that all layers fill one after another."""
    total, there, sentence = 0, getattr(config, memory), ""
    name = memory.replace("_", " ")
    for layer, shape in zip(network.layers, network.neuron_shapes, strict=True):
        total += {
            "weight_rows": weight_rows(layer, config.lanes),
            "channel_groups": -(-layer.out_channels // config.lanes),
            "table_entries": shape[1] + shape[2],
        }[memory]
        if total > there and not sentence:
            sentence = (
                f"layer {layer.name!r}: {total} {name} are needed up to this layer; {engine} has "
                f"{there}"
            )
    return Need(name, memory, total, there, sentence)


def _positions(network: IntegerNetwork, config: EngineConfig) -> Need:
    """Positions along an axis, and rows of a window line: fields of a descriptor."""
    most, sentence = 0, ""
    image = plan_image(network, config)
    plans: dict[int, MapPlan | PackedImage] = {INPUT: image}
    for index, (layer, shape, written) in enumerate(
        zip(network.layers, network.neuron_shapes, network.shapes, strict=True)
    ):
        plans[index] = MapPlan(written, config.lanes)
        source = plans[layer.source.map]
        sizes = {
            "an input height": source.shape[1],
            "an input width": source.shape[2],
            "an output height": shape[1],
            "an output width": shape[2],
            "window lines": source.pitch if isinstance(source, PackedImage) else source.groups,
        }
        for what, size in sizes.items():
            most = max(most, size)
            if size > MAX_DIMENSION and not sentence:
                rows = " rows of feature memory" if what == "window lines" else ""
                sentence = (
                    f"layer {layer.name!r} has {what} of {size}{rows}; an engine takes "
                    f"{MAX_DIMENSION}"
                )
    return Need("positions along an axis", "", most, MAX_DIMENSION, sentence)


def _feature_rows(network: IntegerNetwork, config: EngineConfig, engine: str) -> Need:
    """Rows of the image and of all maps that are in use at a time."""
    there, sentence = config.feature_rows, ""
    image = plan_image(network, config).rows_taken
    most = image
    if image > there:
        sentence = f"the image needs {image} rows of feature memory; {engine} has {there}"
    for layer, rows in _rows_at(network, config):
        most = max(most, rows)
        if rows > there and not sentence:
            sentence = (
                f"layer {layer.name!r}: its input and output maps need {rows} rows of feature "
                f"memory; {engine} has {there}"
            )
    return Need("feature rows", "feature_rows", most, there, sentence)


def _rows_at(network: IntegerNetwork, config: EngineConfig) -> Iterable[tuple[Layer, int]]:
    """Each hidden layer with the rows up to the last one that is in use while it runs."""
    if not_runnable(network):
        return rows_in_use(network, config)
    plans = place_maps(network, config)[1:]
    # A map that fits below its input ends below it, and the input's end was counted before.
    return [
        (layer, plan.row + plan.rows_taken)
        for layer, plan in zip(network.layers[:-1], plans, strict=True)
    ]


def _cures(network: IntegerNetwork, config: EngineConfig, need: Need) -> Iterator[str]:
    """What helps where ``need`` is too large, the simplest first."""
    match need.parameter:
        case "weight_bits":
            yield f"--bits {need.available} when the network is converted"
        case "accumulator_bits":
            yield "fewer weight bits (--bits) when the network is converted"
        case "potential_bits":
            if network.code == RADIX:
                yield "fewer bits per activation (--bits-per-activation)"
            yield "fewer weight bits (--bits) when the network is converted"
        case "steps":
            yield f"--bits-per-activation {need.available} when the network is converted"
        case "fraction_bits":
            yield f"{need.available} fraction bits when the network is converted"
        case "feature_rows" | "":
            if need.what != "host address bits" and (size := largest_size(network, config)):
                yield f"pictures of about {size[0]} x {size[1]} (--size)"
    yield from _larger_engine(network, config, need)


def _smaller_memories(config: EngineConfig, found: list[Need]) -> Iterator[str]:
    """Sizes of the engine that are larger than the network needs, and cost block memories."""
    for need in found:
        if need.parameter in ("weight_rows", "feature_rows", "weight_bits") and (
            need.needed < getattr(config, need.parameter)
        ):
            yield f"--{need.parameter.replace('_', '-')} {need.needed}"
    yield "a larger device"


def _larger_engine(network: IntegerNetwork, config: EngineConfig, need: Need) -> Iterator[str]:
    """Engines that have what is missing: another preset, other options."""
    if not need.parameter or need.parameter == "fraction_bits":
        return
    others = [
        name
        for name in PRESETS
        for other in _preset_needs(network, name)
        if other.parameter == need.parameter and other.fits
    ]
    if others:
        yield f"preset {' or '.join(others)}"
    width = _WIDEST.get(need.parameter)
    if need.parameter == "accumulator_bits" and width is not None:
        width -= config.fraction_bits
    if width is None or need.needed <= width:
        yield f"--{need.parameter.replace('_', '-')} {need.needed}"


# Each need that exceeds an engine asks for those of all presets.
@lru_cache(maxsize=2 * len(PRESETS))
def _preset_needs(network: IntegerNetwork, name: str) -> tuple[Need, ...]:
    return tuple(needs(network, PRESETS[name], PRESETS[name].steps))


def largest_size(network: IntegerNetwork, config: EngineConfig) -> tuple[int, int] | None:
    """(h, w) of the largest picture whose maps fit the engine, an estimate; None if even a small
    one does not.

    Every map is taken to shrink with the picture.
    """
    height, width = network.input_shape[1:]
    share = 1.0
    for need in (_feature_rows(network, config, ENGINE), _positions(network, config)):
        if not need.fits:
            exponent = 0.5 if need.parameter == "feature_rows" else 1
            share = min(share, (need.available / need.needed) ** exponent)
    size = int(height * share), int(width * share)
    return size if min(size) >= 1 and size != (height, width) else None
