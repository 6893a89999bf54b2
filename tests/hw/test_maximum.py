"""Maximum: the largest number of each lane over the windows of a max-pooling."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.neuron.maximum import Maximum
from tests.hw.simulation import idle, trace

OUTPUTS = ("result_valid", "result", "maximum")


def config(tile_lanes: int, steps: int) -> EngineConfig:
    return EngineConfig(lanes=tile_lanes, tile_lanes=tile_lanes, steps=steps)


def neuron(lane: int, train: int, *, last: int = 0, empty: int = 0, **how: int) -> dict:
    slot = {"lane": lane, "last": last, "empty": empty, "how": how}
    return {"slot_valid": 1, "slot": slot, "train": train}


def window(numbers: list[int], **how: int) -> list[dict]:
    lanes = len(numbers)
    return [neuron(n, value, last=int(n == lanes - 1), **how) for n, value in enumerate(numbers)]


def pooled(windows: list[list[int]]) -> list[dict]:
    """The windows of neurons in one window of the max-pooling."""
    count = len(windows)
    return [
        cycle
        for n, numbers in enumerate(windows)
        for cycle in window(numbers, later=int(n > 0), more=int(n < count - 1))
    ]


def left(c: EngineConfig, cycles: list[dict]) -> list[tuple[int, int]]:
    """(lane, number) of all results."""
    seen = trace(Maximum(c), cycles + idle(4), OUTPUTS)
    return [(s["result"]["lane"], s["maximum"]) for s in seen if s["result_valid"]]


def largest(windows: list[list[int]]) -> list[tuple[int, int]]:
    return [(lane, max(numbers)) for lane, numbers in enumerate(zip(*windows, strict=True))]


@settings(max_examples=25)
@given(st.data())
def test_the_largest_number_of_each_lane(data):
    c = config(data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    lanes = data.draw(st.integers(1, c.tile_lanes))
    number = st.integers(0, (1 << c.steps) - 1)
    one = st.lists(st.lists(number, min_size=lanes, max_size=lanes), min_size=1, max_size=9)
    poolings = data.draw(st.lists(one, min_size=1, max_size=6))
    pauses = data.draw(st.sampled_from([0, 1, 3]))
    cycles: list[dict] = []
    for windows in poolings:
        for cycle in pooled(windows):
            cycles += [cycle, *idle(pauses)]
    assert left(c, cycles) == [result for windows in poolings for result in largest(windows)]


@pytest.mark.parametrize("tile_lanes", [1, 4])
def test_one_lane_in_every_cycle(tile_lanes):
    rng = random.Random(tile_lanes)
    poolings = [[[rng.randrange(16)] for _ in range(size)] for size in (9, 1, 4, 4, 2, 1, 1, 9)]
    cycles = [cycle for windows in poolings for cycle in pooled(windows)]
    expected = [(0, max(max(numbers) for numbers in windows)) for windows in poolings]
    assert left(config(tile_lanes, 4), cycles) == expected


def test_numbers_have_no_sign_and_the_highest_bit_is_no_part_of_them():
    c = config(1, 3)
    assert left(c, pooled([[0b111], [0b001], [0b011]])) == [(0, 0b111)]
    assert left(c, [neuron(0, 0b1000), neuron(0, 0b1101, last=1)]) == [(0, 0b1000), (0, 0b1101)]


def test_results_leave_two_cycles_later_with_their_slot():
    rng = random.Random(1)
    flags = ("shared", "line_last", "group_last", "layer_last")
    cycles = [
        neuron(lane, rng.randrange(32), last=lane & 1, **{name: rng.randrange(2) for name in flags})
        for lane in (0, 1, 2, 3, 0, 1)
    ]
    seen = trace(Maximum(config(4, 4)), cycles + idle(3), OUTPUTS)
    assert [s["result_valid"] for s in seen] == [0, 0, *[1] * 6, 0]
    for cycle, after in zip(cycles, seen[2:], strict=False):
        assert after["maximum"] == cycle["train"]
        slot = after["result"] | {"how": {n: v for n, v in after["result"]["how"].items() if v}}
        how = {name: value for name, value in cycle["slot"]["how"].items() if value}
        assert slot == cycle["slot"] | {"how": how}


def test_windows_without_events_pass_and_change_nothing():
    c = config(2, 4)
    ticket = neuron(0, 15, last=1, empty=1)
    first, second = window([3, 4], more=1), window([2, 5], later=1)
    cycles = [ticket, *first, ticket, ticket, *second, ticket]
    assert left(c, cycles) == [(0, 15), (0, 15), (0, 15), (0, 3), (1, 5), (0, 15)]


@pytest.mark.parametrize("flags", [{}, {"more": 1}])
def test_nothing_leaves_or_is_kept_without_valid(flags):
    c = config(1, 4)
    nothing = neuron(0, 15, **flags) | {"slot_valid": 0}
    cycles = [nothing, neuron(0, 2, more=1), nothing, neuron(0, 1, later=1)]
    assert left(c, cycles) == [(0, 2)]


def test_a_load_forgets_the_result_on_its_way():
    cycles = [neuron(0, 5) | {"load": 1}, neuron(0, 6)]
    assert left(config(1, 4), cycles) == [(0, 6)]
