"""The memory tester, and the faults it finds."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from residuum.hw.isa.host_map import Pattern
from residuum.hw.memory.sdram.parts import SLOWEST
from residuum.hw.memory.sdram.patterns import PatternWords, random_step
from residuum.sim.sdram.chip import Faults
from residuum.sim.sdram.rules import Rule
from tests.hw.sdram_memory import RESULTS, MemoryBoard
from tests.hw.simulation import plain, simulate, trace
from tests.hw.streams import wait

# 512 words: 2 rows of 64 in four banks.
PART = replace(SLOWEST, rows=2, columns=64, pause=200, retention=20_000)
BURSTS = PART.words // 8
# Longer than the retention.
LONG = 4000
NO_FAULTS = Faults()


@dataclass(frozen=True)
class Step:
    """A run of the tester; then a pause in cycles."""

    pattern: Pattern = Pattern.RANDOM
    first: int = 0
    count: int = BURSTS
    writing: int = 1
    reading: int = 1
    seed: int = 1
    pause: int = 0
    unrefreshed: int = 0


def run(*steps: Step, faults: Faults = NO_FAULTS) -> list[dict[str, Any]]:
    """The results of steps, one after another on one chip; ``address`` of the first wrong word."""
    board = MemoryBoard(PART, faults=faults)
    found = []

    async def testbench(ctx):
        for step in steps:
            for name in ("pattern", "first", "count", "writing", "reading", "seed", "unrefreshed"):
                ctx.set(getattr(board, name), getattr(step, name))
            ctx.set(board.start, 1)
            await ctx.tick()
            ctx.set(board.start, 0)
            await ctx.tick().until(~board.busy)
            found.append({name: plain(ctx.get(getattr(board, name))) for name in RESULTS})
            bad = found[-1]["first_bad"]
            found[-1]["address"] = ((bad["row"] * 4 + bad["bank"]) * 8 + bad["column"]) * 8 + bad[
                "word"
            ]
            await wait(ctx, step.pause)
        seen = ctx.get(board.seen)
        found[-1]["rules"] = [rule for rule in Rule if seen >> rule & 1]

    simulate(board, testbench)
    return found


def errors(pattern: Pattern, faults: Faults) -> int:
    return run(Step(pattern), faults=faults)[0]["errors"]


@pytest.mark.parametrize("pattern", Pattern)
def test_a_good_memory_has_no_errors(pattern):
    result = run(Step(pattern))[0]
    assert (result["errors"], result["bad_bits"], result["rules"]) == (0, 0, [])


def pattern_words(pattern: Pattern, count: int, first: int = 0, seed: int = 1) -> list[int]:
    dut = PatternWords(24)
    cycles = [{"pattern": pattern, "first": first, "seed": seed, "restart": 1}]
    cycles += [{"pattern": pattern, "following": 1}] * count
    return [cycle["word"] for cycle in trace(dut, cycles, ["word"])[1:]]


def test_the_words_of_the_patterns():
    first = (5 << 16) - 2
    expected = {
        Pattern.WALKING_ONE: [1 << 14, 1 << 15, 1, 2],
        Pattern.WALKING_ZERO: [0xFFFF ^ 1 << 14, 0xFFFF ^ 1 << 15, 0xFFFE, 0xFFFD],
        Pattern.ADDRESS: [0xFFFE, 0xFFFF, 0, 1],
        Pattern.PAGE: [4, 4, 5, 5],
    }
    assert {pattern: pattern_words(pattern, 4, first) for pattern in expected} == expected


def test_random_words_are_the_generator_s():
    states = [2463534242]
    while len(states) < 20:
        states.append(random_step(states[-1]))
    words = [state & 0xFFFF for state in states]
    # Marsaglia's paper names the first number after this seed.
    assert states[1] == 723471715
    assert pattern_words(Pattern.RANDOM, 20, seed=states[0]) == words
    assert pattern_words(Pattern.INVERTED, 20, seed=states[0]) == [0xFFFF ^ word for word in words]


@pytest.mark.parametrize("bit", [0, 15])
@pytest.mark.parametrize("level", [0, 1])
def test_a_stuck_bit_is_found_and_named(bit, level):
    result = run(Step(Pattern.WALKING_ONE), faults=Faults(stuck_data={bit: level}))[0]
    # Of 16 words one has the bit set.
    wrong = PART.words // 16 * (15 if level else 1)
    assert (result["errors"], result["bad_bits"]) == (wrong, 1 << bit)


def test_the_first_wrong_word():
    result = run(Step(Pattern.ADDRESS, first=3), faults=Faults(stuck_data={6: 0}))[0]
    named = result["address"], result["first_expected"], result["first_read"]
    assert named == (64, 64, 0)


# A swap of lines that only number rows, or bursts of a row, gives all words other places, which
# nobody can tell or needs to. Lines 0..2 are the order in a burst, and 8 no column here. The mode
# has the same bits on the lines of each pair.
@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((0, 1), True),
        ((0, 4), True),
        ((1, 5), True),
        ((2, 3), True),
        ((3, 8), True),
        ((4, 5), False),
        ((7, 8), False),
    ],
)
def test_swapped_address_lines_are_found_where_they_matter(lines, found):
    assert (errors(Pattern.ADDRESS, Faults(swapped=lines)) > 0) == found


# At levels that leave the mode as it is.
@pytest.mark.parametrize(("line", "level"), [(0, 1), (1, 1), (2, 0), (3, 0), (4, 1), (5, 1)])
def test_a_stuck_address_line_is_found(line, level):
    assert errors(Pattern.ADDRESS, Faults(stuck_address={line: level})) >= PART.words // 4


def test_missed_refreshes_are_found():
    write = Step(reading=0)
    without = Step(writing=0, count=1, unrefreshed=1, pause=LONG)
    result = run(write, without, Step(writing=0, unrefreshed=1))[2]
    assert (result["errors"] > PART.words - 16, result["rules"]) == (True, [Rule.RETENTION])


def test_a_row_that_refreshes_do_not_reach_is_found():
    write, read = Step(reading=0, pause=LONG), Step(writing=0)
    result = run(write, read, faults=Faults(unrefreshed=1))[1]
    # The second row of four banks; a random word may be what a lost one reads.
    assert (250 <= result["errors"] <= 256, result["address"] // 256) == (True, 1)


def test_time_alone_breaks_nothing():
    write, read = Step(reading=0, pause=LONG), Step(writing=0)
    assert [run(write, read)[1][name] for name in ("errors", "rules")] == [0, []]


def test_a_range_is_tested_and_the_rest_left_alone():
    whole = Step(Pattern.ADDRESS, reading=0)
    part = Step(Pattern.RANDOM, first=10, count=20)
    again = Step(Pattern.ADDRESS, writing=0)
    results = run(whole, part, again)
    assert results[1]["errors"] == 0
    assert 150 <= results[2]["errors"] <= 160
    assert results[2]["address"] == 80


def test_results_are_cleared_by_the_next_run():
    results = run(Step(Pattern.ADDRESS), Step(Pattern.PAGE, writing=0), Step(Pattern.PAGE))
    assert [result["errors"] for result in results] == [0, PART.words - 1, 0]


def test_another_seed_gives_other_words():
    results = run(Step(seed=1), Step(seed=2, writing=0))
    assert results[1]["errors"] > PART.words - 16
