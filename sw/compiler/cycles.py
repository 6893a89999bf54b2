"""Cycle model: what the engine's counters will show, from the golden model's trains.

The engine's front end (windows, rows, occupancies, picking of events) is simulated cycle by cycle.
Behind an event every stage has a fixed latency, which is added at the end.
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
# Cycles from a write into a queue until its reader sees it.
QUEUE_LATENCY = 2
# Cycles from a table read to the write of the window into the queue.
TABLE_LATENCY = 4
# Cycles from a request for a row to the write of its occupancy into the queue.
ROW_LATENCY = 6
# Banks that wait between the queue of rows and the bank whose slots are picked.
WAITING_BANKS = 2


@dataclass(frozen=True)
class Request:
    """One row of the feature memory to be scanned.

    ``events`` are the spiking neurons of each bank that has any; ``end`` says that the pass over
    the window ends with it, ``shared``, ``group_last`` and ``layer_last`` how.
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
        Traces with all layers, and which of their images this is.
    """
    config = program.config
    counters = np.zeros((len(program.layers), COUNTER_WORDS), np.int64)
    # Cycle 0 takes the run command; `finish` is when the layer before had its last result.
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
    """Spike bits of every neuron of a layer's input, in its rows and slots: (rows, lanes)."""
    plan = program.layers[number].input
    if number > 0:
        return plan.scatter(golden.layers[number - 1].trains[index].sum(axis=0))
    words = program.image_writes(image)[1].reshape(-1, program.config.lanes)
    return np.bitwise_count(words)


def _scanned_rows(plan: LayerPlan, lanes: int) -> list[list[list[tuple[int, int, int]]]]:
    """What one group of output channels scans: by window and pass, rows with their first and last
    slot, in the order of the engine."""
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
    # spikes in slots below s, by bank
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
    """Spike bits of all events: of every neuron, as often as a window takes it in."""
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
    """Cycles from the decision for the last flush to the layer's last result, of a window that
    drains in one cycle."""
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
    """Windows -> rows -> queue -> banks -> slots, cycle by cycle."""

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
        """What the window generator does, cycle by cycle if nothing holds it up."""
        for _ in range(self.plan.groups):
            yield "group"
            if self.plan.descriptor.skip_empty:
                yield "window"
            for _ in self.plan.lines:
                yield "line"
                for _ in self.plan.columns:
                    yield "window"

    def run(self) -> tuple[int, int]:
        """Steps through the layer; the cycle in which its last window is handed over, and how many
        cycles more than one its drain takes."""
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

            # Slots of the bank at hand, and ends of windows.
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

            # A place in a queue is given back a cycle after its entry was taken.
            issuing = table_outstanding < WINDOW_QUEUE
            table_outstanding -= window_taken
            given_back = popped

            # Waiting banks -> bank at hand.
            room = len(waiting) < WAITING_BANKS
            following: _Picked | None = None
            merging: Request | None = None
            if take:
                following = waiting.popleft() if waiting else None
            elif waiting and not waiting[0].slots and more and picked and picked.end is None:
                merging = waiting.popleft().end

            # Queue of rows -> waiting banks.
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

            # Rows of the walker -> queue.
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

            # Table -> windows.
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
                # The hand-over is seen a cycle later, in which there is nothing to pick.
                self.scan_stalls += 1
                return cycle, 0 if empty else last_lane


@dataclass
class _Picked:
    """A bank at hand: slots still to be picked, and the end of the window behind them."""

    slots: int
    end: Request | None


__all__ = ["Request", "predict"]
