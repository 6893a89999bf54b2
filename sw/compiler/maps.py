"""Layout of the feature memory: the input, the maps, and the rows that each of them takes.

A map of C channels on an engine of P lanes takes G = ceil(C / P) rows of the feature memory per
position, channel c in slot c % P of row c // P (`MapPlan`). Slot s is lane s // tiles of bank
s % tiles. In a packed map (`PackedMap`) a row holds several positions.

A map is in use from the layer that writes it to the last layer that reads it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sw.compiler.batch import SINGLE, Batch
from residuum.sw.compiler.blocks import Block, end_of, place_blocks, rows_in_use
from residuum.sw.network.graph import IMAGE, INPUT, Shape, Source, last_readers, readers
from residuum.sw.network.integer_network import IntegerNetwork


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
        Copies of the map that hold different bit-planes; 1 for all but images with S < 8.
    full
        Windows without events do not share a result.
    row
        First row.
    empty_row
        First of G rows with the shared result of windows without events, or None.
    """

    shape: Shape
    lanes: int
    passes: int = 1
    full: bool = False
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
        """Rows of all copies, without the rows of the shared result."""
        return self.rows * self.passes

    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        """Row (within the map) and slot of each neuron, two int arrays (C, H, W)."""
        channels, height, width = self.shape
        c, y, x = np.ogrid[:channels, :height, :width]
        row = y * self.pitch + x * self.groups + c // self.lanes
        return row, np.broadcast_to(c % self.lanes, row.shape)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """The values of a map (C, H, W) in their slots, uint32 (rows, lanes)."""
        words = np.zeros((self.rows, self.lanes), np.uint32)
        words[self.slots()] = values
        return words


@dataclass(frozen=True)
class PackedMap:
    """A map with several positions in a row, band by band.

    A band interleaves ``lines`` lines of the map: x is the outermost index, then line, then
    channel. Band b starts at line b * step - padding; lines outside the map are 0. Every band
    starts at a new row.

    With one line per band, the bands are the lines of the map. If instead each output line of a
    layer has a band of kernel-height lines, a window is a single segment: the scanner reads fewer
    rows per window, and the map is stored kernel / stride times. Only the input can be stored so.

    The positions of an image follow each other without gaps, across the rows. In a map that a layer
    writes, every position has the same lanes of each tile, a whole number of times in a row.

    Attributes
    ----------
    shape, lanes, passes, row
        As in `MapPlan`.
    column
        Slots per position along x: at least lines * C.
    bands, lines, step, padding
        Interleaved: output height, kernel height, stride and padding of the layer that reads the
        map. Else H, 1, 1, 0.
    """

    shape: Shape
    lanes: int
    column: int
    bands: int
    lines: int = 1
    step: int = 1
    padding: int = 0
    passes: int = 1
    row: int = 0
    empty_row: None = None
    groups: int = 1

    @property
    def interleaved(self) -> bool:
        return self.lines > 1

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
        """Rows of all copies."""
        return self.rows * self.passes

    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        """As `MapPlan.slots`; only of a map that is not interleaved."""
        channels, height, width = self.shape
        c, y, x = np.ogrid[:channels, :height, :width]
        slot = x * self.column + c
        row = y * self.pitch + slot // self.lanes
        return row, np.broadcast_to(slot % self.lanes, row.shape)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """As `MapPlan.scatter`."""
        channels, height, width = self.shape
        source = np.arange(self.bands)[:, None] * self.step - self.padding + np.arange(self.lines)
        inside = (source >= 0) & (source < height)
        # (C, bands, lines, W) -> (bands, W, lines, C)
        lines = values[:, np.clip(source, 0, height - 1)] * inside[None, :, :, None]
        columns = lines.transpose(1, 3, 2, 0).reshape(self.bands, width, self.lines * channels)
        columns = np.pad(columns, ((0, 0), (0, 0), (0, self.column - columns.shape[2])))
        packed = columns.reshape(self.bands, width * self.column)
        blank = self.pitch * self.lanes - packed.shape[1]
        result: np.ndarray = np.pad(packed, ((0, 0), (0, blank))).astype(np.uint32)
        return result.reshape(self.rows, self.lanes)


Plan = MapPlan | PackedMap


@dataclass(frozen=True)
class Placement:
    """The input and all maps in the feature memory.

    Attributes
    ----------
    maps
        By number; `INPUT` is the input of the network. Of a batch, from the lowest row on that an
        image has.
    starts
        The first rows of each image of a batch, by map.
    rows
        Rows up to the last one that is used.
    busiest
        The layer while which most rows are in use; `INPUT`: the input alone.
    """

    maps: Mapping[int, Plan]
    starts: Mapping[int, tuple[int, ...]]
    rows: int
    busiest: int


@lru_cache(maxsize=8)
def neuron_shapes(network: IntegerNetwork) -> tuple[Shape, ...]:
    """`IntegerNetwork.neuron_shapes`, which walks the whole graph, computed once."""
    return network.neuron_shapes


def lanes_used(channels: int, config: EngineConfig) -> int:
    """Lanes of each tile that a layer with this number of output channels uses."""
    return -(-min(channels, config.lanes) // config.tiles)


def passes(network: IntegerNetwork, config: EngineConfig) -> int:
    """Copies of the input of a network."""
    return config.passes if network.input == IMAGE else 1


def skips_empty(network: IntegerNetwork, index: int, plans: Mapping[int, Plan]) -> bool:
    """Whether windows of a layer without events share one result.

    Only where there are several, each has a row of its own, and no maximum is taken over them.
    """
    plan = plans.get(index)
    if index == INPUT or not isinstance(plan, MapPlan) or plan.full:
        return False
    layer, (_, height, width) = network.layers[index], neuron_shapes(network)[index]
    return layer.max_pool is None and height * width > 1


def plan_input(network: IntegerNetwork, config: EngineConfig) -> Plan:
    """Layout of the input, an image with its border or spike trains.

    With a vertical stride above 1 and a single reader, the lines of a kernel are interleaved: the
    input takes kernel / stride times the memory, and the scanner reads fewer rows per window.
    """
    shape, copies = network.padded_shape, passes(network, config)
    if not _can_pack(network, INPUT) or any(
        source.map == INPUT for layer in network.layers for source in layer.sources[1:]
    ):
        return MapPlan(shape, config.lanes, copies)
    reading = readers(network.layers, INPUT)
    source = network.layers[reading[0]].source
    if len(reading) > 1 or source.stride[0] == 1 or source.kernel[0] == 1:
        return PackedMap(shape, config.lanes, shape[0], shape[1], passes=copies)
    return PackedMap(
        shape,
        config.lanes,
        column=source.kernel[0] * shape[0],
        bands=neuron_shapes(network)[reading[0]][1],
        lines=source.kernel[0],
        step=source.stride[0],
        padding=source.padding[0],
        passes=copies,
    )


def place_maps(
    network: IntegerNetwork,
    config: EngineConfig,
    packed: Collection[int] = (),
    batch: Batch = SINGLE,
) -> Placement:
    """Rows for the input and all maps.

    Those ``packed`` are packed in any case; others only where they would not fit otherwise, because
    a packed map has no shared result of windows without events. Those in use while the memory is
    fullest come first, the largest saving first. If the rows of all shared results are too many,
    there are none.
    """
    plans: dict[int, Plan] = {INPUT: plan_input(network, config)}
    for index, shape in enumerate(network.shapes[:-1]):
        plans[index] = MapPlan(shape, config.lanes)
    smaller = {
        number: plan
        for number in range(len(network.layers) - 1)
        if (plan := packed_map(network, number, config)) and plan.rows < plans[number].rows
    }
    for number in packed:
        plans[number] = smaller.pop(number)
    last = last_readers(network.layers)
    placement = _place(network, plans, config, batch)
    while smaller and placement.rows > config.feature_rows:
        busy = [n for n in smaller if n <= placement.busiest <= last[n]] or list(smaller)
        chosen = max(busy, key=lambda number: plans[number].rows - smaller[number].rows)
        plans[chosen] = smaller.pop(chosen)
        placement = _place(network, plans, config, batch)
    if placement.rows > config.feature_rows:
        full = {n: replace(p, full=True) for n, p in plans.items() if isinstance(p, MapPlan)}
        least = _place(network, plans | full, config, batch)
        if least.rows <= config.feature_rows:
            return least
    return placement


def _can_pack(network: IntegerNetwork, number: int) -> bool:
    """Whether all readers of a map walk its lines position by position."""
    return all(
        not source.pooled and source.dilation == (1, 1)
        for layer in network.layers
        for source in layer.sources
        if source.map == number
    )


def packed_map(network: IntegerNetwork, number: int, config: EngineConfig) -> PackedMap | None:
    """A packed map, if the engine can write and read it."""
    shape = network.shapes[number]
    if shape[0] > config.lanes or not _can_pack(network, number):
        return None
    used = lanes_used(shape[0], config)
    used = next(n for n in range(used, config.tile_lanes + 1) if config.tile_lanes % n == 0)
    if used == config.tile_lanes:
        return None
    return PackedMap(shape, config.lanes, used * config.tiles, shape[1])


def _place(
    network: IntegerNetwork, plans: Mapping[int, Plan], config: EngineConfig, batch: Batch
) -> Placement:
    """Rows for maps of these layouts; a sum is written over the map that it reads where it can.

    Of a batch, maps that only layers before the joint ones read have the same rows for each image.
    Those that joint layers read have rows of their own for each image, wherever there is room: all
    but those of the last image stay while the layers of the next images run. Maps that joint layers
    write are in one piece.
    """
    last = last_readers(network.layers)
    over = {
        index: network.layers[index].sources[1].map
        for index in plans
        if _writes_over(network, index, plans, batch)
    }
    # The map whose rows each map takes, and the last one that takes them.
    first_of = {number: number for number in plans}
    for index, number in sorted(over.items()):
        first_of[index] = first_of[number]
    ends = {first_of[number]: last[number] for number in sorted(plans) if number in last}
    blocks: list[Block] = []
    places: dict[int, list[int]] = {}
    shared: dict[int, tuple[int, int]] = {}
    for number, plan in plans.items():
        empty = plan.groups if skips_empty(network, number, plans) else 0
        kept = _kept(network, number, batch)
        alone = not kept and number not in over and number not in over.values()
        joint = batch.images if number >= batch.joint else 1
        if number not in over:
            size = joint * plan.rows_taken + (empty if alone else 0)
            # The rows of the last image are in use from its own layers on.
            firsts = [INPUT] * (batch.images - 1 if kept else 0) + [number]
            places[number] = list(range(len(blocks), len(blocks) + len(firsts)))
            blocks += [Block(size, first, ends.get(number, number)) for first in firsts]
        if empty and alone:
            shared[number] = places[number][0], joint * plan.rows_taken
        elif empty:
            shared[number] = len(blocks), 0
            blocks.append(Block(empty, INPUT if kept else number, last[number]))
    rows = place_blocks(blocks, config.feature_rows)
    placed: dict[int, Plan] = {}
    starts: dict[int, tuple[int, ...]] = {}
    for number, plan in plans.items():
        own = [rows[block] for block in places[first_of[number]]]
        if len(own) < batch.images:
            step = plan.rows if number >= batch.joint else 0
            own = [own[0] + image * step for image in range(batch.images)]
        starts[number] = tuple(own)
        placed[number] = moved = replace(plan, row=min(own))
        if number in shared and isinstance(moved, MapPlan):
            block, offset = shared[number]
            placed[number] = replace(moved, empty_row=rows[block] + offset)
    used = rows_in_use(blocks)
    busiest = max(used, key=lambda layer: used[layer])
    return Placement(placed, starts, end_of(blocks, rows), busiest)


def _kept(network: IntegerNetwork, number: int, batch: Batch) -> bool:
    """Whether joint layers read a map that is written image by image."""
    return batch.images > 1 and number < batch.joint <= last_readers(network.layers)[number]


def _writes_over(
    network: IntegerNetwork, index: int, plans: Mapping[int, Plan], batch: Batch
) -> bool:
    """Whether a layer may write its map over the map of its second source.

    Each window must read only rows of the position that it writes, in no other group of output
    channels than the one that writes them, and nobody may read them later. A map of another shape,
    or a packed one, would keep rows that it does not need. Of a batch, rows that are kept are those
    of one map.
    """
    if index == INPUT or index not in plans or len(network.layers[index].sources) < 2:
        return False
    layer = network.layers[index]
    first, second = layer.sources
    old, new = plans[second.map], plans[index]
    return (
        isinstance(old, MapPlan)
        and isinstance(new, MapPlan)
        and layer.max_pool is None
        and first.map != second.map
        and last_readers(network.layers)[second.map] == index
        and not _kept(network, index, batch)
        and not _kept(network, second.map, batch)
        and old.shape[1:] == new.shape[1:]
        and old.groups == new.groups
        and _reads_own_group(second, new.lanes)
    )


@lru_cache(maxsize=64)
def _reads_own_group(source: Source, lanes: int) -> bool:
    """Whether each group of output channels reads only input channels of the same group."""
    out, channels = np.nonzero(dense_weight(source).any(axis=(2, 3)))
    return bool((out // lanes == channels // lanes).all())


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
