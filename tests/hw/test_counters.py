"""Counters: the costs of a layer."""

import random

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.hw.sequencer.counters import Counters
from tests.hw.simulation import trace

CONFIG = EngineConfig(lanes=2, tile_lanes=1, event_width=2, steps=3)


def counted(cycles: list[dict]) -> dict[Counter, int]:
    """All counters after these cycles."""
    # A value counts two cycles after it is given.
    reads = [{"select": which} for which in Counter]
    seen = trace(Counters(CONFIG), [*cycles, {}, *reads], ["value"])
    return {
        which: cycle["value"] for which, cycle in zip(Counter, seen[-len(reads) :], strict=True)
    }


def random_layer(rng: random.Random) -> list[dict]:
    return [
        {
            "counting": 1,
            "events": rng.randint(0, 2),
            "spikes": rng.randint(0, 6),
            "windows": rng.randint(0, 2),
            "drain_stall": rng.randrange(2),
            "scan_stall": rng.randrange(2),
        }
        for _ in range(rng.randint(1, 40))
    ]


def totals(layer: list[dict]) -> dict[Counter, int]:
    names = {
        Counter.EVENTS: "events",
        Counter.SPIKES: "spikes",
        Counter.WINDOWS: "windows",
        Counter.DRAIN_STALLS: "drain_stall",
        Counter.SCAN_STALLS: "scan_stall",
    }
    return {which: sum(cycle[name] for cycle in layer) for which, name in names.items()}


def test_every_cause_is_counted():
    layer = random_layer(random.Random(1))
    values = counted([{"start": 1}, *layer])
    assert {which: values[which] for which in totals(layer)} == totals(layer)


def test_start_clears():
    rng = random.Random(2)
    before, layer = random_layer(rng), random_layer(rng)
    values = counted([{"start": 1}, *before, {"start": 1}, *layer])
    assert {which: values[which] for which in totals(layer)} == totals(layer)


def test_stalls_count_only_while_rows_are_read():
    stalls = {"drain_stall": 1, "scan_stall": 1}
    values = counted([{"start": 1}, stalls, stalls | {"counting": 1}, stalls])
    assert (values[Counter.DRAIN_STALLS], values[Counter.SCAN_STALLS]) == (1, 1)


def test_late_spikes_still_count():
    values = counted([{"start": 1}, {"counting": 1, "spikes": 2}, {"spikes": 3}])
    assert values[Counter.SPIKES] == 5


def test_cycles_from_the_begin_of_the_run_to_the_last_result():
    assert counted([{"begin": 1}, *[{}] * 6, {"finish": 1}])[Counter.CYCLES] == 7


def test_cycles_of_all_layers_add_up():
    lengths = [1, 5, 2, 17]
    cycles: list[dict] = [{}, {}, {"begin": 1}]
    taken = []
    for length in lengths:
        # `start` does not affect the cycle counter.
        cycles += [*[{"start": 1}] * (length - 1), {"finish": 1}]
        taken.append(counted(list(cycles))[Counter.CYCLES])
    assert taken == lengths


def test_words_without_a_counter_read_zero():
    values = set(range(COUNTER_WORDS)) - set(Counter)
    seen = trace(Counters(CONFIG), [{"select": word} for word in values], ["value"])
    assert {cycle["value"] for cycle in seen} == {0}
