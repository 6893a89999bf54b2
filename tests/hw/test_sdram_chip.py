"""The model of an SDRAM chip: each rule is broken by a cycle, and kept by the next."""

import pytest

from residuum.hw.memory.sdram.bus import A10, Command, mode_register
from residuum.sim.sdram.chip import FLOATING, LOST, Faults
from residuum.sim.sdram.rules import Rule
from tests.hw.sdram_chip import (
    START,
    activate,
    broken,
    command,
    mode,
    precharge,
    read,
    refresh,
    run,
    words,
    write,
)

# Each with the last gap that is long enough, and nothing else that could be broken by one less.
TIMES = {
    Rule.ACTIVATE_TO_ACTIVATE: [activate(), precharge(gap=8), activate(gap=14 - 8)],
    Rule.ACTIVATE_TO_PRECHARGE: [activate(), precharge(gap=8)],
    Rule.ACTIVATE_TO_COLUMN: [activate(), read(gap=3)],
    Rule.PRECHARGE_TO_ACTIVATE: [activate(), precharge(), activate(gap=4)],
    Rule.OTHER_BANK: [activate(), activate(1, gap=5)],
    Rule.REFRESH: [refresh(), activate(gap=11)],
    Rule.WRITE_TO_PRECHARGE: [activate(), write(), precharge(gap=6)],
    Rule.MODE_TO_COMMAND: [mode(), activate(gap=7)],
}
SAME_TIMES = {
    "activate to refresh": (
        Rule.ACTIVATE_TO_ACTIVATE,
        [activate(), precharge(gap=8), refresh(gap=14 - 8)],
    ),
    "activate to write": (Rule.ACTIVATE_TO_COLUMN, [activate(), write(gap=3)]),
    "activate to precharge of all": (
        Rule.ACTIVATE_TO_PRECHARGE,
        [activate(1), precharge(all_banks=True, gap=8)],
    ),
    "precharge of all to activate": (
        Rule.PRECHARGE_TO_ACTIVATE,
        [activate(2), precharge(all_banks=True), activate(2, gap=4)],
    ),
    "precharge to refresh": (
        Rule.PRECHARGE_TO_ACTIVATE,
        [activate(3), precharge(3), refresh(gap=4)],
    ),
    "precharge to mode": (Rule.PRECHARGE_TO_ACTIVATE, [activate(3), precharge(3), mode(gap=4)]),
    "refresh to refresh": (Rule.REFRESH, [refresh(), refresh(gap=11)]),
    "refresh to mode": (Rule.REFRESH, [refresh(), mode(gap=11)]),
    "write to precharge of all": (
        Rule.WRITE_TO_PRECHARGE,
        [activate(1), write(1), precharge(all_banks=True, gap=6)],
    ),
    # Words in cycles 2 to 9; a cycle is left between them and the write.
    "read to write": (Rule.CONTENTION, [activate(), read(), write(gap=11)]),
}


@pytest.mark.parametrize(
    ("rule", "commands"),
    [*TIMES.items(), *SAME_TIMES.values()],
    ids=[*(rule.name.lower() for rule in TIMES), *SAME_TIMES],
)
def test_a_command_a_cycle_too_early_breaks_its_rule(rule, commands):
    *others, last = commands
    early = [*others, last | {"gap": last["gap"] - 1}]
    assert (broken(commands), broken(early)) == ([], [rule])


LEGAL = {
    "precharge of a closed bank": [precharge(2), precharge(2, gap=1)],
    "other banks have times of their own": [activate(), activate(1, gap=5), precharge(gap=3)],
    "write in one bank, precharge in another": [
        activate(),
        activate(1),
        write(1),
        precharge(0, gap=1),
    ],
    "reads follow each other": [activate(), read(), read(gap=1), read(column=8, gap=1)],
    "a write, then a read": [activate(), write(), read(gap=1)],
    "a burst is stopped": [activate(), read(), command(Command.STOP, gap=2)],
    "the highest row and column": [activate(3, 15), read(3, 31)],
    "a latency of 3": [mode(mode_register(3)), activate()],
}


@pytest.mark.parametrize("commands", LEGAL.values(), ids=LEGAL)
def test_what_is_allowed(commands):
    assert broken(commands) == []


FORBIDDEN = {
    "activate twice": (Rule.OPEN, [activate(), activate(row=1)]),
    "refresh in an open bank": (Rule.OPEN, [activate(), refresh()]),
    "mode in an open bank": (Rule.OPEN, [activate(), mode()]),
    "read without a row": (Rule.CLOSED, [activate(1), read(2)]),
    "write after precharge": (Rule.CLOSED, [activate(1), precharge(1), write(1)]),
    "no such row": (Rule.RANGE, [activate(row=16)]),
    "no such column": (Rule.RANGE, [activate(), read(column=32)]),
    "column beyond A10": (Rule.RANGE, [activate(), read(column=1 << 11)]),
    "read with precharge": (Rule.UNKNOWN, [activate(), read(column=A10)]),
    "no such latency": (Rule.MODE, [mode(mode_register(1))]),
    "a burst of a row": (Rule.MODE, [mode(mode_register(2) | 7)]),
    "an interleaved burst": (Rule.MODE, [mode(mode_register(2) | 8)]),
    "bursts of writes": (Rule.MODE, [mode(mode_register(2) & ~(1 << 9))]),
    "other bits of the mode": (Rule.MODE, [mode(mode_register(2) | 1 << 7)]),
    "the mode in another bank": (Rule.MODE, [mode() | {"bank": 1}]),
    "a write without data": (Rule.UNDRIVEN, [activate(), write(drive=0)]),
    "data in a burst": (Rule.CONTENTION, [activate(), read(), write(gap=10)]),
}


@pytest.mark.parametrize(("rule", "commands"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_forbidden(rule, commands):
    assert broken(commands) == [rule]


STARTS = {
    "in the pause": [START[0] | {"gap": 20}, *START[1:]],
    "without precharge": START[1:2],
    "precharge of one bank": [precharge(gap=21), refresh()],
    "a refresh too few": [*START[:8], START[-1]],
    "without a mode": [*START[:9], activate()],
}


@pytest.mark.parametrize("commands", STARTS.values(), ids=STARTS)
def test_the_order_of_the_initialisation(commands):
    cycles = run(commands)
    assert [rule for cycle in cycles for rule in cycle["broken"]] == [Rule.START]


def test_the_initialisation_breaks_nothing():
    assert broken([]) == []


FILL = [activate(1, 5), *(write(1, column, 100 + column, gap=3) for column in range(32))]


@pytest.mark.parametrize("latency", [2, 3])
@pytest.mark.parametrize("length_bits", [0, 1, 2, 3])
@pytest.mark.parametrize("column", [8, 13, 31])
def test_a_burst_has_the_words_of_its_group_in_order(latency, length_bits, column):
    length = 1 << length_bits
    new_mode = mode(mode_register(latency) & ~7 | length_bits)
    seen = words([new_mode, *FILL, read(1, column)])
    first = column - column % length
    burst = [100 + first + (column + index) % length for index in range(length)]
    assert seen[: latency + length + 1] == [*[FLOATING] * latency, *burst, FLOATING]


STOPPED = {
    "precharge": precharge(1, gap=3),
    "precharge of all": precharge(2, all_banks=True, gap=3),
    "stop": command(Command.STOP, gap=3),
}


@pytest.mark.parametrize("last", STOPPED.values(), ids=STOPPED)
def test_a_burst_ends_with_the_latency(last):
    seen = words([*FILL, read(1, 8), last])
    assert seen[:6] == [FLOATING, FLOATING, 108, 109, 110, FLOATING]


def test_precharge_of_another_bank_does_not_end_a_burst():
    assert words([*FILL, read(1, 8), precharge(2, gap=3)])[9] == 115


def test_a_read_replaces_the_burst_before():
    seen = words([*FILL, read(1, 8), read(1, 17, gap=3)])
    assert seen[:5] == [109, 110, 117, 118, 119]


def test_banks_and_rows_keep_their_own_words():
    places = [(0, 5), (1, 5), (1, 6), (3, 15)]
    filled = []
    for number, (bank, row) in enumerate(places):
        filled += [activate(bank, row), write(bank, 9, number), precharge(bank)]
    found = [words([*filled, activate(bank, row), read(bank, 9)])[2] for bank, row in places]
    assert found == [0, 1, 2, 3]


# 3000 cycles are the retention; the 16 rows are refreshed in turn.
def test_refreshes_in_time_are_not_late():
    assert broken([refresh(gap=180) for _ in range(60)]) == []


def test_a_late_refresh_breaks_the_retention():
    assert set(broken([refresh(gap=190) for _ in range(20)])) == {Rule.RETENTION}


def test_no_refresh_at_all_breaks_the_retention():
    assert set(broken([precharge(gap=3010)])) == {Rule.RETENTION}


@pytest.mark.parametrize(("gap", "word"), [(2500, 107), (3500, LOST)])
def test_a_row_without_refresh_loses_its_words(gap, word):
    assert words([*FILL, precharge(1), activate(1, 5, gap=gap), read(1, 7)])[2] == word


def test_lost_words_stay_lost():
    later = [refresh(gap=3500), *[refresh() for _ in range(15)]]
    assert words([*FILL, precharge(1), *later, activate(1, 5), read(1, 7)])[2] == LOST


# Columns 6 and 7 become one, or columns 8 to 15 those from 0 on.
@pytest.mark.parametrize(
    ("faults", "word"),
    [
        (Faults(), 106),
        (Faults(stuck_data={0: 1, 3: 0}), 106 & ~8 | 1),
        (Faults(stuck_address={0: 0}), 107),
        (Faults(swapped=(3, 8)), 114),
    ],
)
def test_faults(faults, word):
    assert words([*FILL, read(1, 6)], faults=faults)[2] == word


def test_a_row_that_refreshes_do_not_reach_loses_its_words():
    rounds = [refresh(gap=150) for _ in range(32)]
    steps = [*FILL, precharge(1), *rounds, activate(1, 5), read(1, 7)]
    weak = [words(steps, faults=Faults(unrefreshed=row))[2] for row in (4, 5)]
    assert (weak, broken(steps, faults=Faults(unrefreshed=5))) == ([107, LOST], [])
