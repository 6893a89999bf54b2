"""Data of SDRAM parts, and their times in cycles."""

from dataclasses import asdict

import pytest

from residuum.hw.memory.sdram.parts import PARTS, SLOWEST, Timing
from tests.hw.simulation import refusal


def test_times_round_up_to_cycles_and_the_retention_down():
    # By hand, at 142 MHz: a cycle has 7.0423 ns.
    assert asdict(Timing.of(PARTS["as4c32m16sb-7"], 142_000_000)) == {
        "cas_latency": 3,
        "activate_to_activate": 9,
        "activate_to_precharge": 6,
        "activate_to_column": 3,
        "precharge_to_activate": 3,
        "other_bank": 2,
        "refresh": 9,
        "write_to_precharge": 2,
        "mode_to_command": 2,
        "retention": 9_088_000,
        "pause": 28_400,
    }


def test_a_time_of_whole_cycles_takes_no_other_cycle():
    # 7 ns are one cycle of 1/7 GHz; Python's floats round 21 / 7.0 up in other places.
    assert Timing.of(PARTS["as4c32m16sb-7"], 125_000_000).mode_to_command == 2
    assert Timing.of(PARTS["as4c32m16sb-7"], 100_000_000).refresh == 7


@pytest.mark.parametrize(("clock_mhz", "latency"), [(100, 2), (101, 3), (142, 3)])
def test_a_short_latency_where_the_clock_allows_it(clock_mhz, latency):
    assert Timing.of(SLOWEST, clock_mhz * 1_000_000).cas_latency == latency


def test_the_slowest_part_is_slower_and_smaller_than_all():
    assert (SLOWEST.rows, SLOWEST.columns, SLOWEST.cycle_3) == (8192, 512, 7)
    assert (SLOWEST.refresh, SLOWEST.activate_to_column, SLOWEST.hold) == (70, 21, 2.5)
    for part in PARTS.values():
        needed, given = (Timing.of(one, 140_000_000) for one in (part, SLOWEST))
        assert all(
            getattr(given, name) >= value
            for name, value in asdict(needed).items()
            if name != "retention"
        )


def test_a_clock_too_fast_for_the_part_is_refused():
    assert refusal(lambda: Timing.of(SLOWEST, 150_000_000)) == (
        ValueError,
        "the part runs at 142.86 MHz at most, not 150",
    )


def test_sizes():
    assert SLOWEST.words * 2 == 32 << 20
    assert PARTS["as4c32m16sb-7"].words * 2 == 64 << 20
    assert (SLOWEST.burst_bits, SLOWEST.column_bits, SLOWEST.row_bits) == (21, 6, 13)
