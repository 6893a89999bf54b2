"""Compiler: translates an integer network into the program of an engine of given sizes.

The program is a list of host writes: layer descriptors, axis tables, weight rows, and per channel a
bias and a threshold. `Program` also computes the host accesses that write an image and read trains
and logits.

A map of C channels on an engine of P lanes takes G = ceil(C / P) rows of the feature memory per
position, channel c in slot c % P of row c // P. Slot s is lane s // tiles of bank s % tiles.
An image that is not pooled is packed (`PackedImage`): its pixels fill the rows without gaps, so
that one row holds several positions. In both layouts a window is a list of segments. A segment is a
run of consecutive slots whose weight rows are consecutive too; the axis tables hold its start.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from residuum.hw.isa.config import MAX_DIMENSION, EngineConfig
from residuum.hw.isa.descriptors import AxisEntry, LayerDescriptor
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap, Region, split_words
from residuum.sw.checks import whole_number
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import PIXELS, IntegerNetwork, Layer, bounds, signed_bits

# Subject of the error messages; `grow_to_fit` names the largest engine instead.
_ENGINE = "this engine"
# Width of potentials, and of shifted accumulators, in the largest engine.
_MAX_BITS = 32


@dataclass(frozen=True)
class MapPlan:
    """A map in the feature memory; no two positions share a row.

    Attributes
    ----------
    shape
        (C, H, W).
    lanes
        P, neurons per row.
    passes
        Copies of the map that hold different bit-planes (1 for spikes).
    row
        First row.
    empty_row
        First of G rows with the shared result of windows without events, or None.
    """

    shape: tuple[int, int, int]
    lanes: int
    passes: int = 1
    row: int = 0
    empty_row: int | None = None

    @property
    def groups(self) -> int:
        """G, rows per position."""
        return -(-self.shape[0] // self.lanes)

    @property
    def pitch(self) -> int:
        """Rows from one line to the next."""
        return self.shape[2] * self.groups

    @property
    def rows(self) -> int:
        """Rows of one copy, without the rows of the shared result."""
        return self.shape[1] * self.pitch

    @property
    def rows_taken(self) -> int:
        return self.rows * self.passes + (self.groups if self.empty_row is not None else 0)

    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        """Row (within the map) and slot of each neuron, two int arrays (C, H, W)."""
        channels, height, width = self.shape
        c, y, x = np.ogrid[:channels, :height, :width]
        row = y * self.pitch + x * self.groups + c // self.lanes
        return row, np.broadcast_to(c % self.lanes, row.shape)

    def scatter(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (C, H, W) in their slots, uint32 (rows, lanes)."""
        words = np.zeros((self.rows, self.lanes), np.uint32)
        words[self.slots()] = image
        return words


@dataclass(frozen=True)
class PackedImage:
    """An image whose pixels fill the rows without gaps, band by band.

    A band interleaves ``lines`` image lines: x is the outermost index, then line, then channel.
    Band b starts at line b * step - padding; lines outside the image are 0.

    With one line per band, the bands are the lines of the image. If instead each output line has a
    band of kernel-height lines, a window is a single segment: the scanner reads fewer rows per
    window, and the image is stored kernel / stride times.

    Attributes
    ----------
    shape, lanes, passes, row
        As in `MapPlan`.
    interleaved
        One band per output line of the first layer; else one band per image line.
    bands, lines, step, padding
        Interleaved: output height, kernel height, stride and padding of the first layer. Else
        H, 1, 1, 0.
    """

    shape: tuple[int, int, int]
    lanes: int
    passes: int
    interleaved: bool
    bands: int
    lines: int = 1
    step: int = 1
    padding: int = 0
    row: int = 0
    empty_row: int | None = None
    groups: int = 1

    @property
    def column(self) -> int:
        """Slots per position along x."""
        return self.lines * self.shape[0]

    @property
    def pitch(self) -> int:
        """Rows from one band to the next."""
        return -(-self.shape[2] * self.column // self.lanes)

    @property
    def rows(self) -> int:
        """Rows of one copy."""
        return self.bands * self.pitch

    @property
    def rows_taken(self) -> int:
        return self.rows * self.passes

    def scatter(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (C, H, W) in their slots, uint32 (rows, lanes)."""
        channels, height, width = self.shape
        source = np.arange(self.bands)[:, None] * self.step - self.padding + np.arange(self.lines)
        inside = (source >= 0) & (source < height)
        # (C, bands, lines, W) -> (bands, W, lines, C)
        lines = image[:, np.clip(source, 0, height - 1)] * inside[None, :, :, None]
        packed = lines.transpose(1, 3, 2, 0).reshape(self.bands, width * self.column)
        blank = self.pitch * self.lanes - packed.shape[1]
        result: np.ndarray = np.pad(packed, ((0, 0), (0, blank))).astype(np.uint32)
        return result.reshape(self.rows, self.lanes)


def _plan_image(network: IntegerNetwork, config: EngineConfig) -> MapPlan | PackedImage:
    """Layout of the image in the feature memory.

    With a stride above 1 the lines of a kernel are interleaved: the image takes kernel / stride
    times the memory, and the scanner reads fewer rows per window.
    """
    first = network.layers[0]
    if first.pool != (1, 1):
        return MapPlan(network.input_shape, config.lanes, config.passes)
    if first.stride == 1:
        return PackedImage(
            network.input_shape, config.lanes, config.passes, False, bands=network.input_shape[1]
        )
    return PackedImage(
        network.input_shape,
        config.lanes,
        config.passes,
        True,
        bands=network.shapes[0][1],
        lines=first.kernel[0],
        step=first.stride,
        padding=first.padding,
    )


@dataclass(frozen=True)
class LayerPlan:
    """A layer as the engine runs it: descriptor, axis tables (vertical, horizontal), and groups of
    output channels."""

    layer: Layer
    input: MapPlan | PackedImage
    output: MapPlan | None
    descriptor: LayerDescriptor
    lines: tuple[AxisEntry, ...]
    columns: tuple[AxisEntry, ...]
    groups: int


@dataclass(frozen=True)
class Program:
    """A network compiled for one configuration of the engine.

    Attributes
    ----------
    addresses, words
        uint32 arrays of equal length: the host writes that load the program, in order.
    layers
        One plan per layer.
    """

    network: IntegerNetwork
    config: EngineConfig
    layers: tuple[LayerPlan, ...]
    addresses: np.ndarray
    words: np.ndarray

    def image_writes(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Host writes (addresses, words) that put one image, uint8 (C, H, W), into the engine.

        Bit-plane k of a pixel is bit k of its train. With S < 8 the image is written as several
        copies of S bit-planes each, highest planes first.
        """
        config, plan = self.config, self.layers[0].input
        pixels = plan.scatter(self.network.as_image(image).astype(np.uint32))
        lowest = [(plan.passes - 1 - index) * config.planes for index in range(plan.passes)]
        copies = [pixels >> low & (1 << config.planes) - 1 for low in lowest]
        values = np.concatenate(copies).reshape(-1)
        return self._train_addresses(plan.row, plan.rows * plan.passes).reshape(-1), values

    def _train_addresses(self, row: int, count: int) -> np.ndarray:
        """Host addresses of the trains in ``count`` rows from ``row`` on, uint32 (count, lanes)."""
        config, host_map = self.config, HostMap(self.config)
        within = [
            host_map.address(Region.TRAINS, **_place(slot, config)) for slot in range(config.lanes)
        ]
        step = host_map.address(Region.TRAINS, row=1) - host_map.address(Region.TRAINS)
        rows = np.arange(row, row + count, dtype=np.uint32)[:, None]
        result: np.ndarray = rows * np.uint32(step) + np.array(within, np.uint32)
        return result

    def train_reads(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Host addresses to read for `decode_trains`.

        First array: the trains in all rows of the layer's output map, then in the rows of its
        shared result. Second array: the occupancy (bank 0) of each row of the map.
        """
        plan = self._output(index)
        trains = [self._train_addresses(plan.row, plan.rows)]
        if plan.empty_row is not None:
            trains.append(self._train_addresses(plan.empty_row, plan.groups))
        host_map = HostMap(self.config)
        occupancy = [
            host_map.address(Region.OCCUPANCY, row=row)
            for row in range(plan.row, plan.row + plan.rows)
        ]
        return np.concatenate(trains).reshape(-1), np.array(occupancy, np.uint32)

    def decode_trains(
        self, index: int, trains: np.ndarray, occupancy: np.ndarray, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Trains and masks from the words read at the addresses of `train_reads`.

        Returns
        -------
        trains : bool (steps, C, H, W)
        silenced : bool (C, H, W)
        """
        plan = self._output(index)
        words = trains.reshape(-1, self.config.lanes).copy()
        own = words[: plan.rows]
        refers = (occupancy >> self.config.bank_slots & 1).astype(bool)
        if plan.empty_row is not None:
            shared = words[plan.rows :]
            own[refers] = shared[np.flatnonzero(refers) % plan.groups]
        rows, slots = plan.slots()
        neurons = own[rows, slots]
        first = self.config.steps - steps
        bits = neurons[None] >> (first + np.arange(steps)).reshape(-1, 1, 1, 1) & 1
        return bits.astype(bool), (neurons >> self.config.steps & 1).astype(bool)

    def _output(self, index: int) -> MapPlan:
        plan = self.layers[index].output
        if plan is None:
            raise ResiduumError("the output layer has logits, not trains")
        return plan

    def logit_reads(self) -> np.ndarray:
        """Host addresses of the logits, one per class."""
        config, host_map = self.config, HostMap(self.config)
        addresses = []
        for index in range(self.network.classes):
            group, slot = divmod(index, config.lanes)
            addresses.append(host_map.address(Region.LOGITS, group=group, **_place(slot, config)))
        return np.array(addresses, np.uint32)


def compile_network(network: IntegerNetwork, config: EngineConfig, *, tau: int, T: int) -> Program:
    """Compile a network for an engine.

    tau and T only bound the potentials. The program also runs with any other tau and T whose
    maximum is not larger.

    Raises
    ------
    ResiduumError
        If the network does not fit: names the layer, the resource, the need and the size.
    """
    tau, T = whole_number("tau", tau), whole_number("T", T)
    if tau < 0 or T < 1 or tau + T > config.steps:
        raise ResiduumError(
            f"tau = {tau} and T = {T} do not fit this engine: tau must be at least 0, T at least "
            f"1, and tau + T at most {config.steps}"
        )
    for layer in network.layers:
        _check_fraction_bits(layer, config)
        _check_widths(layer, config, max(tau, T))
    _check_room(network, config)
    maps = _place_maps(network, config)
    return _Assembler(network, config, maps).program()


def grow_to_fit(network: IntegerNetwork, config: EngineConfig) -> EngineConfig:
    """``config`` with memories, accumulators and potentials enlarged to fit a network.

    An enlarged memory has a power of two entries. Accumulators and potentials are wide enough for
    every tau and T with tau + T <= ``config.steps``.

    Raises
    ------
    ResiduumError
        As `compile_network`, if the network exceeds even the largest engine.
    """
    engine = "the largest engine"
    largest = config.with_changes(
        weight_rows=1 << 20,
        feature_rows=1 << 20,
        channel_groups=1 << 12,
        table_entries=1 << 16,
        layers=64,
        accumulator_bits=_MAX_BITS - config.fraction_bits,
        potential_bits=_MAX_BITS,
    )
    widths = {name: getattr(config, name) for name in ("accumulator_bits", "potential_bits")}
    for layer in network.layers:
        _check_fraction_bits(layer, config)
        _check_widths(layer, largest, config.steps, engine)
        for _, width, bits in _bits_needed(layer, config.steps):
            widths[width] = max(widths.get(width, 0), *bits)
    del widths["weight_bits"]
    widths["potential_bits"] = max(
        widths["potential_bits"], widths["accumulator_bits"] + config.fraction_bits
    )
    _check_room(network, largest, engine)
    maps = _place_maps(network, largest, engine)
    *_, (_, needed) = _room_needed(network, config)
    needed["feature_rows"] = max(plan.row + plan.rows_taken for plan in maps)
    grown = {
        name: 1 << (count - 1).bit_length()
        for name, count in needed.items()
        if count > getattr(config, name)
    }
    return config.with_changes(**grown, **widths)


def _room_needed(
    network: IntegerNetwork, config: EngineConfig
) -> Iterator[tuple[Layer, dict[str, int]]]:
    """Each layer with the memory entries that it and all earlier layers take.

    The feature memory is not included: its rows are reused from layer to layer.
    """
    needed = dict.fromkeys(("layers", "weight_rows", "channel_groups", "table_entries"), 0)
    for layer, shape in zip(network.layers, network.shapes, strict=True):
        groups = -(-layer.out_channels // config.lanes)
        needed["layers"] += 1
        needed["weight_rows"] += groups * layer.weight[0].size
        needed["channel_groups"] += groups
        needed["table_entries"] += shape[1] + shape[2]
        yield layer, dict(needed)


def _check_room(network: IntegerNetwork, config: EngineConfig, engine: str = _ENGINE) -> None:
    """Refuses a network that exceeds a memory."""
    bits = HostMap(config).address_bits
    if engine == _ENGINE and bits > HOST_WORD_BITS:
        raise ResiduumError(
            f"host addresses of {engine} need {bits} bits; the host link has {HOST_WORD_BITS}"
        )
    if len(network.layers) > config.layers:
        raise ResiduumError(
            f"the network {network.name} has {len(network.layers)} layers; "
            f"{engine} holds {config.layers} layer descriptors"
        )
    for layer, needed in _room_needed(network, config):
        for memory, count in needed.items():
            if count > (there := getattr(config, memory)):
                raise ResiduumError(
                    f"layer {layer.name!r}: {count} {memory.replace('_', ' ')} are needed up to "
                    f"this layer; {engine} has {there}"
                )


def _check_fraction_bits(layer: Layer, config: EngineConfig) -> None:
    expected = 0 if layer.coding == PIXELS else config.fraction_bits
    if layer.fraction_bits != expected:
        raise ResiduumError(
            f"layer {layer.name!r} has {layer.fraction_bits} fraction bits; this engine has "
            f"{expected} for {layer.coding}"
        )


def _bits_needed(layer: Layer, steps: int) -> list[tuple[str, str, list[int]]]:
    """Quantities of a layer: name, width parameter in `EngineConfig`, bits needed per channel.

    Thresholds are checked separately from potentials: v starts at TH / 2, so TH may need one bit
    more than every potential.
    """
    limits = bounds(layer, steps)
    weight = layer.weight.reshape(layer.out_channels, -1)
    threshold = layer.bias if layer.threshold is None else layer.threshold
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


def _check_widths(layer: Layer, config: EngineConfig, steps: int, engine: str = _ENGINE) -> None:
    """Refuses a layer with a value that could overflow its register."""
    for what, width, needed in _bits_needed(layer, steps):
        channel, there = int(np.argmax(needed)), getattr(config, width)
        if needed[channel] > there:
            raise ResiduumError(
                f"layer {layer.name!r}, channel {channel}: {what} need {needed[channel]} bits; "
                f"{engine} has {there}"
            )


def _place(slot: int, config: EngineConfig) -> dict[str, int]:
    """Bank and lane of a slot, as fields of a host address."""
    lane, bank = divmod(slot, config.tiles)
    return {"bank": bank, "lane": lane}


def _skips_empty(layer: Layer, shape: tuple[int, int, int], passes: int) -> bool:
    """Whether windows without events share one result: hidden layers with more than one window, in
    a single pass."""
    return layer.threshold is not None and passes == 1 and shape[1] * shape[2] > 1


def _place_maps(
    network: IntegerNetwork, config: EngineConfig, engine: str = _ENGINE
) -> list[MapPlan | PackedImage]:
    """Feature memory rows for the image and all maps.

    A map is needed from the layer that writes it to the next layer, which reads it. So only the
    input map of a layer is in use when its output map is placed: at row 0 if the output map fits
    below the input map, else above the input map.
    """
    before = _plan_image(network, config)
    _check_dimensions(network.layers[0], before, network.shapes[0])
    if before.rows_taken > config.feature_rows:
        raise ResiduumError(
            f"the image needs {before.rows_taken} rows of feature memory; "
            f"{engine} has {config.feature_rows}"
        )
    plans = [before]
    for index, (layer, shape) in enumerate(
        zip(network.layers[:-1], network.shapes[:-1], strict=True)
    ):
        plan = MapPlan(shape, config.lanes)
        _check_dimensions(network.layers[index + 1], plan, network.shapes[index + 1])
        empty = _skips_empty(layer, shape, before.passes)
        rows = plan.rows + (plan.groups if empty else 0)
        row = 0 if rows <= before.row else before.row + before.rows_taken
        if row + rows > config.feature_rows:
            raise ResiduumError(
                f"layer {layer.name!r}: its input and output maps need {row + rows} rows of "
                f"feature memory; {engine} has {config.feature_rows}"
            )
        before = replace(plan, row=row, empty_row=row + plan.rows if empty else None)
        plans.append(before)
    return plans


def _check_dimensions(
    layer: Layer, source: MapPlan | PackedImage, shape: tuple[int, int, int]
) -> None:
    """Refuses a layer with more positions along an axis than a descriptor field can count."""
    sizes = {
        "an input height": source.shape[1],
        "an input width": source.shape[2],
        "an output height": shape[1],
        "an output width": shape[2],
        "window lines": source.pitch if isinstance(source, PackedImage) else source.groups,
    }
    for what, size in sizes.items():
        if size > MAX_DIMENSION:
            rows = " rows of feature memory" if what == "window lines" else ""
            raise ResiduumError(
                f"layer {layer.name!r} has {what} of {size}{rows}; an engine takes {MAX_DIMENSION}"
            )


def axis_entries(
    *, size: int, pool: int, kernel: int, stride: int, padding: int, outputs: int
) -> list[tuple[int, int, int]]:
    """The windows along one axis, clipped to the map.

    One tuple per output position: first input position, first kernel position, number of input
    positions. Input positions are counted before pooling, kernel positions after it.
    """
    pooled = size // pool
    entries = []
    for output in range(outputs):
        start = output * stride - padding
        low, high = max(0, start), min(pooled, start + kernel)
        entries.append((low * pool, low - start, (high - low) * pool))
    return entries


class _Assembler:
    """Collects the host writes of a program, resource by resource."""

    def __init__(
        self, network: IntegerNetwork, config: EngineConfig, maps: list[MapPlan | PackedImage]
    ):
        self.network = network
        self.config = config
        self.maps = maps
        self.host_map = HostMap(config)
        self.weight_rows = 0
        self.channel_groups = 0
        self.table_entries = 0
        self.writes: list[tuple[int, int]] = []
        self.bulk: list[tuple[np.ndarray, np.ndarray]] = []

    def program(self) -> Program:
        plans = tuple(self._layer(index) for index in range(len(self.network.layers)))
        addresses = np.array([a for a, _ in self.writes], np.uint32)
        words = np.array([w for _, w in self.writes], np.uint32)
        return Program(
            network=self.network,
            config=self.config,
            layers=plans,
            addresses=np.concatenate([addresses, *(a for a, _ in self.bulk)]),
            words=np.concatenate([words, *(w for _, w in self.bulk)]),
        )

    def _layer(self, index: int) -> LayerPlan:
        config, layer = self.config, self.network.layers[index]
        source = self.maps[index]
        shape = self.network.shapes[index]
        is_output = layer.threshold is None
        following = None if is_output else self.maps[index + 1]
        target = following if isinstance(following, MapPlan) else None

        channels = layer.in_channels
        kernel_h, kernel_w = layer.kernel
        groups = -(-layer.out_channels // config.lanes)
        group_rows = kernel_h * kernel_w * channels
        weight_row, group = self.weight_rows, self.channel_groups
        self.weight_rows += groups * group_rows
        self.channel_groups += groups
        lines, columns = self._tables(layer, source, shape)
        table_y, table_x = self._table(lines), self._table(columns)

        modulus = 1 << config.weight_row_bits
        descriptor = LayerDescriptor(
            windows_y=shape[1] - 1,
            windows_x=shape[2] - 1,
            table_y=table_y,
            table_x=table_x,
            groups=groups - 1,
            passes=source.passes - 1,
            pool_y=layer.pool[0] - 1,
            pool_x=layer.pool[1] - 1,
            input_row=source.row,
            pass_pitch=source.rows if source.passes > 1 else 0,
            pitch_y=source.pitch % (1 << config.feature_row_bits),
            pitch_x=source.groups,
            input_empty_row=source.empty_row or 0,
            weight_row=weight_row,
            weight_x=channels % modulus,
            weight_y=kernel_w * channels % modulus,
            weight_group=group_rows % modulus,
            skip_empty=int(_skips_empty(layer, shape, source.passes)),
            last_lane=-(-min(layer.out_channels, config.lanes) // config.tiles) - 1,
            pixels=int(layer.coding == PIXELS),
            output=int(is_output),
            output_row=target.row if target else 0,
            output_empty_row=(target.empty_row or 0) if target else 0,
            output_pitch=groups if target else 0,
            parameter_group=group,
            classes=layer.out_channels - 1 if is_output else 0,
        )
        try:
            words = descriptor.words(config)
        except ValueError as error:
            raise ResiduumError(f"layer {layer.name!r} does not fit this engine: {error}") from None
        for word, value in enumerate(words):
            self._write(Region.DESCRIPTORS, value, layer=index, word=word)
        interleaved = isinstance(source, PackedImage) and source.interleaved
        self._weights(layer, weight_row, groups, interleaved)
        self._parameters(layer, group, groups)
        return LayerPlan(layer, source, target, descriptor, tuple(lines), tuple(columns), groups)

    def _tables(
        self, layer: Layer, source: MapPlan | PackedImage, shape: tuple[int, int, int]
    ) -> tuple[list[AxisEntry], list[AxisEntry]]:
        """Both axis tables of a layer, vertical and horizontal."""
        config, channels = self.config, layer.in_channels
        modulus = 1 << config.weight_row_bits
        vertical, horizontal = (
            axis_entries(
                size=source.shape[1 + axis],
                pool=layer.pool[axis],
                kernel=layer.kernel[axis],
                stride=layer.stride,
                padding=layer.padding,
                outputs=shape[1 + axis],
            )
            for axis in (0, 1)
        )
        if isinstance(source, PackedImage):
            if source.interleaved:
                vertical = [(band, 0, 1) for band in range(source.bands)]
            columns = [self._packed(source, *entry) for entry in horizontal]
        else:
            columns = [
                AxisEntry(
                    row=low * source.groups,
                    weight=kernel * channels % modulus,
                    count=count - 1,
                    span=source.groups - 1,
                    head=0,
                    tail=(channels - 1) % config.lanes,
                )
                for low, kernel, count in horizontal
            ]
        lines = [
            AxisEntry(
                row=low * source.pitch,
                weight=kernel * layer.kernel[1] * channels % modulus,
                count=count - 1,
            )
            for low, kernel, count in vertical
        ]
        return lines, columns

    def _packed(self, source: PackedImage, low: int, kernel: int, count: int) -> AxisEntry:
        """The single segment of a window in a packed band: positions low .. low + count - 1."""
        first_row, head = divmod(low * source.column, source.lanes)
        last_row, tail = divmod((low + count) * source.column - 1, source.lanes)
        # `weight` is the weight row of slot 0 of the first row, a slot that may precede the window.
        weight = (kernel * source.column - head) % (1 << self.config.weight_row_bits)
        return AxisEntry(
            row=first_row, weight=weight, count=0, span=last_row - first_row, head=head, tail=tail
        )

    def _table(self, entries: list[AxisEntry]) -> int:
        first = self.table_entries
        self.table_entries += len(entries)
        width = AxisEntry.width(self.config)
        for index, entry in enumerate(entries):
            for part, word in enumerate(split_words(entry.pack(self.config), width)):
                self._write(Region.TABLES, word, entry=first + index, part=part)
        return first

    def _weights(self, layer: Layer, first: int, groups: int, interleaved: bool) -> None:
        """Weight rows in the order group, kernel row, kernel column, input channel.

        For an interleaved image the kernel column is outside the kernel row.
        """
        config = self.config
        inputs = layer.in_channels * math.prod(layer.kernel)
        order = (0, 3, 2, 1) if interleaved else (0, 2, 3, 1)
        padded = np.zeros((groups * config.lanes, inputs), np.int64)
        padded[: layer.out_channels] = layer.weight.transpose(order).reshape(
            layer.out_channels, inputs
        )
        # Slot s of a group is lane s // tiles of tile s % tiles. New axes: group, row, tile, lane.
        rows = padded.reshape(groups, config.tile_lanes, config.tiles, inputs).transpose(0, 3, 2, 1)
        store = rows.reshape(groups * inputs, config.tiles, config.tile_lanes)
        bits = (store[..., None] >> np.arange(config.weight_bits)) & 1
        bits = bits.reshape(len(store), config.tiles, -1)
        width = bits.shape[-1]
        parts = -(-width // 32)
        bits = np.pad(bits, ((0, 0), (0, 0), (0, parts * 32 - width)))
        words = (bits.reshape(len(store), config.tiles, parts, 32) << np.arange(32)).sum(axis=-1)
        zero = self.host_map.address(Region.WEIGHTS)
        steps = {
            name: self.host_map.address(Region.WEIGHTS, **{name: 1}) - zero
            for name, count in (("row", 2), ("bank", config.tiles), ("part", parts))
            if count > 1
        }
        row, bank, part = np.ogrid[first : first + len(store), : config.tiles, :parts]
        addresses = (
            zero + row * steps["row"] + bank * steps.get("bank", 0) + part * steps.get("part", 0)
        )
        self.bulk.append(
            (addresses.reshape(-1).astype(np.uint32), words.reshape(-1).astype(np.uint32))
        )

    def _parameters(self, layer: Layer, first: int, groups: int) -> None:
        """Bias and threshold of every lane; a lane without a channel gets the largest threshold and
        never fires."""
        config = self.config
        never = (1 << config.potential_bits - 1) - 1
        for index in range(groups * config.lanes):
            group, slot = divmod(index, config.lanes)
            bias = int(layer.bias[index]) if index < layer.out_channels else 0
            threshold = never if layer.threshold is not None else 0
            if layer.threshold is not None and index < layer.out_channels:
                threshold = int(layer.threshold[index])
            for part, value in enumerate((bias, threshold)):
                self._write(
                    Region.PARAMETERS,
                    value & 0xFFFFFFFF,
                    group=first + group,
                    part=part,
                    **_place(slot, config),
                )

    def _write(self, region: Region, value: int, /, **fields: int) -> None:
        self.writes.append((self.host_map.address(region, **fields), value))


__all__ = ["LayerPlan", "MapPlan", "PackedImage", "Program", "axis_entries", "compile_network"]
