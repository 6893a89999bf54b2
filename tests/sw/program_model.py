"""A model of the engine that runs programs: it reads what a host would write, and walks windows as
`LayerDescriptor` and `AxisEntry` say. It shares no code with the compiler's planning.

Slow and plain: numpy integers without widths, so that every overflow shows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry, LayerDescriptor
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap, Region, host_words

MASK, CARRY = "mask", "carry"


@dataclass
class Segment:
    """Rows from ``row`` on, of the first from slot ``head``, of the last to slot ``tail``; the
    weights of slot 0 of the first row; the row that stands for the first where it refers to the
    shared result."""

    row: int
    head: int
    tail: int
    span: int
    weight: int
    empty_row: int
    shift: int = 0


class ProgramModel:
    """An engine with the program of ``writes``, host addresses and words."""

    def __init__(self, config: EngineConfig, writes: Mapping[int, int]):
        self.config = config
        self.host_map = HostMap(config)
        self.words = dict(writes)
        # The program does not change: decode each of its words once.
        self.entry = cache(self._entry)
        self.weights = cache(self._weights)
        lanes = config.tiles, config.tile_lanes
        self.trains = np.zeros((config.feature_rows, *lanes), np.int64)
        self.spiking = np.zeros((config.feature_rows, *lanes), bool)
        self.refers = np.zeros(config.feature_rows, bool)
        self.logits = np.zeros((config.logit_rows, config.tiles), np.int64)
        self.events = 0

    def write_trains(self, addresses: np.ndarray, words: np.ndarray) -> None:
        """Host writes to the feature memory."""
        for address, word in zip(addresses.tolist(), words.tolist(), strict=True):
            number, offset = divmod(address, 1 << self.host_map.offset_bits)
            assert number == Region.TRAINS
            lane = offset & (1 << self.config.lane_bits) - 1
            offset >>= self.config.lane_bits
            bank = offset & (1 << self.config.bank_bits) - 1
            row = offset >> self.config.bank_bits
            self._store(row, bank, lane, word)
            self.refers[row] = False

    def read(self, address: int) -> int:
        """Host reads of trains, occupancies (of the shared bit alone) and logits."""
        number, offset = divmod(address, 1 << self.host_map.offset_bits)
        if number == Region.OCCUPANCY:
            row = offset >> self.config.bank_bits
            return int(self.refers[row]) << self.config.bank_slots
        lane = 0
        if number == Region.TRAINS:
            lane = offset & (1 << self.config.lane_bits) - 1
            offset >>= self.config.lane_bits
        bank = offset & (1 << self.config.bank_bits) - 1
        row = offset >> self.config.bank_bits
        if number == Region.TRAINS:
            return int(self.trains[row, bank, lane])
        assert number == Region.LOGITS
        return int(self.logits[row, bank]) & 0xFFFFFFFF

    def run(self, layer: int, *, tau: int, T: int, correction: str = MASK) -> None:
        """One layer."""
        d = self.descriptor(layer)
        row, empty_row = d.output_row, d.output_empty_row
        logit_row = 0
        parameter_row = d.parameter_row
        for group in range(d.groups + 1):
            first_row, base, largest = row, 0, None
            parameters = [
                [self.parameters(parameter_row + lane, tile) for lane in range(d.last_lane + 1)]
                for tile in range(self.config.tiles)
            ]
            if d.skip_empty:
                shared = self.neurons(d, parameters, self.sums(d, []), tau, T, correction)
                self._store_window(empty_row, 0, shared)
            for segments, later, more, line_last in self.windows(d, group):
                events = list(self.scan(segments))
                self.events += len(events)
                if d.skip_empty and not events:
                    self.refers[row] = True
                    row += d.output_pitch
                    continue
                sums = self.sums(d, events)
                results = self.neurons(d, parameters, sums, tau, T, correction)
                if d.output:
                    for lane in range(d.last_lane + 1):
                        self.logits[logit_row + lane] = results[:, lane]
                    continue
                largest = np.maximum(results, largest) if later else results
                if more:
                    continue
                self._store_window(row, base, largest)
                if d.position_lanes == 0:
                    row += d.output_pitch
                    continue
                base += d.position_lanes
                if base == self.config.tile_lanes or line_last:
                    base, row = 0, row + d.output_pitch
            row = first_row + 1
            empty_row += 1
            parameter_row += d.last_lane + 1
            logit_row += d.last_lane + 1

    def descriptor(self, layer: int) -> LayerDescriptor:
        widths = LayerDescriptor.widths(self.config)
        found = {}
        for index, word in enumerate(LayerDescriptor.places(self.config)):
            value = self.words[self.host_map.address(Region.DESCRIPTORS, layer=layer, word=index)]
            for name, low in word.items():
                found[name] = value >> low & (1 << widths[name]) - 1
        return LayerDescriptor(**found)

    def _entry(self, index: int) -> AxisEntry:
        count = host_words(AxisEntry.width(self.config))
        value = 0
        for part in range(count):
            fields = {"part": part} if count > 1 else {}
            address = self.host_map.address(Region.TABLES, entry=index, **fields)
            value |= self.words[address] << part * HOST_WORD_BITS
        found = {}
        for name, width in AxisEntry.widths(self.config).items():
            found[name] = value & (1 << width) - 1
            value >>= width
        return AxisEntry(**found)

    def parameters(self, row: int, tile: int) -> tuple[int, int]:
        """Bias and threshold, signed numbers of potential_bits."""
        values = []
        for part in range(2):
            address = self.host_map.address(Region.PARAMETERS, row=row, bank=tile, part=part)
            value = self.words[address] & (1 << self.config.potential_bits) - 1
            sign = 1 << self.config.potential_bits - 1
            values.append((value ^ sign) - sign)
        return values[0], values[1]

    def _weights(self, row: int) -> np.ndarray:
        """A weight row, int64 (tiles, tile_lanes)."""
        c = self.config
        row %= 1 << c.weight_row_bits
        result = np.zeros((c.tiles, c.tile_lanes), np.int64)
        count = host_words(c.tile_lanes * c.weight_bits)
        for tile in range(c.tiles):
            value = 0
            for part in range(count):
                fields = {"part": part} if count > 1 else {}
                if c.tiles > 1:
                    fields["bank"] = tile
                address = self.host_map.address(Region.WEIGHTS, row=row, **fields)
                value |= self.words[address] << part * HOST_WORD_BITS
            for lane in range(c.tile_lanes):
                number = value >> lane * c.weight_bits & (1 << c.weight_bits) - 1
                sign = 1 << c.weight_bits - 1
                result[tile, lane] = (number ^ sign) - sign
        return result

    def windows(
        self, d: LayerDescriptor, group: int
    ) -> Iterator[tuple[list[list[Segment]], bool, bool, bool]]:
        """The windows of a group: the segments of each part, whether they are later ones of a
        maximum, whether more follow, and whether they end a line of the output map."""
        stride = 2 if d.two_sources else 1
        first = self.entry(d.table_group + stride * group)
        second = self.entry(d.table_group + stride * group + 1) if d.two_sources else None
        tall, wide = d.max_y + 1, d.max_x + 1
        for y in range(d.windows_y + 1):
            for x in range(d.windows_x + 1):
                for dy in range(tall):
                    for dx in range(wide):
                        line = self.entry(d.table_y + y * tall + dy)
                        column = self.entry(d.table_x + x * wide + dx)
                        parts = self.passes(d, first, line, column)
                        if second is not None:
                            parts = [parts[0], [self.second(d, second, line, column)]]
                        more = (dy, dx) != (d.max_y, d.max_x)
                        yield parts, (dy, dx) != (0, 0), more, not more and x == d.windows_x

    def passes(
        self, d: LayerDescriptor, group: AxisEntry, line: AxisEntry, column: AxisEntry
    ) -> list[list[Segment]]:
        rows = 1 << self.config.feature_row_bits
        parts = []
        for index in range(1 if d.two_sources else d.parts + 1):
            segments = []
            weight_y, pool_y = group.weight + line.weight + column.weight, 0
            for y in range(line.count + 1):
                weight, pool_x = weight_y, 0
                for x in range(column.count + 1):
                    row = group.row + line.row + column.row + index * d.pass_pitch
                    row += y * d.pitch_y + x * d.pitch_x
                    segments.append(
                        Segment(
                            row % rows,
                            column.head,
                            group.tail + column.tail,
                            group.span + column.span,
                            weight,
                            group.second_row,
                            # Of two passes, the first one is over the upper bit-planes.
                            int(not d.two_sources and index < d.parts),
                        )
                    )
                    pool_x += 1
                    if pool_x == d.pool_x + 1:
                        weight, pool_x = weight + d.weight_x, 0
                pool_y += 1
                if pool_y == d.pool_y + 1:
                    weight_y, pool_y = weight_y + d.weight_y, 0
            parts.append(segments)
        return parts

    def second(
        self, d: LayerDescriptor, group: AxisEntry, line: AxisEntry, column: AxisEntry
    ) -> Segment:
        row = group.row + line.second_row + column.second_row
        return Segment(
            row % (1 << self.config.feature_row_bits),
            column.second_head,
            group.tail + column.second_head,
            group.span,
            group.weight - column.second_head,
            group.second_row,
            d.second_shift,
        )

    def scan(self, parts: list[list[Segment]]) -> Iterator[tuple[int, int, int]]:
        """Train, weight row and shift of each event of a window."""
        c = self.config
        for segments in parts:
            for segment in segments:
                for index in range(segment.span + 1):
                    row = (segment.row + index) % (1 << c.feature_row_bits)
                    actual = segment.empty_row + index if self.refers[row] else row
                    head = segment.head if index == 0 else 0
                    tail = segment.tail if index == segment.span else c.lanes - 1
                    for slot in range(head, tail + 1):
                        lane, bank = divmod(slot, c.tiles)
                        if self.spiking[actual, bank, lane]:
                            train = int(self.trains[actual, bank, lane]) & (1 << c.steps) - 1
                            weight = segment.weight + index * c.lanes + slot
                            yield train, weight, segment.shift

    def sums(self, d: LayerDescriptor, events: list[tuple[int, int, int]]) -> np.ndarray:
        """Sums of the used lanes, int64 (steps, tiles, lanes)."""
        c = self.config
        sums = np.zeros((c.steps, c.tiles, d.last_lane + 1), np.int64)
        lanes = slice(d.first_lane, d.first_lane + d.last_lane + 1)
        limit = 1 << c.accumulator_bits - 1
        for train, weight, shift in events:
            row = self.weights(weight)[:, lanes] << shift * c.shift_bits
            for step in range(c.steps):
                if train >> step & 1:
                    sums[step] += row
            assert -limit <= sums.min()
            assert sums.max() < limit
        return sums

    def neurons(
        self,
        d: LayerDescriptor,
        parameters: list[list[tuple[int, int]]],
        sums: np.ndarray,
        tau: int,
        T: int,
        correction: str,
    ) -> np.ndarray:
        """Trains, or potentials of an output layer, int64 (tiles, lanes)."""
        results = np.zeros(sums.shape[1:], np.int64)
        for tile, lane in np.ndindex(results.shape):
            bias, threshold = parameters[tile][lane]
            currents = self.currents(d, sums[:, tile, lane], bias)
            run = self.divide if d.bits else self.fire
            results[tile, lane] = run(d, currents, threshold, tau, T, correction)
        return results

    def currents(self, d: LayerDescriptor, sums: np.ndarray, bias: int) -> list[int]:
        c = self.config
        if not d.numbers:
            return [(int(value) << c.fraction_bits) + bias for value in sums]
        total = sum(int(sums[k]) << k for k in range(c.planes))
        return [(total << c.fraction_bits * d.fraction) + bias] * c.steps

    def fire(
        self,
        d: LayerDescriptor,
        currents: list[int],
        threshold: int,
        tau: int,
        T: int,
        correction: str,
    ) -> int:
        start = 0 if d.start_zero else threshold >> 1
        v, train, silenced = start, 0, False
        first = self.config.steps - tau - T
        for step in range(tau + T):
            slot = first + step
            if step == tau and tau > 0:
                if d.output:
                    v = 0
                elif correction == MASK:
                    silenced, v = v < 0, start
            v += currents[slot] + (d.strict and step > 0)
            self.check(v)
            if d.output:
                continue
            if v - threshold >= 0:
                v -= threshold
                train |= int(step < tau or not silenced) << slot
            else:
                self.check(v - threshold)
        return v if d.output else train | int(silenced) << self.config.steps

    def divide(
        self,
        d: LayerDescriptor,
        currents: list[int],
        threshold: int,
        tau: int,
        T: int,
        correction: str,
    ) -> int:
        v = currents[0]
        self.check(v)
        if d.output:
            return v
        number = 0
        for k in reversed(range(d.bits)):
            after = v - threshold
            self.check(after)
            if after >= 0:
                v, number = after, number | 1 << k
            threshold >>= 1
        return number

    def check(self, value: int) -> None:
        limit = 1 << self.config.potential_bits - 1
        assert -limit <= value < limit, value

    def _store_window(self, row: int, base: int, values: np.ndarray) -> None:
        self.refers[row] = False
        for tile, lane in np.ndindex(values.shape):
            self._store(row, tile, base + lane, int(values[tile, lane]))

    def _store(self, row: int, bank: int, lane: int, train: int) -> None:
        """Occupancy is collected in ascending lanes: lanes above the written one are cleared."""
        self.trains[row, bank, lane] = train
        self.spiking[row, bank, lane:] = False
        self.spiking[row, bank, lane] = bool(train & (1 << self.config.steps) - 1)
