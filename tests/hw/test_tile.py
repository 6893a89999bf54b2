"""Tile: from weight rows to stored results, and the bus to the next tile."""

import random

import pytest

from residuum.hw.array.tile import Tile
from residuum.hw.isa.config import EngineConfig
from tests.hw.simulation import trace

CONFIG = EngineConfig(
    lanes=2, tile_lanes=2, steps=1, weight_rows=4, feature_rows=64, channel_groups=3
)
WEIGHTS = [[1, -1], [-1, 1], [1, 1], [0, 0]]
WEIGHT_LATENCY = 3
ONE = 1 << CONFIG.fraction_bits  # one unit of weight in a potential
HOW = {"partial": 0, "first": 1, "shared": 0, "group_last": 0, "layer_last": 0}
NOTHING = {"train": 0, "flush": 0, "empty": 0, "ticket": 0, "how": HOW}

# A window: the weight rows of its events, and the flags of its end. None: no events.
Window = tuple[list[int] | None, dict[str, int]]


def setup(*, threshold: int, biases: list[list[int]]) -> list[dict]:
    """Writes of weights and constants; `biases` by group and lane."""
    mask = (1 << CONFIG.weight_bits) - 1
    writes: list[dict] = [
        {
            "weight_write": 1,
            "weight_write_row": row,
            "weight_write_data": sum(
                (weight & mask) << lane * CONFIG.weight_bits for lane, weight in enumerate(weights)
            ),
        }
        for row, weights in enumerate(WEIGHTS)
    ]
    return writes + [
        {
            "parameter_write": 1,
            "parameter_write_address": group << CONFIG.lane_bits | lane,
            "parameter_write_data": {"bias": bias, "threshold": threshold},
        }
        for group, lanes in enumerate(biases)
        for lane, bias in enumerate(lanes)
    ]


def bus(windows: list[Window]) -> list[tuple[int, dict]]:
    """(weight row, action) per cycle, with enough idle cycles for the drain."""
    cycles: list[tuple[int, dict]] = []
    for rows, how in windows:
        if rows is None and how.get("group_last"):
            cycles.append((0, NOTHING | {"flush": 1, "empty": 1, "how": HOW | how}))
        elif rows is None:
            cycles.append((0, NOTHING | {"ticket": 1}))
        else:
            cycles += [(row, NOTHING | {"train": 1}) for row in rows]
            cycles.append((3, NOTHING | {"flush": 1, "how": HOW | how}))
        cycles += [(3, NOTHING)] * 2
    return cycles


def run(windows: list[Window], target: dict, *, threshold=ONE, biases=None, output=0, layers=1):
    """The tile's outputs in every cycle, followed by reads of the first logits."""
    biases = biases or [[0, 0]] * 3
    mode = {"active": 1, "inference": 1, "pixels": 0, "output": output}
    always = {"mode": mode, "target": target}
    events = bus(windows)
    rows = [row for row, _ in events] + [0] * (WEIGHT_LATENCY + 20)
    actions = [NOTHING] * WEIGHT_LATENCY + [action for _, action in events] + [NOTHING] * 20
    layer = [always | {"load": 1}] + [
        always | {"weight_row": row, "action": action}
        for row, action in zip(rows, actions, strict=True)
    ]
    reads = [always | {"logit_address": address} for address in [0, 1, 2, 3, 0, 0, 0]]
    outputs = ("write_valid", "write", "done", "logit", "weight_row_next", "action_next")
    cycles = setup(threshold=threshold, biases=biases) + layer * layers + reads
    return cycles, trace(Tile(CONFIG), cycles, outputs)


TARGET = {"row": 10, "empty_row": 40, "pitch": 3, "last_lane": 1, "parameter_group": 0}
GROUP: list[Window] = [
    ([2], {"shared": 1}),
    ([0, 2], {}),
    (None, {}),
    ([1], {"group_last": 1}),
]
LAYER = [*GROUP, *GROUP[:-1], ([2, 0], {"group_last": 1, "layer_last": 1})]


def writes(seen: list[dict]) -> list[tuple]:
    """(row, train, shared) for each neuron, lane 0 first, and (row, "empty")."""
    result: list[tuple] = []
    for cycle in seen:
        write = cycle["write"]
        if not cycle["write_valid"]:
            continue
        if write["empty"]:
            result.append((write["row"], "empty"))
        else:
            assert write["last"] == (write["lane"] == 1)
            result.append((write["row"], write["lane"], write["train"] & 1, write["shared"]))
    return result


def neurons(row: int, spikes: list[int], shared: int = 0) -> list[tuple]:
    return [(row, lane, spike, shared) for lane, spike in enumerate(spikes)]


# A neuron starts at half its threshold of one, and fires from a sum of one on.
WRITTEN = [
    *neurons(40, [1, 1], shared=1),
    *neurons(10, [1, 0]),
    (13, "empty"),
    *neurons(16, [0, 1]),
    *neurons(41, [1, 1], shared=1),
    *neurons(11, [1, 0]),
    (14, "empty"),
    *neurons(17, [1, 0]),
]


@pytest.mark.parametrize("layers", [1, 2])
def test_results_go_to_their_rows(layers):
    _, seen = run(LAYER, TARGET, layers=layers)
    assert writes(seen) == WRITTEN * layers


def test_a_group_that_ends_without_events():
    windows: list[Window] = [([2], {"shared": 1}), (None, {"group_last": 1}), ([0], {})]
    _, seen = run(windows, TARGET)
    assert writes(seen) == [*neurons(40, [1, 1], shared=1), (10, "empty"), *neurons(11, [1, 0])]


def test_done_comes_once_one_cycle_after_the_last_result():
    _, seen = run(LAYER, TARGET)
    last = max(now for now, cycle in enumerate(seen) if cycle["write_valid"])
    assert [now for now, cycle in enumerate(seen) if cycle["done"]] == [last + 1]


def test_logits_are_kept_for_reading_and_not_written():
    windows: list[Window] = [
        ([0, 2], {"group_last": 1}),
        ([1, 1], {"group_last": 1, "layer_last": 1}),
    ]
    _, seen = run(windows, TARGET, threshold=0, biases=[[1, 2], [3, 4]], output=1)
    logits = [cycle["logit"] for cycle in seen[-4:]]
    assert (logits, writes(seen)) == ([2 * ONE + 1, 2, -2 * ONE + 3, 2 * ONE + 4], [])


def test_constants_are_those_of_the_layers_groups():
    windows: list[Window] = [([3], {"group_last": 1}), ([3], {"group_last": 1, "layer_last": 1})]
    target = TARGET | {"parameter_group": 1}
    _, seen = run(windows, target, threshold=0, biases=[[9, 9], [1, 2], [3, 4]], output=1)
    assert [cycle["logit"] for cycle in seen[-4:]] == [1, 2, 3, 4]


def test_the_bus_leaves_one_cycle_later():
    rng = random.Random(1)
    cycles = [
        {
            "weight_row": rng.randrange(4),
            "action": NOTHING | {name: rng.randrange(2) for name in ("train", "flush", "ticket")},
        }
        for _ in range(30)
    ]
    seen = trace(Tile(CONFIG), [*cycles, {}], ["weight_row_next", "action_next"])
    assert [
        {"weight_row": after["weight_row_next"], "action": after["action_next"]}
        for after in seen[1:]
    ] == cycles
