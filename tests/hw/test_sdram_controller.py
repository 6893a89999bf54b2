"""The SDRAM controller on the model of the chip."""

import random
from dataclasses import replace

import pytest

from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import PARTS, SLOWEST, Timing
from residuum.sim.sdram.rules import Rule
from tests.hw.sdram_bench import (
    CLOCK,
    SMALL,
    WIDE,
    Board,
    addresses,
    random_words,
    reading,
    run,
    writing,
)
from tests.hw.simulation import refusal
from tests.hw.streams import wait


@pytest.mark.parametrize("pauses", [(0,), (0, 40, 3)], ids=["at once", "paused"])
@pytest.mark.parametrize("seed", range(3))
def test_reads_give_what_was_written_and_keep_all_rules(seed, pauses):
    rng = random.Random(seed)
    reads = [(rng.randrange(900), rng.choice([1, 2, 3, 9, 40])) for _ in range(25)]
    board = Board()
    words = random_words(seed, rng.sample(addresses(reads), 200))
    known = set(words)
    seen = run(board, writing(board, words, pauses), reading(board, reads, pauses))
    found = [
        (address, word)
        for address, word in zip(addresses(reads), seen.words, strict=True)
        if address in known
    ]
    assert (found, seen.rules) == ([(address, words[address]) for address, _ in found], [])


def test_the_last_word_of_each_read_is_marked():
    reads = [(3, 1), (0, 30), (5, 0), (7, 2)]
    board = Board()
    seen = run(board, reading(board, reads))
    ends = [8, 8 + 240, 8 + 240 + 16]
    assert [index + 1 for index, last in enumerate(seen.lasts) if last] == ends


def test_writes_between_reads():
    board = Board()
    words = random_words(5, range(0, 640, 5))
    steps = []
    for address, word in words.items():
        steps += [writing(board, {address: word}), reading(board, [(address // 8, 1)])]
    seen = run(board, *steps)
    found = [seen.words[8 * index + address % 8] for index, address in enumerate(words)]
    assert (found, seen.rules) == (list(words.values()), [])


@pytest.mark.parametrize("clock_mhz", [50, 100, 133, 142])
@pytest.mark.parametrize("name", PARTS)
def test_all_parts_at_their_clocks(name, clock_mhz):
    part = replace(PARTS[name], rows=16, columns=64, pause=500, retention=125_000)
    board = Board(part, clock_hz=clock_mhz * 1_000_000)
    reads = [(0, 20), (60, 20), (8, 1)]
    words = random_words(1, addresses([(0, 20)]))
    seen = run(board, writing(board, words), reading(board, reads))
    assert (seen.words[:160], seen.rules) == (list(words.values()), [])


def test_a_weight_group_is_read_at_95_percent_of_the_rate_of_the_pins():
    # 400 rows of 64 weights of 4 bits: 16 words each.
    board = Board(WIDE)
    seen = run(board, lambda ctx: wait(ctx, 300), reading(board, [(5, 800)]))
    share = len(seen.words) / (seen.cycles[-1] - seen.cycles[0] + 1)
    assert (len(seen.words), share > 0.95, seen.rules) == (6400, True, [])


def test_commands_one_after_another_leave_no_gap_but_for_refreshes():
    board = Board(WIDE)
    reads = [(10 * index, 10) for index in range(40)]
    seen = run(board, lambda ctx: wait(ctx, 300), reading(board, reads))
    gaps = [
        after - before - 1
        for before, after in zip(seen.cycles, seen.cycles[1:], strict=False)
        if after - before > 1
    ]
    assert (len(gaps) <= 2, max(gaps, default=0) < 90) == (True, True)


def test_the_first_word_comes_soon():
    board = Board(WIDE)
    waits = []

    async def measure(ctx):
        await wait(ctx, 500)
        for row in (0, 0, 4, 1):  # closed, open, another row in the same bank, another bank
            await reading(board, [(64 * row, 1)])(ctx)
            waits.append(1)
            while not ctx.get(board.controller.words.valid):
                waits[-1] += 1
                await ctx.tick()
            await wait(ctx, 30)

    run(board, measure)
    assert waits == [13, 11, 16, 13]


def test_refreshes_wait_for_a_pause():
    board = Board(WIDE)
    seen = run(
        board, lambda ctx: wait(ctx, 1500), reading(board, [(0, 250)]), lambda ctx: wait(ctx, 2000)
    )
    assert seen.cycles[-1] - seen.cycles[0] == len(seen.words) - 1


@pytest.mark.parametrize(
    "load", ["reads", *(pytest.param(load, marks=pytest.mark.long) for load in ("idle", "writes"))]
)
def test_every_row_is_refreshed_in_time(load):
    # Twice the retention time.
    board = Board(replace(SMALL, rows=8, retention=8 * 7_812.5))
    loads = {
        "idle": [lambda ctx: wait(ctx, 18_000)],
        "reads": [reading(board, [(0, 256)] * 9)],
        "writes": [
            writing(board, random_words(1, range(2048)) | {0: 1}),
            lambda ctx: wait(ctx, 9000),
        ],
    }
    assert run(board, *loads[load]).rules == []


def test_a_controller_that_refreshes_too_rarely_is_found():
    board = Board(replace(SMALL, rows=8, retention=8 * 7_812.5))
    board.controller.upkeep.debt.interval *= 2
    assert run(board, lambda ctx: wait(ctx, 12_000)).rules == [Rule.RETENTION]


def test_a_reset_in_the_middle_of_a_read():
    board = Board()
    words = random_words(1, range(160))

    async def reset(ctx):
        await wait(ctx, 31)
        ctx.set(board.reset, 1)
        await ctx.tick()
        ctx.set(board.reset, 0)

    steps = [writing(board, words), reading(board, [(0, 20)]), reset, reading(board, [(0, 20)])]
    seen = run(board, *steps)
    assert (seen.words[-160:], seen.rules) == (list(words.values()), [])
    assert len(seen.words) < 190


def test_a_round_trip_shorter_than_the_latency_is_refused():
    timing = Timing.of(SLOWEST, CLOCK)
    assert refusal(lambda: Controller(SLOWEST, timing, round_trip=2)) == (
        ValueError,
        "round_trip must be at least the CAS latency, 3, not 2",
    )
