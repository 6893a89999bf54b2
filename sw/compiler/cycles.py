"""Cycle model: predicts the engine's counters from the spike trains of the golden model.

It simulates the front end (windows, rows, occupancies, picking of events) cycle by cycle. All later
stages have a fixed latency, which `_tail` adds.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.descriptors import FIELDS
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sw.compiler.program import LayerPlan, Program
from residuum.sw.golden.golden_model import Trace

WINDOW_QUEUE = 16
ROW_QUEUE = 16
MAX_TICKETS = 15
# Cycles from a write into a queue until the reader sees the entry.
QUEUE_LATENCY = 2
# Cycles from an axis table read to the write of the window into the window queue.
TABLE_LATENCY = 4
# Cycles from a row request to the write of the row's occupancy into the row queue.
ROW_LATENCY = 6
# Registers for banks between the row queue and the picker.
WAITING_BANKS = 2


@dataclass(frozen=True)
class Request:
    """One row of the feature memory to be scanned.

    Attributes
    ----------
    events
        Number of spiking neurons in each bank, without the banks that have none.
    end
        Last row of a pass over its window.
    shared
        The window is the one without input, which computes the group's shared result.
    group_last, layer_last
        Last pass over the last window of the group, of the layer.
    """

    events: tuple[int, ...]
    end: bool = False
    shared: bool = False
    group_last: bool = False
    layer_last: bool = False


def predict(program: Program, image: np.ndarray, golden: Trace, index: int) -> np.ndarray:
    """The counters of a run, int64 (layers, COUNTER_WORDS).

    Parameters
    ----------
    image
        uint8 (C, H, W).
    golden, index
        Trace of all layers, and the number of the image in it.
    """
    config = program.config
    counters = np.zeros((len(program.layers), COUNTER_WORDS), np.int64)
    # Cycle 0 takes the run command. `finish`: cycle of the previous layer's last result.
    # `fetched`: cycle in which the descriptor of the layer is complete.
    finish, fetched = -1, len(FIELDS) + 3
    for number, plan in enumerate(program.layers):
        spikes = _spike_counts(program, number, image, golden, index)
        scanned = _scanned_rows(plan, config.lanes)
        windows = list(_windows(plan, scanned, spikes > 0, config))
        start = max(fetched + 2, finish + 3)
        front = _FrontEnd(windows, plan, config, prepare=fetched, start=start)
        last_flush, lanes = front.run()
        result = last_flush + _tail(plan, config) + lanes
        row = counters[number]
        row[Counter.EVENTS] = front.events
        row[Counter.WINDOWS] = front.windows
        row[Counter.DRAIN_STALLS] = front.drain_stalls
        row[Counter.SCAN_STALLS] = front.scan_stalls
        row[Counter.SPIKES] = _spikes_taken(plan, scanned, spikes)
        row[Counter.CYCLES] = result - max(finish, 0)
        finish, fetched = result, last_flush + 2 + len(FIELDS) + 2
    return counters


def _spike_counts(
    program: Program, number: int, image: np.ndarray, golden: Trace, index: int
) -> np.ndarray:
    """Number of spikes of each neuron in a layer's input map, by row and slot: (rows, lanes)."""
    plan = program.layers[number].input
    if number > 0:
        return plan.scatter(golden.layers[number - 1].trains[index].sum(axis=0))
    words = program.image_writes(image)[1].reshape(-1, program.config.lanes)
    return np.bitwise_count(words)


def _scanned_rows(plan: LayerPlan, lanes: int) -> list[list[list[tuple[int, int, int]]]]:
    """Rows that the scanner reads for one group of output channels, in the order of the engine.

    Indexed by window, pass and row; each row has its number, its first and its last slot.
    """
    d = plan.descriptor
    return [
        [
            [
                (
                    index * d.pass_pitch
                    + line.row
                    + column.row
                    + dy * d.pitch_y
                    + dx * d.pitch_x
                    + dr,
                    column.head if dr == 0 else 0,
                    column.tail if dr == column.span else lanes - 1,
                )
                for dy in range(line.count + 1)
                for dx in range(column.count + 1)
                for dr in range(column.span + 1)
            ]
            for index in range(d.passes + 1)
        ]
        for line in plan.lines
        for column in plan.columns
    ]


def _windows(
    plan: LayerPlan,
    scanned: list[list[list[tuple[int, int, int]]]],
    occupied: np.ndarray,
    config: EngineConfig,
) -> Iterator[list[Request]]:
    """The requests of every window, in the order of the engine."""
    bank = np.arange(config.lanes) % config.tiles
    # below[row, s, b]: occupied slots of bank b among slots 0 .. s-1, so that a range of slots
    # costs one subtraction.
    below = np.zeros((len(occupied), config.lanes + 1, config.tiles), np.int64)
    for b in range(config.tiles):
        below[:, 1:, b] = np.cumsum(occupied & (bank == b), axis=1)

    def events(row: int, head: int, tail: int) -> tuple[int, ...]:
        counts = below[row, tail + 1] - below[row, head]
        return tuple(int(n) for n in counts if n)

    found = [[[events(*row) for row in rows] for rows in window] for window in scanned]
    for group in range(plan.groups):
        if plan.descriptor.skip_empty:
            yield [Request((), end=True, shared=True)]
        for number, window in enumerate(found):
            requests = []
            for index, rows in enumerate(window):
                last = number == len(found) - 1 and index == len(window) - 1
                requests += [Request(counts) for counts in rows[:-1]]
                requests.append(
                    Request(
                        rows[-1],
                        end=True,
                        group_last=last,
                        layer_last=last and group == plan.groups - 1,
                    )
                )
            yield requests


def _spikes_taken(
    plan: LayerPlan, scanned: list[list[list[tuple[int, int, int]]]], spikes: np.ndarray
) -> int:
    """Spike bits of all events; a neuron counts once per window and group that contains it."""
    below = np.zeros((len(spikes), spikes.shape[1] + 1), np.int64)
    below[:, 1:] = np.cumsum(spikes, axis=1)
    taken = (
        int(below[row, tail + 1] - below[row, head])
        for window in scanned
        for rows in window
        for row, head, tail in rows
    )
    return sum(taken) * plan.groups


def _tail(plan: LayerPlan, config: EngineConfig) -> int:
    """Cycles from the last flush to the layer's last result, if the last window drains in one
    cycle. docs/engine.md lists the parts."""
    d = plan.descriptor
    token, train, add, slot = 1, 6, 2, 1
    neuron = 4 + 2 + 2 * config.steps
    if d.pixels:
        neuron += max(0, bits_for_count(config.planes) - 2 + (config.passes > 1))
    ripple = config.tiles - 1
    stored = 1
    total = token + train + add + slot + neuron + ripple + stored
    return total + (2 * d.classes + 8 if d.output else 0)


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
    ):
        self.plan = plan
        self.config = config
        self.requests = windows
        self.prepare = prepare
        self.start = start
        self.events = self.windows = self.drain_stalls = self.scan_stalls = 0

    def _tags(self) -> Iterator[str]:
        """States of the window generator, one per cycle if it never waits."""
        for _ in range(self.plan.groups):
            yield "group"
            if self.plan.descriptor.skip_empty:
                yield "window"
            for _ in self.plan.lines:
                yield "line"
                for _ in self.plan.columns:
                    yield "window"

    def run(self) -> tuple[int, int]:
        """Simulates the layer.

        Returns the cycle in which the last window is handed to the drain, and the number of cycles
        after the first that this drain takes.
        """
        tags = deque(self._tags())
        windows = iter(self.requests)
        table: deque[int] = deque()
        table_outstanding = 0
        window_taken = popped = False
        walking: deque[Request] = deque()
        rows: deque[tuple[int, Request]] = deque()
        dropped: deque[int] = deque()
        outstanding = 0
        banks: deque[int] = deque()
        waiting: deque[_Picked] = deque()
        picked: _Picked | None = None
        due: Request | None = None
        seen = False
        busy = 0
        last_lane = self.plan.descriptor.last_lane
        skip_empty = bool(self.plan.descriptor.skip_empty)

        cycle = self.prepare
        while True:
            cycle += 1
            scanning = cycle > self.start

            # Picker: slots of the picked bank, and ends of windows.
            take = more = flush = ticket = event = empty = False
            closing: Request | None = None
            flushed: Request | None = None
            free = busy == 0
            if picked is not None and picked.slots:
                event = due is None or free
                flush = due is not None and free
                take = event and picked.slots == 1
                more = picked.slots > 1
                if take and picked.end is not None:
                    closing = picked.end
            elif picked is not None and picked.end is not None:
                end = picked.end
                if not seen and skip_empty and not end.shared and end.group_last:
                    flush, empty = free, due is None
                    take = free and due is None
                    flushed = end if take else None
                elif not seen and skip_empty and not end.shared:
                    flush = due is not None and free
                    ticket = free if due is not None else busy < MAX_TICKETS
                    take = ticket
                else:
                    flush = due is not None and free
                    take = due is None or free
                    closing = end if take else None
            else:
                flush = due is not None and free
                take = True
            if flush:
                flushed = flushed or due
            if scanning:
                self.drain_stalls += picked is not None and not take and not event
                self.scan_stalls += picked is None
                self.events += event
                self.windows += flush + ticket

            # A queue counts an entry as outstanding for one more cycle after it was taken.
            issuing = table_outstanding < WINDOW_QUEUE
            table_outstanding -= window_taken
            given_back = popped

            # Waiting banks -> picked bank.
            room = len(waiting) < WAITING_BANKS
            following: _Picked | None = None
            merging: Request | None = None
            if take:
                following = waiting.popleft() if waiting else None
            elif waiting and not waiting[0].slots and more and picked and picked.end is None:
                merging = waiting.popleft().end

            # Row queue -> waiting banks.
            popped = False
            if rows and rows[0][0] <= cycle and room:
                head = rows[0][1]
                if not banks:
                    banks = deque(head.events or (0,))
                slots = banks.popleft()
                popped = not banks
                waiting.append(_Picked(slots, head if popped and head.end else None))
                if popped:
                    rows.popleft()

            # Row walker -> row queue.
            ready = outstanding < ROW_QUEUE and scanning
            advance = ready and bool(walking)
            window_end = advance and len(walking) == 1
            window_taken = bool(table) and table[0] <= cycle and (not walking or window_end)
            drops = bool(dropped) and dropped[0] == cycle
            if drops:
                dropped.popleft()
            outstanding += advance - given_back - drops
            if advance:
                request = walking.popleft()
                if request.events or request.end:
                    rows.append((cycle + ROW_LATENCY + QUEUE_LATENCY, request))
                else:
                    dropped.append(cycle + ROW_LATENCY)

            # Axis tables -> windows.
            if window_taken:
                table.popleft()
                walking = deque(next(windows))
            if tags and (tags[0] == "group" or issuing) and tags.popleft() == "window":
                table.append(cycle + TABLE_LATENCY + QUEUE_LATENCY)
                table_outstanding += 1

            # State of the picker in the next cycle.
            if flush and not empty:
                busy, due = last_lane + ticket, None
            elif not free:
                busy -= not ticket
            if event:
                seen = True
                if picked is not None and not take:
                    picked.slots -= 1
            if closing is not None:
                due, seen = closing, False
            if merging is not None and picked is not None:
                picked.end = merging
            if take:
                picked = following
            if flushed is not None and flushed.layer_last:
                # The engine sees the hand-over one cycle later, and has nothing to pick until then.
                self.scan_stalls += 1
                return cycle, 0 if empty else last_lane


@dataclass
class _Picked:
    """A bank in the picker: slots still to be picked; ``end`` if they end a pass over a window."""

    slots: int
    end: Request | None


__all__ = ["Request", "predict"]
