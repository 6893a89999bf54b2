"""What a network needs of an engine, what the engine has, and what helps where it is too little.

The compiler refuses a network with the sentences of this module. For networks that no engine runs
(`residuum.sw.compiler.runnable`) the needs are an estimate.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from residuum.hw.isa.config import MAX_DIMENSION, PIXEL_BITS, EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap
from residuum.hw.isa.memories import DEVICE_EBR, block_memories
from residuum.hw.isa.presets import PRESETS, preset
from residuum.sw.compiler.batch import SINGLE, Batch
from residuum.sw.compiler.exact import as_run, fault_of_fraction, fault_of_shift
from residuum.sw.compiler.layout import LayerLayout, Layout, lay_out
from residuum.sw.compiler.maps import PackedMap, Placement
from residuum.sw.errors import ResiduumError
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.graph import IMAGE, INPUT
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer

# Subjects of the sentences.
ENGINE = "this engine"
LARGEST = "the largest engine"
# Widest weights, accumulators (without fraction bits) and potentials of an engine.
_WIDEST = {"weight_bits": 16, "accumulator_bits": 32, "potential_bits": 32}
_BIT_PARAMETERS = tuple(_WIDEST)
# Needs that no size of the engine holds.
_ADDRESS_BITS, _IMAGE_BITS = "host address bits", "steps of an image in a sum"
_EXTERNAL_ROWS = "weight rows in the external memory"


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
            usual = EngineConfig.for_lanes(changes["lanes"])
            changes = {
                "tile_lanes": usual.tile_lanes,
                "event_width": usual.event_width,
            } | changes
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
    network: IntegerNetwork,
    config: EngineConfig,
    steps: int,
    engine: str = ENGINE,
    *,
    output_steps: int | None = None,
    batch: Batch = SINGLE,
) -> Iterator[Need]:
    """The needs of a network in the order in which the compiler looks at them, without cures.

    The compiler refuses with the first that has a sentence.

    Parameters
    ----------
    steps, output_steps
        Steps for which hidden layers, and the output layer, add up currents without a restart;
        None: the same. In radix code they do so once.
    engine
        The subject of the sentences.
    batch
        Images that run at a time.
    """
    if network.code == RADIX:
        steps = output_steps = 1
        yield _map_bits(network, config, engine)
    yield _fraction_bits(network, config)
    yield _shift(network, config)
    yield _image_bits(network, config)
    for parameter in _BIT_PARAMETERS:
        yield _width(network, config, parameter, (steps, output_steps or steps), engine)
    if engine == ENGINE:
        bits = HostMap(config).address_bits
        sentence = (
            f"host addresses of {engine} need {bits} bits; the host link has {HOST_WORD_BITS}"
        )
        yield _need(_ADDRESS_BITS, "", bits, HOST_WORD_BITS, sentence)
    count = len(batch.turns(len(network.layers)))
    of_batch = f", which take {count} descriptors for {batch.images} images"
    sentence = (
        f"the network {network.name} has {len(network.layers)} layers"
        f"{of_batch if batch.images > 1 else ''}; {engine} holds {config.layers} layer descriptors"
    )
    layout = lay_out(network, config, batch)
    yield _need("layers", "layers", count, config.layers, sentence)
    for memory in ("weight_rows", "parameter_rows", "logit_rows", "table_entries"):
        yield _memory(layout, config, memory, engine)
    if config.external:
        yield _external_rows(layout, config, engine)
    yield _positions(layout)
    yield _feature_rows(layout.placement, network, config, engine)


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
    """f of the layers: the engine runs a smaller one exactly, but for some strict neurons."""
    faults = [fault_of_fraction(network, layer, config) for layer in network.layers]
    most = max(layer.fraction_bits for layer in network.layers)
    sentence = next((fault for fault in faults if fault), "")
    return Need("fraction bits", "fraction_bits", most, config.fraction_bits, sentence)


def _shift(network: IntegerNetwork, config: EngineConfig) -> Need:
    """h of the second sources: 0, that of the engine, or one that can be put into the weights."""
    sentences = [fault_of_shift(layer, config) for layer in network.layers]
    most = max(layer.shift for layer in network.layers)
    sentence = next((fault for fault in sentences if fault), "")
    return Need("shift of second sources", "shift_bits", most, config.shift_bits, sentence)


def _image_bits(network: IntegerNetwork, config: EngineConfig) -> Need:
    """An engine with fewer steps than a pixel has bits reads an image in two passes, if at all;
    such an image cannot be one of two sources: both would be parts of a window."""
    mixed = [
        layer.name
        for layer in network.layers
        if network.input == IMAGE
        and len(layer.sources) > 1
        and any(source.map == INPUT for source in layer.sources)
    ]
    needed, sentence = 0, ""
    if mixed:
        needed = PIXEL_BITS
        sentence = (
            f"layer {mixed[0]!r} adds the image to another map, which takes an engine of "
            f"{PIXEL_BITS} steps; this engine has {config.steps}"
        )
    elif network.input == IMAGE and not config.pixel_planes:
        needed = PIXEL_BITS
        sentence = (
            f"an image takes an engine of {PIXEL_BITS} steps, or of {PIXEL_BITS // 2} with a shift "
            f"of {PIXEL_BITS // 2}; this engine has {config.steps}, and a shift of "
            f"{config.shift_bits}"
        )
    return _need(_IMAGE_BITS, "", needed, config.steps, sentence)


# A table over all presets asks for the same bits again and again.
@lru_cache(maxsize=2)
def _bits_needed(
    network: IntegerNetwork, steps: tuple[int, int], passes: int
) -> tuple[tuple[Layer, str, str, list[int]], ...]:
    """`_bits_of` every layer, for the steps of hidden layers and of the output layer."""
    return tuple(
        (layer, *found)
        for layer in network.layers
        for found in _bits_of(network, layer, steps[layer.output], passes)
    )


def _bits_of(
    network: IntegerNetwork, layer: Layer, steps: int, passes: int
) -> list[tuple[str, str, list[int]]]:
    """Quantities of a layer: name, width parameter in `EngineConfig`, bits needed per channel.

    Of an image in two passes, an accumulator holds a lower bit-plane and 16 times an upper one.

    Thresholds are checked separately from potentials: v starts at TH / 2, so TH may need one bit
    more than every potential.
    """
    limits = bounds(network, layer, steps)
    planes = 1 + (1 << PIXEL_BITS // 2) if passes == 2 and network.reads_image(layer) else 1
    weights = [source.weight.reshape(layer.out_channels, -1) for source in layer.sources]
    weight = np.concatenate(weights, axis=1)
    threshold = layer.bias if layer.threshold is None else layer.threshold
    if layer.bits is not None:
        threshold = threshold << layer.bits - 1
    # The engine holds the bias of strict neurons less 1.
    less = int(layer.strict)
    ranges: list[tuple[str, str, np.ndarray, np.ndarray]] = [
        ("weights", "weight_bits", weight.min(axis=1), weight.max(axis=1)),
        ("accumulators", "accumulator_bits", planes * limits.acc_min, planes * limits.acc_max),
        ("currents", "potential_bits", limits.current_min - less, limits.current_max),
        ("potentials", "potential_bits", limits.potential_min, limits.potential_max),
        ("biases", "potential_bits", layer.bias - less, layer.bias),
        ("thresholds", "potential_bits", threshold, threshold),
    ]
    return [
        (what, width, [signed_bits(int(a), int(b)) for a, b in zip(low, high, strict=True)])
        for what, width, low, high in ranges
    ]


def _width(
    network: IntegerNetwork,
    config: EngineConfig,
    parameter: str,
    steps: tuple[int, int],
    engine: str,
) -> Need:
    """A register: the widest value of all layers, and the first that could overflow."""
    most, there, sentence = 0, getattr(config, parameter), ""
    for layer, what, width, bits in _bits_needed(as_run(network, config), steps, config.passes):
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


def _memory(layout: Layout, config: EngineConfig, memory: str, engine: str) -> Need:
    """A memory that all layers share."""
    name = memory.replace("_", " ")
    total, there = _ROWS[memory](layout), getattr(config, memory)
    if layout.external and memory == "weight_rows":
        return _ring_rows(layout, there, engine)
    largest = max(layout.layers, key=_ROWS_OF_LAYER[memory])
    of_largest = _ROWS_OF_LAYER[memory](largest)
    sentence = f"layer {largest.layer.name!r} takes {of_largest} {name}"
    if len(layout.layers) > 1 and total != of_largest:
        sentence += f", all layers take {total}"
    return _need(name, memory, total, there, f"{sentence}; {engine} has {there}")


def _ring_rows(layout: Layout, there: int, engine: str) -> Need:
    """The weight store must hold a group of output channels."""
    largest = max(layout.layers, key=lambda layer: layer.group_rows)
    needed = largest.group_rows
    sentence = (
        f"a group of output channels of layer {largest.layer.name!r} takes {needed} weight rows; "
        f"{engine} holds {there} at a time"
    )
    return _need("weight rows", "weight_rows", needed, there, sentence)


def _external_rows(layout: Layout, config: EngineConfig, engine: str) -> Need:
    needed = layout.weight_rows if layout.external else 0
    sentence = (
        f"the network {layout.network.name} takes {needed:,} weight rows; the external memory of "
        f"{engine} holds {config.external_rows:,}"
    )
    return _need(_EXTERNAL_ROWS, "", needed, config.external_rows, sentence)


_ROWS: Mapping[str, Callable[[Layout], int]] = {
    "weight_rows": lambda layout: layout.weight_rows,
    "parameter_rows": lambda layout: layout.parameter_rows,
    "logit_rows": lambda layout: layout.logit_rows,
    "table_entries": lambda layout: len(layout.entries),
}
_ROWS_OF_LAYER: Mapping[str, Callable[[LayerLayout], int]] = {
    "weight_rows": lambda layer: layer.weight_rows,
    "parameter_rows": lambda layer: layer.parameter_rows,
    "logit_rows": lambda layer: layer.parameter_rows if layer.output is None else 0,
    "table_entries": lambda layer: len(layer.groups) + len(layer.lines) + len(layer.columns),
}


def _positions(layout: Layout) -> Need:
    """Positions along an axis, and rows of a window line: fields of a descriptor."""
    most, sentence = 0, ""
    for layer in layout.layers:
        plan = layer.readings[0].plan
        sizes = {
            "an input height": plan.shape[1],
            "an input width": plan.shape[2],
            "an output height": layer.windows[0],
            "an output width": layer.windows[1],
            "window lines": plan.pitch if isinstance(plan, PackedMap) else plan.groups,
        }
        for what, size in sizes.items():
            most = max(most, size)
            if size > MAX_DIMENSION and not sentence:
                rows = " rows of feature memory" if what == "window lines" else ""
                sentence = (
                    f"layer {layer.layer.name!r} has {what} of {size}{rows}; an engine takes "
                    f"{MAX_DIMENSION}"
                )
    return Need("positions along an axis", "", most, MAX_DIMENSION, sentence)


def _feature_rows(
    placement: Placement, network: IntegerNetwork, config: EngineConfig, engine: str
) -> Need:
    """Rows of the input and of all maps that are in use at a time."""
    there = config.feature_rows
    what = "image" if network.input == IMAGE else "input"
    if (alone := placement.maps[INPUT].rows_taken) > there:
        sentence = f"the {what} needs {alone} rows of feature memory; {engine} has {there}"
    else:
        sentence = (
            f"layer {network.layers[max(placement.busiest, 0)].name!r}: the maps in use need "
            f"{placement.rows} rows of feature memory; {engine} has {there}"
        )
    return _need("feature rows", "feature_rows", placement.rows, there, sentence)


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
        case "shift_bits":
            yield f"h = 0 or {need.available} when the network is converted"
        case "feature_rows" | "":
            if need.what == _IMAGE_BITS:
                yield f"an engine of {PIXEL_BITS} steps"
            elif need.what == _EXTERNAL_ROWS:
                yield "a board with a larger memory"
            elif need.what != _ADDRESS_BITS and (size := largest_size(network, config)):
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
    if need.parameter in ("", "fraction_bits", "shift_bits"):
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
    layout = lay_out(network, config)
    found = _feature_rows(layout.placement, network, config, ENGINE), _positions(layout)
    for need in found:
        if not need.fits:
            exponent = 0.5 if need.parameter == "feature_rows" else 1
            share = min(share, (need.available / need.needed) ** exponent)
    size = int(height * share), int(width * share)
    return size if min(size) >= 1 and size != (height, width) else None
