"""Layout of a network on an engine: how its layers read their maps, and where their weights,
parameters and tables go. The memories may be of any size; `residuum.sw.compiler.fit` compares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from residuum.hw.isa.config import CHUNK_ROWS, EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.sw.compiler.axes import axis_entries, max_positions
from residuum.sw.compiler.batch import SINGLE, Batch, Turn
from residuum.sw.compiler.blocks import stack_columns, stack_height
from residuum.sw.compiler.exact import as_run
from residuum.sw.compiler.maps import (
    MapPlan,
    PackedMap,
    Placement,
    Plan,
    dense_weight,
    lanes_used,
    neuron_shapes,
    place_maps,
    skips_empty,
)
from residuum.sw.compiler.wide import Choice, choices, widened
from residuum.sw.network.graph import Shape, Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer

Entries = tuple[AxisEntry, ...]


@dataclass(frozen=True)
class Part:
    """What a group of output channels reads of each position of a map: ``channels`` channels from
    slot 0 of row ``row`` on. All its other weights are zero."""

    row: int
    channels: int


@dataclass(frozen=True)
class Reading:
    """How a layer reads one of its sources.

    Attributes
    ----------
    plan
        The map.
    parts
        Of each group of output channels. In a packed map all groups read whole positions.
    """

    source: Source
    plan: Plan
    parts: tuple[Part, ...]

    @property
    def column(self) -> int:
        """Weight rows of a position of the kernel; of a whole kernel column, if the lines of the
        map are interleaved. The same for all groups."""
        if isinstance(self.plan, PackedMap):
            return max(self.plan.column, self.source.in_channels)
        return max(part.channels for part in self.parts)

    @property
    def line(self) -> int:
        """Weight rows of a kernel line."""
        return self.source.kernel[1] * self.column

    @property
    def weight_rows(self) -> int:
        """Weight rows of a group."""
        interleaved = isinstance(self.plan, PackedMap) and self.plan.interleaved
        return self.line if interleaved else self.source.kernel[0] * self.line

    def weights(self, group: int, lanes: int) -> np.ndarray:
        """Weight rows of a group in the order of the walk, int (weight_rows, channels of the
        group): kernel line, kernel column, input channel. For interleaved lines the kernel column
        is outside the kernel line."""
        weight = dense_weight(self.source)[group * lanes : (group + 1) * lanes]
        part = self.parts[group]
        if isinstance(self.plan, MapPlan):
            first = part.row * lanes
            weight = weight[:, first : first + part.channels]
        interleaved = isinstance(self.plan, PackedMap) and self.plan.interleaved
        # (out, in, y, x) -> (y, x, in, out)
        ordered = weight.transpose((3, 2, 1, 0) if interleaved else (2, 3, 1, 0))
        if interleaved:
            return ordered.reshape(self.weight_rows, -1)
        spare = self.column - ordered.shape[2]
        return np.pad(ordered, ((0, 0), (0, 0), (0, spare), (0, 0))).reshape(self.weight_rows, -1)

    def group_entry(self, group: int, weight: int, *, second: bool) -> AxisEntry:
        """The entry of a group whose weights start in row ``weight``."""
        plan, part = self.plan, self.parts[group]
        shared = 0 if plan.empty_row is None else plan.empty_row + part.row
        span, tail = divmod(part.channels - 1, plan.lanes)
        if isinstance(plan, PackedMap) and not second:
            # They depend on the position: the horizontal entry has them.
            span = tail = 0
        return AxisEntry(
            row=plan.row + part.row, weight=weight, span=span, tail=tail, second_row=shared
        )

    def windows(self, axis: int, outputs: int) -> list[tuple[int, int, int]]:
        """`axis_entries` of the layer's neurons along an axis."""
        read = self.source
        return axis_entries(
            size=self.plan.shape[1 + axis],
            pool=read.pool[axis],
            kernel=read.kernel[axis],
            stride=read.stride[axis],
            padding=read.padding[2 * axis],
            outputs=outputs,
            dilation=read.dilation[axis],
        )

    def lines(self, outputs: int) -> list[tuple[int, int, int]]:
        """Row, weight row and input lines of the windows of each output line; rows count from the
        start of the map, and weight rows from those of the group."""
        if isinstance(self.plan, PackedMap) and self.plan.interleaved:
            return [(band * self.plan.pitch, 0, 1) for band in range(outputs)]
        return [
            (low * self.plan.pitch, kernel * self.line, count)
            for low, kernel, count in self.windows(0, outputs)
        ]

    def columns(self, outputs: int) -> list[AxisEntry]:
        """The windows along a line."""
        plan = self.plan
        return [
            AxisEntry(row=low * plan.groups, weight=kernel * self.column, count=count - 1)
            if isinstance(plan, MapPlan)
            else self._segment(plan, low, kernel, count)
            for low, kernel, count in self.windows(1, outputs)
        ]

    def _segment(self, plan: PackedMap, low: int, kernel: int, count: int) -> AxisEntry:
        """The single segment of a line of a window in a packed map: positions low .. low + count -
        1, of the last one only the channels."""
        blank = plan.column - plan.lines * plan.shape[0]
        first_row, head = divmod(low * plan.column, plan.lanes)
        last_row, tail = divmod((low + count) * plan.column - 1 - blank, plan.lanes)
        return AxisEntry(
            row=first_row,
            # Of slot 0 of the first row, a slot that may precede the window.
            weight=kernel * plan.column - head,
            span=last_row - first_row,
            head=head,
            tail=tail,
        )

    def second_row(self, line: int) -> int:
        """Row of a line of windows in a second source, from the start of the map."""
        return line * self.source.stride[0] * self.plan.pitch

    def second_column(self, position: int) -> tuple[int, int]:
        """Row in its line, and first slot, of a window in a second source."""
        x = position * self.source.stride[1]
        if isinstance(self.plan, MapPlan):
            return x * self.plan.groups, 0
        return divmod(x * self.plan.column, self.plan.lanes)


@dataclass(frozen=True)
class LayerLayout:
    """A layer on an engine.

    Attributes
    ----------
    turn
        Its number, and the images that it runs for.
    layer
        In the terms of the engine (`residuum.sw.compiler.exact`).
    readings
        One for each source, in the order of the walk.
    output
        The map that it writes, that of its first image; None for the output layer.
    lines, columns, groups
        Tables; weight rows are not reduced to the engine's address space.
    steps
        Neurons along each axis in a window of the max-pooling.
    windows
        (h, w) of the map that it writes, those of all its images below each other.
    lanes
        Lanes of each tile that it uses.
    weight_row, first_lane, parameter_row
        Where its weights and parameters start.
    skip_empty
        Windows without events share one result.
    positions
        Output positions per window (`residuum.sw.compiler.wide`); they are channels of ``layer``.
    chunks
        Chunks of weight rows of a group in the external memory; 0: the weight store has them.
    """

    turn: Turn
    layer: Layer
    readings: tuple[Reading, ...]
    output: Plan | None
    groups: Entries
    lines: Entries
    columns: Entries
    steps: tuple[int, int]
    windows: tuple[int, int]
    lanes: int
    weight_row: int
    first_lane: int
    parameter_row: int
    skip_empty: bool
    positions: int
    chunks: int

    @property
    def group_count(self) -> int:
        """Groups of output channels."""
        return len(self.groups) // len(self.readings)

    @property
    def group_rows(self) -> int:
        """Weight rows of a group, with those that fill its last chunk."""
        if self.chunks:
            return self.chunks * CHUNK_ROWS
        return sum(reading.weight_rows for reading in self.readings)

    @property
    def weight_rows(self) -> int:
        """Weight rows of all groups."""
        return self.group_count * self.group_rows

    @property
    def parameter_rows(self) -> int:
        return self.group_count * self.lanes


@dataclass(frozen=True)
class Layout:
    """A network on an engine.

    Attributes
    ----------
    network
        In the terms of the engine.
    placement
        Of the maps.
    layers
        In the order in which they run.
    weight_rows, parameter_rows
        Rows that all layers take together.
    tables
        First entry of the tables of each layer: groups, lines, columns. Equal tables are stored
        once, also if one is a part of another.
    entries
        All tables.
    external
        The weight rows are in the external memory, those of all layers one after another.
    """

    network: IntegerNetwork
    placement: Placement
    layers: tuple[LayerLayout, ...]
    weight_rows: int
    parameter_rows: int
    tables: tuple[tuple[int, int, int], ...]
    entries: Entries
    external: bool

    @property
    def ring_rows(self) -> int:
        """Weight rows that the weight store must hold at least."""
        if self.external:
            return max(layer.group_rows for layer in self.layers)
        return self.weight_rows

    @property
    def logit_rows(self) -> int:
        final = self.layers[-1]
        return final.parameter_rows * len(final.turn.images)


@lru_cache(maxsize=16)
def lay_out(network: IntegerNetwork, config: EngineConfig, batch: Batch = SINGLE) -> Layout:
    """The smallest layout of a network that the engine can run, but for the sizes of its
    memories. Weights that do not fit go to the external memory, if there is one."""
    layout = _lay_out(as_run(network, config), config, {}, batch)
    if config.external and layout.weight_rows > config.weight_rows:
        return _lay_out(layout.network, config, {}, batch, external=True)
    return layout


@lru_cache(maxsize=16)
def lay_out_wide(network: IntegerNetwork, config: EngineConfig, batch: Batch = SINGLE) -> Layout:
    """The layout with wide windows wherever the memories have room for them, those first that save
    most cycles per weight row; with none for a batch, or for weights in the external memory."""
    layout = lay_out(network, config, batch)
    if layout.external or batch.images > 1:
        return layout
    network = layout.network
    chosen: dict[int, Choice] = {}
    for choice in _by_worth(choices(network, config), layout):
        before = chosen.get(choice.index)
        if before and before.saved > choice.saved:
            continue
        trial = _lay_out(network, config, chosen | {choice.index: choice}, SINGLE)
        if _fits(trial, config):
            layout = trial
            chosen[choice.index] = choice
    return layout


def _by_worth(found: Iterable[Choice], layout: Layout) -> list[Choice]:
    """In the order in which they are tried."""

    def worth(choice: Choice) -> float:
        layer = layout.layers[choice.index]
        return choice.saved / (layer.weight_rows * choice.positions)

    return sorted(found, key=worth, reverse=True)


def _fits(layout: Layout, config: EngineConfig) -> bool:
    return (
        layout.placement.rows <= config.feature_rows
        and layout.ring_rows <= config.weight_rows
        and layout.parameter_rows <= config.parameter_rows
        and len(layout.entries) <= config.table_entries
    )


def _lay_out(
    network: IntegerNetwork,
    config: EngineConfig,
    chosen: Mapping[int, Choice],
    batch: Batch,
    *,
    external: bool = False,
) -> Layout:
    """The layout of a network in the terms of the engine, with these wide windows, and the weights
    in the store or in the external memory."""
    packed = frozenset[int]().union(*(choice.packed for choice in chosen.values()))
    placement = place_maps(network, config, packed, batch)
    plans = placement.maps
    network_layers = [
        _widened(layer, chosen[index], plans) if index in chosen else layer
        for index, layer in enumerate(network.layers)
    ]
    readings = [
        tuple(_reading(source, plans[source.map], config.lanes) for source in layer.sources)
        for layer in network_layers
    ]
    lanes = [lanes_used(layer.out_channels, config) for layer in network_layers]
    groups = [-(-layer.out_channels // config.lanes) for layer in network_layers]
    group_rows = [sum(reading.weight_rows for reading in of_layer) for of_layer in readings]
    chunks = [-(-rows // CHUNK_ROWS) if external else 0 for rows in group_rows]
    if external:
        group_rows = [count * CHUNK_ROWS for count in chunks]
    # The external memory has whole rows, so no layer shares one with another.
    widths = [config.tile_lanes] * len(lanes) if external else lanes
    rows = [count * of_group for count, of_group in zip(groups, group_rows, strict=True)]
    sizes = list(zip(rows, widths, strict=True))
    places = stack_columns(sizes, config.tile_lanes)
    parameters = [count * used for count, used in zip(groups, lanes, strict=True)]
    layers = []
    for turn in batch.turns(len(network_layers)):
        index = turn.layer
        layer = network_layers[index]
        first, first_lane = places[index]
        positions = chosen[index].positions if index in chosen else 1
        channels, height, width = neuron_shapes(network)[index]
        of_turn, offsets = _of_turn(readings[index], placement, turn)
        steps, lines, columns = _windows(
            layer, of_turn, (channels, height, width // positions), offsets
        )
        output = None
        if index in plans:
            output = replace(plans[index], row=placement.starts[index][turn.images.start])
        layers.append(
            LayerLayout(
                turn,
                layer,
                of_turn,
                output,
                _group_entries(of_turn, groups[index], first, group_rows[index]),
                lines,
                columns,
                steps,
                (len(lines) // steps[0], len(columns) // steps[1]),
                lanes[index],
                first,
                first_lane,
                sum(parameters[:index]),
                skips_empty(network, index, plans),
                positions,
                chunks[index],
            )
        )
    tables, alone = [], []
    for layout in layers:
        tables += [layout.groups, layout.lines, layout.columns]
        alone += [False, *[len(layout.readings) == 1] * 2]
    entries, starts = share_tables(tables, alone)
    return Layout(
        network,
        placement,
        tuple(layers),
        stack_height(sizes, places),
        sum(parameters),
        tuple((starts[i], starts[i + 1], starts[i + 2]) for i in range(0, len(starts), 3)),
        entries,
        external,
    )


def _widened(layer: Layer, choice: Choice, plans: Mapping[int, Plan]) -> Layer:
    second = plans[layer.sources[1].map] if len(layer.sources) > 1 else None
    assert not isinstance(second, MapPlan)
    return widened(layer, choice.positions, second)


def _reading(source: Source, plan: Plan, lanes: int) -> Reading:
    groups = -(-source.out_channels // lanes)
    if isinstance(plan, PackedMap):
        return Reading(source, plan, (Part(0, source.in_channels),) * groups)
    return Reading(source, plan, parts_read(source, lanes))


@lru_cache(maxsize=256)
def parts_read(source: Source, lanes: int) -> tuple[Part, ...]:
    """For each group of output channels, the rows of a position from the first to the last one with
    a weight that is not zero, up to the last such channel.

    A group without any weight reads one channel, of the row that it would have in an identity.
    """
    used = (dense_weight(source) != 0).any(axis=(2, 3))
    parts = []
    for group in range(-(-source.out_channels // lanes)):
        channels = np.flatnonzero(used[group * lanes : (group + 1) * lanes].any(axis=0))
        if not len(channels):
            parts.append(Part(min(group, (source.in_channels - 1) // lanes), 1))
            continue
        row = int(channels[0]) // lanes
        parts.append(Part(row, int(channels[-1]) + 1 - row * lanes))
    return tuple(parts)


def _group_entries(readings: Sequence[Reading], groups: int, first: int, rows: int) -> Entries:
    """The table of groups; the weights of a group are those of its first source, then those of its
    second one."""
    entries = []
    for group in range(groups):
        row = first + group * rows
        for number, reading in enumerate(readings):
            entries.append(reading.group_entry(group, row, second=number == 1))
            row += reading.weight_rows
    return tuple(entries)


def _of_turn(
    readings: Sequence[Reading], placement: Placement, turn: Turn
) -> tuple[tuple[Reading, ...], list[list[int]]]:
    """How a turn reads its maps, and where the map of each of its images starts from there on, for
    each source."""
    starts = [
        [placement.starts[reading.source.map][image] for image in turn.images]
        for reading in readings
    ]
    moved = [
        replace(reading, plan=replace(reading.plan, row=min(rows)))
        for reading, rows in zip(readings, starts, strict=True)
    ]
    offsets = [
        [row - min(rows) for row, rows in zip(own, starts, strict=True)]
        for own in zip(*starts, strict=True)
    ]
    return tuple(moved), offsets


def _windows(
    layer: Layer,
    readings: Sequence[Reading],
    neurons: Shape,
    offsets: Sequence[Sequence[int]],
) -> tuple[tuple[int, int], Entries, Entries]:
    """Neurons in a window of the max-pooling along each axis, and both axis tables of a layer.

    ``offsets`` are rows from the start of the plan of each source to the map of an image.
    """
    orders, steps = [], []
    for axis, size in enumerate(neurons[1:]):
        windows = [[position] for position in range(size)]
        if pool := layer.max_pool:
            windows = max_positions(
                size=size,
                kernel=pool.kernel[axis],
                stride=pool.stride[axis],
                padding=pool.padding[2 * axis],
                outputs=pool.output_shape(neurons)[1 + axis],
            )
        steps.append(len(windows[0]))
        orders.append([position for window in windows for position in window])
    first = readings[0]
    second = readings[1] if len(readings) > 1 else None
    of_lines, of_columns = first.lines(neurons[1]), first.columns(neurons[2])
    lines = []
    for image in offsets:
        for y in orders[0]:
            row, weight, count = of_lines[y]
            lines.append(
                AxisEntry(
                    row=row + image[0],
                    weight=weight,
                    count=count - 1,
                    second_row=second.second_row(y) + image[1] if second else 0,
                )
            )
    columns = []
    for x in orders[1]:
        entry = of_columns[x]
        if second:
            second_row, second_head = second.second_column(x)
            entry = replace(entry, second_row=second_row, second_head=second_head)
        columns.append(entry)
    return (steps[0], steps[1]), tuple(lines), tuple(columns)


def share_tables(
    tables: Sequence[Entries], alone: Sequence[bool] | None = None
) -> tuple[Entries, list[int]]:
    """All entries of some tables, and the first entry of each; equal runs are stored once.

    ``alone`` tells which tables are for the axes of a layer with one source: it does not read the
    fields of a second one, so the entries of another layer may have them. None: no table.
    """
    alone = [False] * len(tables) if alone is None else alone
    numbers: dict[AxisEntry, int] = {}

    def coded(entry: AxisEntry) -> bytes:
        return numbers.setdefault(entry, len(numbers)).to_bytes(4, "little")

    # What is stored, and the same without a second source.
    stored: list[AxisEntry] = []
    exact = without = b""
    starts = [0] * len(tables)
    for index in sorted(range(len(tables)), key=lambda i: (-len(tables[i]), alone[i])):
        wanted = b"".join(map(coded, tables[index]))
        place = _aligned(without if alone[index] else exact, wanted)
        if place < 0:
            place = len(stored)
            stored += tables[index]
            exact += wanted
            without += b"".join(coded(_with_one_source(entry)) for entry in tables[index])
        starts[index] = place
    return tuple(stored), starts


def _with_one_source(entry: AxisEntry) -> AxisEntry:
    return replace(entry, second_row=0, second_head=0)


def _aligned(stored: bytes, wanted: bytes) -> int:
    """The first entry of a run of entries of four bytes; -1: there is none."""
    place = stored.find(wanted)
    while place % 4 and place >= 0:
        place = stored.find(wanted, place + 1)
    return place // 4 if place >= 0 else -1
