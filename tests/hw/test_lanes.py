"""LaneArray: sums of weights per lane and step, and their order at the output."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.array.lanes import LaneArray
from residuum.hw.isa.config import EngineConfig
from tests.hw.simulation import trace

HOW = ("shared", "later", "more", "line_last", "group_last", "layer_last")
Event = tuple[int, list[int], int]  # train, weights, shift
Events = tuple[Event, ...]  # of a cycle


def config(tile_lanes: int, steps: int, *, event_width: int = 1, **sizes: int) -> EngineConfig:
    sizes = {"weight_bits": 6, "shift_bits": 3} | sizes
    # The lanes of one tile are tested; two events take an engine of two.
    tile_lanes = tile_lanes if event_width == 1 else 1 << (tile_lanes - 1).bit_length()
    return EngineConfig(
        lanes=event_width * tile_lanes,
        tile_lanes=tile_lanes,
        event_width=event_width,
        steps=steps,
        **sizes,
    )


def how(rng: random.Random) -> dict[str, int]:
    return {name: rng.randrange(2) for name in HOW}


class Drive:
    """Makes cycles as from a scanner, and the expected slots and sums."""

    def __init__(self, c: EngineConfig, last_lane: int, first_lane: int = 0):
        self.c, self.last_lane, self.first_lane = c, last_lane, first_lane
        self.idle = {"last_lane": last_lane, "first_lane": first_lane}
        self.cycles: list[dict] = []
        self.slots: list[dict] = []
        self.sums = np.zeros((c.tile_lanes, c.steps), np.int64)
        self.lanes_left = 0  # slots of a window still to be drained
        self.tickets = 0

    def cycle(self, *, events: Events = (), **action) -> None:
        nothing = (0, [-1] * self.c.tile_lanes, 0)
        given = [*events, *[nothing] * (self.c.event_width - len(events))]
        if self.lanes_left:
            self.lanes_left -= 1
        elif self.tickets:
            self.tickets -= 1
        if action.get("flush"):
            assert not self.lanes_left, "a flush too early"
            assert not self.tickets, "a flush too early"
            self.lanes_left = 1 if action.get("empty") else self.last_lane + 1
        self.tickets += action.get("ticket", 0)
        assert self.tickets <= self.last_lane + 2
        bits = (1 << self.c.weight_bits) - 1
        self.cycles.append(
            {
                **self.idle,
                "weights": [[weight & bits for weight in weights] for _, weights, _ in given],
                "action": {
                    "how": {},
                    "trains": [train for train, _, _ in given],
                    "shifts": sum(shift << stream for stream, (_, _, shift) in enumerate(given)),
                    **action,
                },
            }
        )

    def add(self, events: Events) -> None:
        for train, weights, shift in events:
            steps = [train >> step & 1 for step in range(self.c.steps)]
            worth = 2**self.c.shift_bits if shift else 1
            self.sums += np.outer(np.array(weights) * worth, np.array(steps))

    def event(self, *events: Event) -> None:
        self.cycle(events=events)
        self.add(events)

    def wait(self) -> None:
        """Waits until a flush is allowed."""
        while self.lanes_left + self.tickets - bool(self.lanes_left + self.tickets):
            self.cycle()

    def flush(self, how: dict, *, events: Events = (), ticket: int = 0) -> None:
        self.wait()
        self.cycle(events=events, flush=1, ticket=ticket, how=how)
        for lane in range(self.last_lane + 1):
            last = int(lane == self.last_lane)
            slot = {"lane": lane, "last": last, "empty": 0, "how": how}
            self.slots.append(slot | {"sums": self.sums[self.first_lane + lane].tolist()})
        self.sums[:] = 0
        self.add(events)
        if ticket:
            self.slots.append({"empty": 1, "last": 1, "how": dict.fromkeys(HOW, 0)})

    def ticket(self) -> None:
        self.cycle(ticket=1)
        self.slots.append({"empty": 1, "last": 1, "how": dict.fromkeys(HOW, 0)})

    def empty(self, how: dict) -> None:
        self.wait()
        self.cycle(flush=1, empty=1, how=how)
        self.slots.append({"empty": 1, "last": 1, "how": how})


def given_out(drive: Drive, *, before: list[dict] | None = None) -> list[dict]:
    """The slots with their sums, which follow `sums_latency` cycles later."""
    before = before or []
    # Long enough for all slots, and to catch extra ones.
    tail = [drive.idle] * (2 * drive.last_lane + 8)
    seen = trace(LaneArray(drive.c), before + drive.cycles + tail, ["slot_valid", "slot", "sums"])[
        len(before) :
    ]
    slots = []
    for now, after in zip(seen, seen[drive.c.sums_latency :], strict=False):
        if now["slot_valid"]:
            slot = dict(now["slot"])
            if slot["empty"]:
                del slot["lane"]
            else:
                slot["sums"] = after["sums"]
            slots.append(slot)
    return slots


def valid(drive: Drive) -> list[int]:
    cycles = drive.cycles + [drive.idle] * (drive.last_lane + 4)
    return [cycle["slot_valid"] for cycle in trace(LaneArray(drive.c), cycles, ["slot_valid"])]


def random_events(c: EngineConfig, rng: random.Random) -> Events:
    return tuple(random_event(c, rng) for _ in range(rng.randint(1, c.event_width)))


def random_event(c: EngineConfig, rng: random.Random) -> Event:
    low, high = -(1 << c.weight_bits - 1), (1 << c.weight_bits - 1) - 1
    extremes = rng.choice([[low], [high], range(low, high + 1)])
    weights = [rng.choice(extremes) for _ in range(c.tile_lanes)]
    return rng.randrange(1 << c.steps), weights, rng.randrange(2)


def random_drive(c: EngineConfig, last_lane: int, rng: random.Random, first_lane: int = 0) -> Drive:
    drive = Drive(c, last_lane, first_lane)
    for _ in range(12):
        for _ in range(rng.randint(0, 5)):
            drive.event(*random_events(c, rng))
        choice = rng.randrange(5)
        if choice == 0:
            drive.flush(how(rng))
        elif choice == 1:
            drive.flush(how(rng), events=random_events(c, rng))
        elif choice == 2:
            drive.flush(how(rng), ticket=1)
            for _ in range(rng.randint(0, 20)):
                drive.ticket()
        elif choice == 3:
            drive.flush(how(rng))
            drive.empty(how(rng))
        else:
            drive.cycle()
    drive.flush(how(rng))
    return drive


SIZES = [
    *[(1, 1, 0, 0), (1, 3, 0, 0), (3, 1, 0, 2), (3, 3, 0, 0), (3, 3, 2, 0), (4, 2, 0, 3)],
    *[(5, 4, 0, 4), (5, 2, 1, 1), (8, 8, 0, 7), (8, 2, 6, 1), (8, 2, 4, 3)],
]


@pytest.mark.parametrize(("tile_lanes", "steps", "first_lane", "last_lane"), SIZES)
@pytest.mark.parametrize("shift_bits", [0, 3])
@pytest.mark.parametrize("event_width", [1, 2])
def test_sums_and_their_order(tile_lanes, steps, first_lane, last_lane, shift_bits, event_width):
    c = config(tile_lanes, steps, shift_bits=shift_bits, event_width=event_width)
    drive = random_drive(c, last_lane, random.Random(tile_lanes), first_lane)
    assert given_out(drive) == drive.slots


@settings(max_examples=10)
@given(st.integers(0, 1 << 32))
def test_random_sizes(seed):
    rng = random.Random(seed)
    c = config(rng.randint(1, 6), rng.randint(1, 4), event_width=rng.randint(1, 2))
    first_lane = rng.randrange(c.tile_lanes)
    drive = random_drive(c, rng.randrange(c.tile_lanes - first_lane), rng, first_lane)
    assert given_out(drive) == drive.slots


def test_two_events_of_a_cycle_add_what_their_trains_say():
    c = config(1, 4, event_width=2, weight_bits=4, shift_bits=2)
    for first, second in itertools.product((-8, 7), repeat=2):
        drive = Drive(c, 0)
        drive.event((0b0011, [first], 1), (0b0101, [second], 0))
        drive.flush({})
        sums = [4 * first + second, 4 * first, second, 0]
        assert [s["sums"] for s in given_out(drive)] == [sums]


def test_an_event_beside_a_flush_belongs_to_the_next_window():
    c = config(2, 2)
    drive = Drive(c, 1)
    for event in [(0b01, [1, 2], 0), (0b11, [10, 20], 0)]:
        drive.flush({}, events=(event,))
    drive.wait()
    drive.flush({})
    assert [s["sums"] for s in given_out(drive)] == [*([0, 0],) * 2, [1, 0], [2, 0], [10, 10]] + [
        [20, 20]
    ]


def test_windows_as_fast_as_the_drain_allows():
    c = config(4, 2)
    drive = Drive(c, 3)
    for number in range(5):
        drive.flush({}, events=((0b11, [number] * 4, 0),))
        for _ in range(3):
            drive.event((0b01, [1] * 4, 0))
    drive.flush({})
    assert valid(drive) == [0, 0] + [1] * 4 * 6 + [0] * 2


def test_the_first_slot_comes_two_cycles_after_the_flush():
    drive = Drive(config(3, 1), 2)
    drive.flush({})
    assert valid(drive) == [0, 0, 1, 1, 1, 0, 0]


def test_the_largest_sums():
    c = config(1, 2, weight_bits=4, shift_bits=1, accumulator_bits=6)
    drive = Drive(c, 0)
    for _ in range(2):
        drive.event((0b01, [-8], 1))
        drive.event((0b10, [7], 1))
    drive.flush({})
    assert given_out(drive)[0]["sums"] == [-32, 28]


@pytest.mark.parametrize("after", [1, 4, 9, 15])
def test_a_reset_and_a_load_forget_slots_tickets_and_sums(after):
    c = config(3, 2)
    rng = random.Random(after)
    cut = Drive(c, 2)
    for _ in range(4):
        cut.event(*random_events(c, rng))
        cut.flush(how(rng), ticket=1)
        cut.ticket()
    later = Drive(c, 2)
    for _ in range(3):
        later.event(random_event(c, rng))
        later.flush(how(rng), events=random_events(c, rng))
    before = [*cut.cycles[:after], {"reset": 1}, {"load": 1}, {}]
    assert given_out(later, before=before) == later.slots
