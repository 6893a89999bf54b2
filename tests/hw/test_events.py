"""EventScanner: every event of a window once, then the window's end, when the drain allows it."""

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Signal
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.scanner.events import EventScanner
from tests.hw.simulation import plain, simulate

OCCUPANCY_LATENCY = 3
HOW = ("shared", "later", "more", "line_last", "group_last", "layer_last")


def config(lanes: int, tile_lanes: int, event_width: int = 1) -> EngineConfig:
    return EngineConfig(
        lanes=lanes,
        tile_lanes=tile_lanes,
        event_width=event_width,
        feature_rows=32,
        weight_rows=256,
    )


@dataclass
class Row:
    """A row of a pass: its spiking slots in the feature memory, and the slots of the window."""

    number: int
    spiking: frozenset[int]
    weight: int = 0
    shift: int = 0
    empty_row: int = 0
    head: int = 0
    tail: int = 0
    first: int = 0
    last: int = 0
    refers: int = 0  # the row has no trains, but refers to the shared result in ``empty_row``


@dataclass
class Pass:
    """A pass over a window, with the flags of its end."""

    rows: list[Row]
    how: dict[str, int] = field(default_factory=dict)

    def request(self, index: int) -> dict:
        row = self.rows[index]
        names = ("weight", "shift", "empty_row", "head", "tail", "first", "last")
        return {
            "row": row.number,
            **{name: getattr(row, name) for name in names},
            "end": int(index == len(self.rows) - 1),
            "how": how(**self.how),
        }


def how(**flags: int) -> dict[str, int]:
    return {name: flags.get(name, 0) for name in HOW}


def expected(c: EngineConfig, passes: list[Pass], *, skip_empty: bool) -> list[tuple]:
    """The events of each pass, unordered, and its end."""
    result: list[tuple] = []
    for one in passes:
        events = []
        for row in one.rows:
            head = row.head if row.first else 0
            tail = row.tail if row.last else c.lanes - 1
            for slot in row.spiking & set(range(head, tail + 1)):
                if not one.how.get("shared"):
                    number = row.empty_row if row.refers else row.number
                    place = number, slot // c.tiles, slot % c.tiles
                    events.append((*place, row.weight, row.shift))
        if events or not skip_empty or one.how.get("shared"):
            end = ("end", how(**one.how))
        elif one.how.get("group_last"):
            end = ("empty", how(**one.how))
        else:
            end = ("ticket", None)
        result += [("events", sorted(events)), end]
    return result


def picked(token: dict) -> list[tuple]:
    """The events of a token, each with its bank in the feature memory."""
    width = len(token["events"])
    return [
        (
            event["row"],
            event["lane"],
            stream + width * event["bank"],
            event["weight"],
            event["shift"],
        )
        for stream, event in enumerate(token["events"])
        if event["valid"]
    ]


def observed(tokens: list[dict]) -> list[tuple]:
    """The same, from tokens. In one token, a flush precedes the ticket or the events."""
    result: list[tuple] = []
    events: list[tuple] = []
    for token in tokens:
        ends = []
        if token["flush"]:
            ends.append(("empty" if token["empty"] else "end", token["how"]))
        if token["ticket"]:
            ends.append(("ticket", None))
        for end in ends:
            result += [("events", sorted(events)), end]
            events = []
        events += picked(token)
    return result + ([("events", events)] if events else [])


def too_early(tokens: list[dict], last_lane: int) -> list[int]:
    """Cycles with a flush while the drain is busy, or with more tickets than come during a window.

    The drain outputs one slot per cycle: one for each lane of a window, one for a ticket or an
    empty window.
    """
    wrong = []
    lanes = tickets = 0
    for now, token in enumerate(tokens):
        if lanes:
            lanes -= 1
        elif tickets:
            tickets -= 1
        if token["flush"]:
            if lanes or tickets:
                wrong.append(now)
            lanes = 1 if token["empty"] else last_lane + 1
        tickets += token["ticket"]
        if tickets > last_lane + 2:
            wrong.append(now)
    return wrong


def scan(
    c: EngineConfig,
    passes: list[Pass],
    *,
    last_lane: int = 0,
    skip_empty: bool = False,
    advance=lambda: True,
    reset_after: int | None = None,
) -> list[dict]:
    """Tokens and stalls in every cycle. With `reset_after`, a reset ends a first attempt after so
    many cycles, and the result is that of the second attempt."""
    dut = EventScanner(c)
    reset = Signal()
    rows = {row.number: row for one in passes for row in one.rows}
    requests = [one.request(index) for one in passes for index in range(len(one.rows))]
    seen: list[dict] = []

    def occupancy(number: int) -> tuple[int, int]:
        row = rows.get(number, Row(0, frozenset()))
        bits = sum(1 << slot % c.tiles * c.bank_slots + slot // c.tiles for slot in row.spiking)
        return bits, row.refers

    async def start(ctx) -> None:
        assert not ctx.get(dut.ready)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)

    async def attempt(ctx, cycles: int) -> None:
        left = list(requests)
        ends, quiet = 0, 0
        read = [0] * OCCUPANCY_LATENCY
        for _ in range(cycles):
            # Run on for some cycles, to catch extra tokens.
            quiet = quiet + 1 if ends >= len(passes) else 0
            if quiet > 12:
                break
            bits, refers = occupancy(read[-1])
            ctx.set(dut.occupancy, bits)
            ctx.set(dut.occupancy_empty, refers)
            go = bool(left) and bool(ctx.get(dut.ready)) and advance()
            ctx.set(dut.advance, go)
            if go:
                ctx.set(dut.request, left.pop(0))
            token = plain(ctx.get(dut.token))
            ends += token["flush"] + token["ticket"]
            stalls = {name: ctx.get(getattr(dut, name)) for name in ("drain_stall", "scan_stall")}
            seen.append(token | stalls)
            read = [ctx.get(dut.occupancy_row), *read[:-1]]
            await ctx.tick()

    async def testbench(ctx):
        ctx.set(dut.skip_empty, skip_empty)
        ctx.set(dut.last_lane, last_lane)
        if reset_after is not None:
            await start(ctx)
            await attempt(ctx, reset_after)
            ctx.set(reset, 1)
            ctx.set(dut.advance, 0)
            await ctx.tick()
            ctx.set(reset, 0)
            seen.clear()
        spikes = sum(len(row.spiking) for one in passes for row in one.rows)
        await start(ctx)
        await attempt(ctx, 4 * len(requests) + spikes + len(passes) * (last_lane + 4) + 30)

    simulate(dut, testbench, reset=reset)
    return seen


def random_passes(
    c: EngineConfig, rng: random.Random, *, density: float, count: int, passes: int = 1
) -> list[Pass]:
    memory = [
        Row(
            number,
            frozenset(slot for slot in range(c.lanes) if rng.random() < density),
            refers=int(rng.random() < 0.2),
        )
        for number in range(32)
    ]
    result = []
    for window in range(count):
        group_last = int(rng.random() < 0.2 or window == count - 1)
        flags = {"group_last": group_last, "layer_last": int(window == count - 1)}
        shared = not group_last and rng.random() < 0.2
        for number in range(1 if shared else passes):
            rows = []
            for _ in range(1 if shared else rng.randint(1, 3)):
                head, tail = rng.randrange(c.lanes), rng.randrange(c.lanes)
                span = 1 if shared else rng.randint(1, 3)
                for index in range(span):
                    row = rng.choice(memory)
                    rows.append(
                        Row(
                            row.number,
                            row.spiking,
                            weight=rng.randrange(256),
                            shift=rng.randrange(2),
                            empty_row=rng.randrange(32),
                            head=head,
                            tail=tail,
                            first=int(index == 0),
                            last=int(index == span - 1),
                            refers=row.refers,
                        )
                    )
            partial = number < passes - 1 and not shared
            ends = {} if partial else flags
            kind = {"partial": int(partial), "first": int(number == 0), "shared": int(shared)}
            kind |= {name: rng.randrange(2) for name in ("later", "more", "line_last")}
            result.append(Pass(rows, ends | kind))
    return result


def sometimes(seed: int, share: float):
    rng = random.Random(seed)
    return lambda: rng.random() < share


SIZES = pytest.mark.parametrize(
    ("lanes", "tile_lanes", "event_width"),
    [(1, 1, 1), (3, 3, 1), (4, 2, 1), (3, 1, 1), (8, 8, 1), (4, 2, 2), (3, 1, 2), (16, 4, 2)],
)


@SIZES
@pytest.mark.parametrize("density", [0.0, 0.05, 0.4, 1.0])
@pytest.mark.parametrize("skip_empty", [False, True], ids=["all windows", "empty ones shared"])
@pytest.mark.parametrize("share", [1.0, 0.4], ids=["rows at once", "rows late"])
def test_every_spike_once_and_every_window_in_order(
    lanes, tile_lanes, event_width, density, skip_empty, share
):
    c = config(lanes, tile_lanes, event_width)
    for last_lane in {0, tile_lanes - 1}:
        passes = random_passes(c, random.Random(lanes), density=density, count=12)
        tokens = scan(
            c,
            passes,
            last_lane=last_lane,
            skip_empty=skip_empty,
            advance=sometimes(1, share),
        )
        assert observed(tokens) == expected(c, passes, skip_empty=skip_empty)
        assert too_early(tokens, last_lane) == []


@settings(max_examples=10)
@given(st.integers(0, 1 << 32), st.sampled_from([0.02, 0.1, 0.3]), st.booleans())
def test_random_windows(seed, density, skip_empty):
    rng = random.Random(seed)
    tile_lanes = rng.choice([1, 2, 4])
    tiles = rng.choice([1, 2, 3, 4])
    c = config(tile_lanes * tiles, tile_lanes, rng.choice([1, min(2, tiles)]))
    last_lane = rng.randrange(tile_lanes)
    passes = random_passes(c, rng, density=density, count=30)
    tokens = scan(c, passes, last_lane=last_lane, skip_empty=skip_empty)
    assert (observed(tokens), too_early(tokens, last_lane)) == (
        expected(c, passes, skip_empty=skip_empty),
        [],
    )


@pytest.mark.parametrize("c", [config(3, 3), config(4, 2, 2)], ids=["one stream", "two"])
def test_windows_in_several_passes(c):
    passes = random_passes(c, random.Random(2), density=0.2, count=12, passes=3)
    tokens = scan(c, passes, last_lane=1)
    assert (observed(tokens), too_early(tokens, 1)) == (expected(c, passes, skip_empty=False), [])


@pytest.mark.parametrize("after", [1, 3, 5, 6, 9, 20, 33])
@pytest.mark.parametrize("skip_empty", [False, True])
@pytest.mark.parametrize("event_width", [1, 2])
def test_a_reset_forgets_everything(after, skip_empty, event_width):
    c = config(4, 2, event_width)
    passes = random_passes(c, random.Random(3), density=0.3, count=12)
    tokens = scan(c, passes, last_lane=1, skip_empty=skip_empty, reset_after=after)
    assert observed(tokens) == expected(c, passes, skip_empty=skip_empty)


def spiking_rows(c: EngineConfig, counts: list[int]) -> list[Row]:
    """Rows with these numbers of spikes; each row is one segment."""
    return [
        Row(count, frozenset(range(count)), tail=c.lanes - 1, first=1, last=1) for count in counts
    ]


def event_cycles(tokens: list[dict]) -> list[int]:
    return [now for now, token in enumerate(tokens) for _ in picked(token)]


def test_no_row_is_taken_behind_the_stop():
    dut = EventScanner(config(2, 2))
    seen = []

    async def testbench(ctx):
        for start, stop in [(0, 0), (1, 0), (0, 0), (0, 0), (0, 1), (0, 0), (0, 0), (1, 0), (0, 0)]:
            ctx.set(dut.start, start)
            ctx.set(dut.stop, stop)
            seen.append(ctx.get(dut.ready))
            await ctx.tick()

    simulate(dut, testbench)
    assert seen == [0, 0, 1, 1, 1, 0, 0, 0, 1]


@SIZES
def test_an_event_per_cycle_and_stream_from_full_rows(lanes, tile_lanes, event_width):
    c = config(lanes, tile_lanes, event_width)
    # Enough events per window for the drain of the previous window to end.
    passes = [Pass(spiking_rows(c, [lanes] * 8)) for _ in range(6)]
    cycles = event_cycles(scan(c, passes, last_lane=tile_lanes - 1))
    # The lanes of an odd number of tiles are not equally many in both streams.
    length = 6 * 8 * c.stream_banks * tile_lanes
    assert len(cycles) == 6 * 8 * lanes
    assert sorted(set(cycles)) == list(range(cycles[0], cycles[0] + length))


def test_an_event_per_cycle_from_rows_with_one_spike():
    c = config(4, 2)
    cycles = event_cycles(scan(c, [Pass(spiking_rows(c, [1] * 30))]))
    assert cycles == list(range(cycles[0], cycles[0] + 30))


def test_rows_without_spikes_cost_nothing_behind_as_many_events():
    c = config(8, 8)
    counts = [8, *[0] * 7] * 3 + [8]
    cycles = event_cycles(scan(c, [Pass(spiking_rows(c, counts))]))
    assert cycles == list(range(cycles[0], cycles[0] + 4 * 8))


def test_windows_wait_for_the_drain():
    c = config(8, 8)
    tokens = scan(c, [Pass(spiking_rows(c, [1])) for _ in range(10)], last_lane=5)
    flushes = [now for now, token in enumerate(tokens) if token["flush"]]
    assert [after - before for before, after in zip(flushes, flushes[1:], strict=False)] == [6] * 9


def test_a_window_is_handed_over_when_nothing_follows():
    c = config(2, 2)
    tokens = scan(c, [Pass(spiking_rows(c, [2]))], last_lane=1)
    active = [t for t in tokens if picked(t) or t["flush"]]
    assert [(len(picked(t)), t["flush"]) for t in active] == [(1, 0), (1, 0), (0, 1)]


@pytest.mark.parametrize("event_width", [1, 2])
def test_a_window_without_events_takes_one_cycle(event_width):
    c = config(4, 2, event_width)
    windows = [Pass(spiking_rows(c, [0])) for _ in range(30)]
    tokens = scan(c, windows, last_lane=1, skip_empty=True)
    cycles = [now for now, token in enumerate(tokens) if token["ticket"]]
    assert cycles == list(range(cycles[0], cycles[0] + 30))


@pytest.mark.parametrize("lanes", [1, 2, 8, 15, 16])
def test_windows_without_events_do_not_wait_for_the_drain(lanes):
    c = config(lanes, lanes)
    windows = [Pass(spiking_rows(c, [count])) for count in [lanes, *[0] * 60, 1]]
    tokens = scan(c, windows, last_lane=lanes - 1, skip_empty=True)
    cycles = [now for now, token in enumerate(tokens) if token["ticket"]]
    assert too_early(tokens, lanes - 1) == []
    assert cycles == list(range(cycles[0], cycles[0] + 60))


@pytest.mark.parametrize("density", [0.02, 0.3])
@pytest.mark.parametrize("event_width", [1, 2])
def test_a_stall_is_a_cycle_without_an_event(density, event_width):
    c = config(4, 2, event_width)
    passes = random_passes(c, random.Random(4), density=density, count=30)
    tokens = scan(c, passes, last_lane=1, skip_empty=True, advance=sometimes(5, 0.7))
    kinds = {
        (int(bool(picked(t)) or t["ticket"]), t["drain_stall"], t["scan_stall"]) for t in tokens[1:]
    }
    assert kinds <= {(1, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_a_stream_waits_for_the_other_one_at_the_end_of_a_window_only():
    c = config(4, 2, 2)

    def row(number: int, even: int, odd: int) -> Row:
        spiking = frozenset([*range(0, 2 * even, 2), *range(1, 2 * odd, 2)])
        return Row(number, spiking, tail=3, first=1, last=1)

    # In each window 6 events of the even banks and 4 of the odd ones, though not in each row.
    windows = [Pass([row(0, 2, 0), row(1, 2, 2), row(2, 2, 2)]) for _ in range(10)]
    cycles = event_cycles(scan(c, windows, last_lane=1))
    assert len(cycles) == 100
    assert sorted(set(cycles)) == list(range(cycles[0], cycles[0] + 60))


def test_stalls_by_cause():
    c = config(4, 4)
    # A window of one event waits 3 cycles for the drain of the previous window. Then follows a scan
    # over rows without spikes.
    windows = [Pass(spiking_rows(c, [1])) for _ in range(3)] + [Pass(spiking_rows(c, [0] * 20))]
    tokens = scan(c, windows, last_lane=3)
    cycles = event_cycles(tokens)
    between = tokens[cycles[0] + 1 : cycles[-1]]
    behind = tokens[cycles[-1] + 1 : cycles[-1] + 10]
    assert [t["drain_stall"] for t in between if not picked(t)] == [1] * (len(between) - 1)
    assert sum(t["scan_stall"] for t in behind) >= 5
