"""Cycle model: predicts the engine's counters from the spike trains of the golden model.

It simulates the front end (windows, rows, occupancies, picking of events) cycle by cycle. All later
stages have a fixed latency, which `_tail` adds. It is exact but for weights from an external
memory, whose refreshes come when they come: docs/engine.md has the bounds.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from residuum.hw.isa.config import CHUNK_ROWS, EngineConfig, bits_for_count
from residuum.hw.isa.descriptors import LayerDescriptor
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sw.compiler.program import LayerPlan, Program
from residuum.sw.golden.golden_model import Trace
from residuum.sw.network.graph import INPUT

WINDOW_QUEUE = 16
ROW_QUEUE = 16
# Cycles from a write into a queue until the reader sees the entry.
QUEUE_LATENCY = 2
# Cycles from a table read to the write of the window into the window queue.
TABLE_LATENCY = 4
# Cycles of the window generator for a group of output channels: its entries are read and arrive,
# and its weights are announced.
GROUP_CYCLES = 5
# Cycles from a row request to the write of the row's occupancy into the row queue.
ROW_LATENCY = 6
# Registers for banks between the row queue and the picker.
WAITING_BANKS = 2
# Cycles of an SDRAM for a word of a long read, with its refreshes and changes of row.
WORD_CYCLES = 1.015
# Cycles from the first request of a run, or from the release of rows, to the words in their place.
FIRST_ROWS, ROOM_TO_ROWS = 45, 25
# Cycles from the last row of a group to its start.
GRANT_CYCLES = 4


@dataclass(frozen=True)
class Request:
    """One row of the feature memory to be scanned.

    Attributes
    ----------
    events
        For each stream of events, the number of spiking neurons in each of its banks, without the
        banks that have none.
    end
        Last row of its window: of its last pass, or its last source.
    shared
        The window is the one without input, which computes the group's shared result.
    group_last, layer_last
        Last window of the group, of the layer.
    """

    events: tuple[tuple[int, ...], ...]
    end: bool = False
    shared: bool = False
    group_last: bool = False
    layer_last: bool = False


# A row that the scanner reads, within its map: number, first and last slot.
Row = tuple[int, int, int]


def predict(program: Program, values: np.ndarray, golden: Trace, index: int) -> np.ndarray:
    """The counters of a run, int64 (layers, COUNTER_WORDS).

    Parameters
    ----------
    values
        The input, as in `Program.input_writes`.
    golden, index
        Trace of all layers, and the number of the input in it.
    """
    return predict_batch(program, values[None], golden, index)[0]


def predict_batch(
    program: Program, values: np.ndarray, golden: Trace, first: int
) -> tuple[np.ndarray, np.ndarray]:
    """The counters of a batch of inputs, the first of which is number ``first`` in the trace, and a
    lower bound of the cycles of each layer, int64 (layers,): those that its events take in the
    stream that has more of them."""
    config = program.config
    least = np.zeros(len(program.layers), np.int64)
    counters = np.zeros((len(program.layers), COUNTER_WORDS), np.int64)
    spikes = [
        _spike_counts(program, value, golden, first + number) for number, value in enumerate(values)
    ]
    words = len(LayerDescriptor.places(config))
    for run in program.runs:
        # Cycle 0 takes the run command. `finish`: cycle of the previous layer's last result.
        # `fetched`: cycle in which the descriptor of the layer is complete.
        finish, fetched = -1, words + 3
        refill = _Refill(config)
        for number in run:
            plan = program.layers[number]
            maps = [_of_turn(program, plan, source.map, spikes) for source in plan.layer.sources]
            windows = list(_windows(plan, maps, config))
            least[number] = _least_cycles(windows, config)
            start = max(fetched + 2, finish + 3)
            front = _FrontEnd(windows, plan, config, prepare=fetched, start=start, refill=refill)
            last_flush, lanes = front.run()
            result = last_flush + _tail(plan, config) + lanes
            row = counters[number]
            row[Counter.EVENTS] = front.events
            row[Counter.WINDOWS] = front.windows
            row[Counter.WEIGHT_STALLS] = front.weight_stalls
            row[Counter.DRAIN_STALLS] = front.drain_stalls
            row[Counter.SCAN_STALLS] = front.scan_stalls
            row[Counter.SPIKES] = _spikes_taken(plan, maps)
            row[Counter.CYCLES] = result - max(finish, 0)
            finish, fetched = result, last_flush + 2 + words + 2
    return program.by_layer(counters), program.by_layer(least)


def _of_turn(
    program: Program, plan: LayerPlan, number: int, spikes: list[dict[int, np.ndarray]]
) -> np.ndarray:
    """Number of spikes of each neuron that a turn reads of a map, by row from the lowest one on,
    and slot."""
    images = plan.turn.images
    starts = [program.starts[number][image] for image in images]
    size = len(spikes[0][number])
    result = np.zeros((max(starts) - min(starts) + size, program.config.lanes), np.int64)
    for image, start in zip(images, starts, strict=True):
        first = start - min(starts)
        result[first : first + size] = spikes[image][number]
    return result


def _least_cycles(windows: list[list[Request]], config: EngineConfig) -> int:
    """A lower bound of the cycles of a layer: the events of each window, of two streams those of
    the fuller one."""
    least, streams = 0, [0] * config.event_width
    for requests in windows:
        for request in requests:
            for stream, banks in enumerate(request.events):
                streams[stream] += sum(banks)
        if requests[-1].end:
            least += max(streams)
            streams = [0] * config.event_width
    return least


def _spike_counts(
    program: Program, values: np.ndarray, golden: Trace, index: int
) -> dict[int, np.ndarray]:
    """Number of spikes of each neuron by map, row and slot: (rows, lanes) each."""
    words = program.input_writes(values)[1].reshape(-1, program.config.lanes)
    counts = {INPUT: np.bitwise_count(words).astype(np.int64)}
    for number, layer in enumerate(golden.layers):
        plan = program.maps[number]
        counts[number] = plan.scatter(layer.trains[index].sum(axis=0)).astype(np.int64)
    return counts


def _group_rows(plan: LayerPlan, group: int, lanes: int) -> Iterator[list[list[Row]]]:
    """The rows of each window of a group, in the order of the engine: a list for each pass, or for
    each source."""
    d = plan.descriptor
    sources = d.two_sources + 1
    first = plan.group_entries[group * sources]
    tall, wide = d.max_y + 1, d.max_x + 1
    passes = 1 if d.two_sources else d.parts + 1
    # Rows and slots of a window of the first source that depend on the position along a line.
    columns = [
        [
            (
                column.row + dx * d.pitch_x + dr,
                column.head if dr == 0 else 0,
                column.tail + first.tail if dr == column.span + first.span else lanes - 1,
            )
            for dx in range(column.count + 1)
            for dr in range(column.span + first.span + 1)
        ]
        for column in plan.columns
    ]
    offset = first.row - plan.inputs[0].row
    for y, x, dy, dx in np.ndindex(d.windows_y + 1, d.windows_x + 1, tall, wide):
        line, across = plan.lines[y * tall + dy], x * wide + dx
        parts = []
        for index in range(passes):
            start = offset + line.row + index * d.pass_pitch
            parts.append(
                [
                    (start + inner * d.pitch_y + row, head, tail)
                    for inner in range(line.count + 1)
                    for row, head, tail in columns[across]
                ]
            )
        if d.two_sources:
            second, column = plan.group_entries[group * sources + 1], plan.columns[across]
            start = second.row - plan.inputs[1].row + line.second_row + column.second_row
            head, tail = column.second_head, second.tail + column.second_head
            parts.append(
                [
                    (start + dr, head if dr == 0 else 0, tail if dr == second.span else lanes - 1)
                    for dr in range(second.span + 1)
                ]
            )
        yield parts


def _windows(
    plan: LayerPlan, maps: list[np.ndarray], config: EngineConfig
) -> Iterator[list[Request]]:
    """The requests of every window, in the order of the engine; each source has a window."""
    d = plan.descriptor
    width = config.event_width
    found = [_by_bank(counts > 0, config) for counts in maps]
    for group in range(plan.groups):
        if d.skip_empty:
            nothing = ((),) * width
            before = 0 if d.two_sources else d.parts
            yield [*[Request(nothing)] * before, Request(nothing, end=True, shared=True)]
        windows = list(_group_rows(plan, group, config.lanes))
        events = [
            iter(
                [
                    tuple(tuple(n for n in banks[stream::width] if n) for stream in range(width))
                    for banks in counts.tolist()
                ]
            )
            for counts in _counts(windows, found, d.two_sources)
        ]
        for number, parts in enumerate(windows, start=1):
            requests: list[Request] = []
            for index, rows in enumerate(parts):
                found_here = events[index if d.two_sources else 0]
                ends = index == len(parts) - 1
                requests += [Request(next(found_here)) for _ in rows[ends:]]
                if d.two_sources and not ends:
                    yield requests
                    requests = []
            last = number == len(windows)
            layer_last = last and group == plan.groups - 1
            requests.append(
                Request(next(found_here), end=True, group_last=last, layer_last=layer_last)
            )
            yield requests


def _counts(
    windows: list[list[list[Row]]], below: list[np.ndarray], two_sources: int
) -> Iterator[np.ndarray]:
    """What each row of the windows has, from counts ``below`` each slot of each map; the rows of a
    source in the order of the engine."""
    for index, counts in enumerate(below):
        rows = np.array(
            [
                row
                for parts in windows
                for part in (parts[index : index + 1] if two_sources else parts)
                for row in part
            ]
        )
        yield counts[rows[:, 0], rows[:, 2] + 1] - counts[rows[:, 0], rows[:, 1]]


def _by_bank(occupied: np.ndarray, config: EngineConfig) -> np.ndarray:
    """[row, s, b]: occupied slots of bank b among slots 0 .. s-1. A range of slots costs one
    subtraction."""
    bank = np.arange(config.lanes) % config.tiles
    below = np.zeros((len(occupied), config.lanes + 1, config.tiles), np.int64)
    for b in range(config.tiles):
        below[:, 1:, b] = np.cumsum(occupied & (bank == b), axis=1)
    return below


def _spikes_taken(plan: LayerPlan, maps: list[np.ndarray]) -> int:
    """Spike bits of all events; a neuron counts once per window and group that reads it."""
    lanes = maps[0].shape[1]
    below = [np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0))) for counts in maps]
    return sum(
        int(counts.sum())
        for group in range(plan.groups)
        for counts in _counts(
            list(_group_rows(plan, group, lanes)), below, plan.descriptor.two_sources
        )
    )


def _tail(plan: LayerPlan, config: EngineConfig) -> int:
    """Cycles from the last flush to the layer's last result, if the last window drains in one
    cycle. docs/engine.md lists the parts."""
    d = plan.descriptor
    token, train, add, slot = 1, 6, 2, 1
    neuron = 4 + 2 + 2 * config.steps
    if d.numbers:
        neuron += config.sums_latency + max(1, bits_for_count(config.planes)) - 3
    maximum = 2
    ripple = config.tiles - 1
    stored = 1
    total = token + train + add + slot + neuron + maximum + ripple + stored
    return total + (2 * d.classes + 8 if d.output else 0)


class _Refill:
    """When the weight rows of a run are in the weight store, if they come from an external memory:
    one chunk after another, as long as there is room."""

    def __init__(self, config: EngineConfig):
        self.capacity = config.weight_rows // CHUNK_ROWS
        self.chunk_cycles = CHUNK_ROWS * config.row_words * WORD_CYCLES
        self.loaded = self.needed = 0
        self.time = 0.0
        # The cycle of its release, for each chunk.
        self.released: list[int] = []

    def ask(self, chunks: int, cycle: int) -> None:
        """A group needs the next chunks."""
        if not self.needed:
            self.time = float(cycle + FIRST_ROWS)
        self.needed += chunks

    def ready(self) -> float:
        """The cycle in which all needed chunks are there; infinite until enough are released."""
        while self.loaded < self.needed:
            before = self.loaded - self.capacity
            if before >= len(self.released):
                return math.inf
            if before >= 0:
                self.time = max(self.time, self.released[before] + ROOM_TO_ROWS)
            self.time += self.chunk_cycles
            self.loaded += 1
        return self.time + GRANT_CYCLES

    def release(self, chunks: int, cycle: int) -> None:
        """The last window of a group is over."""
        self.released += [cycle] * chunks


class _FrontEnd:
    """The scanner, cycle by cycle: windows -> rows -> row queue -> banks -> slots."""

    def __init__(
        self,
        windows: list[list[Request]],
        plan: LayerPlan,
        config: EngineConfig,
        *,
        prepare: int,
        start: int,
        refill: _Refill,
    ):
        self.plan = plan
        self.config = config
        self.requests = windows
        self.prepare = prepare
        self.start = start
        self.refill = refill
        self.events = self.windows = self.drain_stalls = self.scan_stalls = 0
        self.weight_stalls = 0

    def _tags(self) -> Iterator[str]:
        """States of the window generator, one per cycle if it never waits."""
        d = self.plan.descriptor
        windows = (d.max_x + 1) * (d.two_sources + 1)
        line = ["line", *["window"] * windows * (d.windows_x + 1)]
        if d.max_y:
            line = ["line", *["window"] * windows] * (d.max_y + 1) * (d.windows_x + 1)
        for _ in range(self.plan.groups):
            yield from ["group"] * (GROUP_CYCLES - 1)
            yield "refill"
            if d.skip_empty:
                yield "window"
            for _ in range(d.windows_y + 1):
                yield from line

    def run(self) -> tuple[int, int]:
        """Simulates the layer.

        Returns the cycle in which the last window is handed to the drain, and the number of cycles
        after the first that this drain takes.
        """
        tags = deque(self._tags())
        windows = iter(self.requests)
        table: deque[int] = deque()
        table_outstanding = 0
        window_taken = False
        walking: deque[Request] = deque()
        streams = [_Stream(index) for index in range(self.config.event_width)]
        due: Request | None = None
        due_empty = seen = False
        busy = 0
        last_lane = self.plan.descriptor.last_lane
        skip_empty = bool(self.plan.descriptor.skip_empty)

        chunks, asked = self.plan.descriptor.chunks, False
        cycle = self.prepare
        while True:
            cycle += 1
            scanning = cycle > self.start

            # Pickers: slots of the picked banks, and ends of windows.
            free = busy == 0
            flush = due is not None and free
            clear = due is None or free
            found = all(stream.picked is not None for stream in streams)
            picked = [clear and stream.spiking for stream in streams]
            complete = clear and all(stream.ending for stream in streams)
            end = streams[0].picked.end if complete and streams[0].picked else None
            silent = end is not None and skip_empty and not (end.shared or seen or any(picked))
            ticket = silent and end is not None and not end.group_last
            if scanning:
                self.events += sum(picked)
                self.scan_stalls += not (found or any(picked))
                self.drain_stalls += found and not clear
                self.windows += flush + ticket

            # A queue counts an entry as outstanding for one more cycle after it was taken.
            issuing = table_outstanding < WINDOW_QUEUE
            table_outstanding -= window_taken
            ready = scanning and all(stream.outstanding < ROW_QUEUE for stream in streams)
            for stream, event in zip(streams, picked, strict=True):
                stream.move(cycle, event=event, clear=clear, complete=complete)

            # Row walker -> row queues.
            advance = ready and bool(walking)
            window_end = advance and len(walking) == 1
            window_taken = bool(table) and table[0] <= cycle and (not walking or window_end)
            if advance:
                request = walking.popleft()
                for stream in streams:
                    stream.put(request, cycle)

            # Axis tables -> windows.
            if window_taken:
                table.popleft()
                walking = deque(next(windows))
            waits = False
            if chunks and tags and tags[0] == "refill":
                if not asked:
                    self.refill.ask(chunks, cycle)
                waits = self.refill.ready() > cycle
                asked = waits
                self.weight_stalls += waits and scanning
            goes = tags and not waits and (tags[0] in ("group", "refill") or issuing)
            if goes and tags.popleft() == "window":
                table.append(cycle + TABLE_LATENCY + QUEUE_LATENCY)
                table_outstanding += 1
            if flush and due is not None and due.group_last:
                self.refill.release(chunks, cycle)

            if flush and due is not None and due.layer_last:
                # The engine sees the hand-over one cycle later, and has nothing to pick until then.
                self.scan_stalls += 1
                return cycle, 0 if due_empty else last_lane

            # State of the drain in the next cycle.
            if flush:
                busy, due = (0 if due_empty else last_lane) + ticket, None
            elif not free:
                busy -= not ticket
            seen = (seen or any(picked)) and not complete
            if complete and not ticket:
                due, due_empty = end, silent

            # Nothing else happens until the weights are there.
            alone = waits and scanning and due is None and not (table or walking or busy)
            if alone and all(stream.empty for stream in streams):
                idle = max(0, int(self.refill.ready()) - cycle - 1)
                cycle += idle
                self.scan_stalls += idle
                self.weight_stalls += idle


@dataclass
class _Picked:
    """A bank in the picker: slots still to be picked; ``end`` if they end a pass over a window."""

    slots: int
    end: Request | None


class _Stream:
    """One stream of events: row queue -> banks -> slots."""

    def __init__(self, index: int):
        self.index = index
        self.rows: deque[tuple[int, Request]] = deque()
        self.dropped: deque[int] = deque()
        self.outstanding = 0
        self.popped = False
        self.banks: deque[int] = deque()
        self.waiting: deque[_Picked] = deque()
        self.picked: _Picked | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is under way."""
        return not (
            self.rows or self.dropped or self.banks or self.waiting or self.outstanding
        ) and (self.picked is None)

    @property
    def spiking(self) -> bool:
        """Whether there is an event to pick."""
        return self.picked is not None and self.picked.slots > 0

    @property
    def ending(self) -> bool:
        """Whether its part of the window ends here, with or without an event."""
        return self.picked is not None and self.picked.slots <= 1 and self.picked.end is not None

    def move(self, cycle: int, *, event: bool, clear: bool, complete: bool) -> None:
        """Row queue -> waiting banks -> picked bank."""
        room = len(self.waiting) < WAITING_BANKS
        picked = self.picked
        if picked is None or complete or (clear and picked.slots <= 1 and picked.end is None):
            self.picked = self.waiting.popleft() if self.waiting else None
        else:
            bare = self.waiting and not self.waiting[0].slots
            if bare and picked.slots > 1 and picked.end is None:
                picked.end = self.waiting.popleft().end
            picked.slots -= event
        given_back = self.popped
        self.popped = False
        if self.rows and self.rows[0][0] <= cycle and room:
            head = self.rows[0][1]
            if not self.banks:
                self.banks = deque(head.events[self.index] or (0,))
            slots = self.banks.popleft()
            self.popped = not self.banks
            self.waiting.append(_Picked(slots, head if self.popped and head.end else None))
            if self.popped:
                self.rows.popleft()
        self.outstanding -= given_back
        if self.dropped and self.dropped[0] == cycle:
            self.dropped.popleft()
            self.outstanding -= 1

    def put(self, request: Request, cycle: int) -> None:
        """A row that the walker gives in this cycle; without spikes it is dropped later."""
        self.outstanding += 1
        if request.events[self.index] or request.end:
            self.rows.append((cycle + ROW_LATENCY + QUEUE_LATENCY, request))
        else:
            self.dropped.append(cycle + ROW_LATENCY)


__all__ = ["Request", "predict", "predict_batch"]
