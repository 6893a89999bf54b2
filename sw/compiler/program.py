"""Compiler: translates an integer network into the program of an engine of given sizes.

The program is a list of host writes: layer descriptors, axis tables, weight rows, and per channel a
bias and a threshold. `Program` also computes the host accesses that write an image and read trains
and logits.

`residuum.sw.compiler.maps` lays out the image and the maps. In both of its layouts a window is a
list of segments. A segment is a run of consecutive slots whose weight rows are consecutive too; the
axis tables hold its start.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry, LayerDescriptor
from residuum.hw.isa.host_map import HostMap, Region, split_words
from residuum.sw.checks import whole_number
from residuum.sw.compiler.axes import axis_entries
from residuum.sw.compiler.fit import Need, needs
from residuum.sw.compiler.maps import MapPlan, PackedImage, place_maps, skips_empty
from residuum.sw.compiler.runnable import not_runnable
from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import Shape, Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer

# Width of potentials, and of shifted accumulators, in the largest engine.
_MAX_BITS = 32
_MEMORIES = ("weight_rows", "feature_rows", "channel_groups", "table_entries", "layers")


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

    @property
    def weight_rows(self) -> int:
        """Weight rows of all groups."""
        source = self.layer.source
        return self.groups * source.in_channels * math.prod(source.kernel)


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
        framed = self.network.with_border(self.network.as_image(image)[None])[0]
        pixels = plan.scatter(framed.astype(np.uint32))
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
    _refuse(network, needs(network, config, max(tau, T)))
    return _Assembler(network, config, place_maps(network, config)).program()


def _refuse(network: IntegerNetwork, taken: Iterable[Need]) -> list[Need]:
    """The needs, if the engine meets them; else ``ResiduumError`` on the first that it does not."""
    if sentences := not_runnable(network):
        raise ResiduumError(sentences[0])
    found = []
    for need in taken:
        if not need.fits:
            raise ResiduumError(need.sentence)
        found.append(need)
    return found


def grow_to_fit(network: IntegerNetwork, config: EngineConfig) -> EngineConfig:
    """``config`` with memories, accumulators and potentials enlarged to fit a network.

    An enlarged memory has a power of two entries. Accumulators and potentials are wide enough for
    every tau and T with tau + T <= ``config.steps``.

    Raises
    ------
    ResiduumError
        As `compile_network`, if the network exceeds even the largest engine.
    """
    largest = config.with_changes(
        weight_rows=1 << 20,
        feature_rows=1 << 20,
        channel_groups=1 << 12,
        table_entries=1 << 16,
        layers=64,
        accumulator_bits=_MAX_BITS - config.fraction_bits,
        potential_bits=_MAX_BITS,
    )
    found = _refuse(network, needs(network, largest, config.steps, "the largest engine"))
    needed = {need.parameter: need.needed for need in found}
    widths = {
        name: max(getattr(config, name), needed[name])
        for name in ("accumulator_bits", "potential_bits")
    }
    widths["potential_bits"] = max(
        widths["potential_bits"], widths["accumulator_bits"] + config.fraction_bits
    )
    grown = {
        name: 1 << (needed[name] - 1).bit_length()
        for name in _MEMORIES
        if needed[name] > getattr(config, name)
    }
    return config.with_changes(**grown, **widths)


def _place(slot: int, config: EngineConfig) -> dict[str, int]:
    """Bank and lane of a slot, as fields of a host address."""
    lane, bank = divmod(slot, config.tiles)
    return {"bank": bank, "lane": lane}


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

        read = layer.source
        channels = read.in_channels
        kernel_h, kernel_w = read.kernel
        groups = -(-layer.out_channels // config.lanes)
        group_rows = kernel_h * kernel_w * channels
        weight_row, group = self.weight_rows, self.channel_groups
        self.weight_rows += groups * group_rows
        self.channel_groups += groups
        lines, columns = self._tables(read, source, shape)
        table_y, table_x = self._table(lines), self._table(columns)

        modulus = 1 << config.weight_row_bits
        descriptor = LayerDescriptor(
            windows_y=shape[1] - 1,
            windows_x=shape[2] - 1,
            table_y=table_y,
            table_x=table_x,
            groups=groups - 1,
            passes=source.passes - 1,
            pool_y=read.pool[0] - 1,
            pool_x=read.pool[1] - 1,
            input_row=source.row,
            pass_pitch=source.rows if source.passes > 1 else 0,
            # A kernel with a single position along an axis never adds a pitch that wraps.
            pitch_y=source.pitch * read.dilation[0] % (1 << config.feature_row_bits),
            pitch_x=source.groups * read.dilation[1] % (1 << config.feature_row_bits),
            input_empty_row=source.empty_row or 0,
            weight_row=weight_row,
            weight_x=channels % modulus,
            weight_y=kernel_w * channels % modulus,
            weight_group=group_rows % modulus,
            skip_empty=int(skips_empty(layer, shape, source.passes)),
            last_lane=-(-min(layer.out_channels, config.lanes) // config.tiles) - 1,
            pixels=int(self.network.reads_image(layer)),
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
        self._weights(read, weight_row, groups, interleaved)
        self._parameters(layer, group, groups)
        return LayerPlan(layer, source, target, descriptor, tuple(lines), tuple(columns), groups)

    def _tables(
        self, read: Source, source: MapPlan | PackedImage, shape: Shape
    ) -> tuple[list[AxisEntry], list[AxisEntry]]:
        """Both axis tables of a layer, vertical and horizontal."""
        config, channels = self.config, read.in_channels
        modulus = 1 << config.weight_row_bits
        vertical, horizontal = (
            axis_entries(
                size=source.shape[1 + axis],
                pool=read.pool[axis],
                kernel=read.kernel[axis],
                stride=read.stride[axis],
                padding=read.padding[2 * axis],
                outputs=shape[1 + axis],
                dilation=read.dilation[axis],
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
                weight=kernel * read.kernel[1] * channels % modulus,
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

    def _weights(self, read: Source, first: int, groups: int, interleaved: bool) -> None:
        """Weight rows in the order group, kernel row, kernel column, input channel.

        For an interleaved image the kernel column is outside the kernel row.
        """
        config = self.config
        inputs = read.in_channels * math.prod(read.kernel)
        order = (0, 3, 2, 1) if interleaved else (0, 2, 3, 1)
        padded = np.zeros((groups * config.lanes, inputs), np.int64)
        padded[: read.out_channels] = (
            dense_weight(read).transpose(order).reshape(read.out_channels, inputs)
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


def dense_weight(source: Source) -> np.ndarray:
    """Weights (out, in, kernel_h, kernel_w) with zeros between different groups of channels."""
    if source.groups == 1:
        return source.weight
    out, channels = source.out_channels // source.groups, source.in_channels // source.groups
    weight = np.zeros((source.out_channels, source.in_channels, *source.kernel), np.int32)
    for group in range(source.groups):
        rows = slice(group * out, (group + 1) * out)
        weight[rows, group * channels : (group + 1) * channels] = source.weight[rows]
    return weight


__all__ = ["LayerPlan", "MapPlan", "PackedImage", "Program", "axis_entries", "compile_network"]
