"""Tile: from weight rows to stored results, and the bus to the next tile."""

import random

import pytest

from residuum.hw.array.tile import Tile
from residuum.hw.isa.config import EngineConfig
from tests.hw.simulation import trace

CONFIG = EngineConfig(
    lanes=2,
    tile_lanes=2,
    steps=1,
    weight_rows=4,
    feature_rows=64,
    parameter_rows=7,
    logit_rows=4,
)
# Rows of 1, -1, 1, ...; of -1, 1, -1, ...; of 1; of 0.
WEIGHTS = [[1, -1] * 8, [-1, 1] * 8, [1] * 16, [0] * 16]
WEIGHT_LATENCY = 3
ONE = 1 << CONFIG.fraction_bits  # one unit of weight in a potential
HOW = dict.fromkeys(("shared", "later", "more", "line_last", "group_last", "layer_last"), 0)
NOTHING = {"trains": [0], "shifts": 0, "flush": 0, "empty": 0, "ticket": 0, "how": HOW}

# A window: the weight rows of its events, and the flags of its end. None: no events.
Window = tuple[list[int] | None, dict[str, int]]


def setup(c: EngineConfig, *, threshold: int, biases: list[int]) -> list[dict]:
    """Writes of weights and constants."""
    mask = (1 << c.weight_bits) - 1
    writes: list[dict] = [
        {
            "host_idle": 1,
            "weight_write_data": sum(
                (weight & mask) << lane * c.weight_bits
                for lane, weight in enumerate(weights[: c.tile_lanes])
            ),
        }
        for weights in WEIGHTS
    ]
    # The row comes a cycle ahead of the word.
    writes = [{}, *writes]
    for row in range(len(WEIGHTS)):
        writes[row] |= {"weight_write": 1, "host_idle": 1, "host_row": row}
    return writes + [
        {
            "parameter_write": 1,
            "parameter_write_row": row,
            "parameter_write_data": {"bias": bias, "threshold": threshold},
        }
        for row, bias in enumerate(biases)
    ]


def bus(windows: list[Window], *, pause: int = 2) -> list[tuple[int, dict]]:
    """(weight row, action) per cycle, with enough idle cycles for the drain."""
    cycles: list[tuple[int, dict]] = []
    for rows, how in windows:
        if rows is None and how.get("group_last"):
            cycles.append((0, NOTHING | {"flush": 1, "empty": 1, "how": HOW | how}))
        elif rows is None:
            cycles.append((0, NOTHING | {"ticket": 1}))
        else:
            cycles += [(row, NOTHING | {"trains": [1]}) for row in rows]
            cycles.append((3, NOTHING | {"flush": 1, "how": HOW | how}))
        cycles += [(3, NOTHING)] * pause
    return cycles


def run(
    events: list[tuple[int, dict]],
    target: dict,
    *,
    c: EngineConfig = CONFIG,
    threshold: int = ONE,
    biases: list[int] | None = None,
    layers: int = 1,
    **mode: int,
) -> list[dict]:
    """The tile's outputs in every cycle, followed by reads of the first logits."""
    biases = biases or [0] * c.parameter_rows
    steps = (1 << c.steps) - 1
    always = {"mode": {"active": steps, "inference": steps, **mode}, "target": target}
    rows = [row for row, _ in events] + [0] * (WEIGHT_LATENCY + 30)
    actions = [NOTHING] * WEIGHT_LATENCY + [action for _, action in events] + [NOTHING] * 30
    layer = [always | {"load": 1}] + [
        always | {"weight_rows": [row], "action": action}
        for row, action in zip(rows, actions, strict=True)
    ]
    reads = [always | {"logit_row": row} for row in [0, 1, 2, 3, 0, 0, 0]]
    outputs = ("write_valid", "write", "done", "logit", "weight_rows_next", "action_next")
    cycles = setup(c, threshold=threshold, biases=biases) + layer * layers + reads
    return trace(Tile(c), cycles, outputs)


TARGET = {"row": 10, "empty_row": 40, "pitch": 3, "last_lane": 1, "parameter_row": 0}
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
    seen = run(bus(LAYER), TARGET, layers=layers)
    assert writes(seen) == WRITTEN * layers


def test_a_group_that_ends_without_events():
    windows: list[Window] = [([2], {"shared": 1}), (None, {"group_last": 1}), ([0], {})]
    seen = run(bus(windows), TARGET)
    assert writes(seen) == [*neurons(40, [1, 1], shared=1), (10, "empty"), *neurons(11, [1, 0])]


def test_done_comes_once_one_cycle_after_the_last_result():
    seen = run(bus(LAYER), TARGET)
    last = max(now for now, cycle in enumerate(seen) if cycle["write_valid"])
    assert [now for now, cycle in enumerate(seen) if cycle["done"]] == [last + 1]


def test_logits_are_kept_for_reading_and_not_written():
    windows: list[Window] = [
        ([0, 2], {"group_last": 1}),
        ([1, 1], {"group_last": 1, "layer_last": 1}),
    ]
    seen = run(bus(windows), TARGET, threshold=0, biases=[1, 2, 3, 4], output=1)
    logits = [cycle["logit"] for cycle in seen[-4:]]
    assert (logits, writes(seen)) == ([2 * ONE + 1, 2, -2 * ONE + 3, 2 * ONE + 4], [])


def test_constants_are_those_of_the_layers_groups():
    windows: list[Window] = [([3], {"group_last": 1}), ([3], {"group_last": 1, "layer_last": 1})]
    target = TARGET | {"parameter_row": 3}
    biases = [9, 9, 9, 1, 2, 3, 4]
    seen = run(bus(windows), target, threshold=0, biases=biases, output=1)
    assert [cycle["logit"] for cycle in seen[-4:]] == [1, 2, 3, 4]


def test_a_layer_may_use_lanes_in_the_middle_of_a_tile():
    c = CONFIG.with_changes(lanes=5, tile_lanes=5)
    windows: list[Window] = [([0], {"group_last": 1}), ([1], {"group_last": 1, "layer_last": 1})]
    target = TARGET | {"first_lane": 3, "last_lane": 1}
    events = bus(windows)
    logits = run(events, target, c=c, threshold=0, biases=[1, 2, 3, 4], output=1)
    assert [cycle["logit"] for cycle in logits[-4:]] == [1 - ONE, 2 + ONE, 3 + ONE, 4 - ONE]
    assert writes(run(events, target, c=c)) == [*neurons(10, [0, 1]), *neurons(11, [1, 0])]


@pytest.mark.parametrize(
    ("tile_lanes", "lanes", "line"),
    [(6, 2, 5), (4, 2, 2), (4, 1, 3), (5, 1, 12), (6, 3, 3), (8, 2, 7)],
)
def test_positions_share_rows(tile_lanes, lanes, line):
    """Two groups of two lines: as many positions in a row as fit, and a new row for each line."""
    c = CONFIG.with_changes(lanes=tile_lanes, tile_lanes=tile_lanes)
    rng = random.Random(tile_lanes)
    target = TARGET | {"pitch": 1, "position_lanes": lanes, "last_lane": lanes - 1}
    windows: list[Window] = []
    expected = []
    row = 10
    for number in range(2 * line):
        kind = rng.randrange(3)
        in_line = number % line
        lane = in_line % (tile_lanes // lanes) * lanes
        windows.append(([kind], {"line_last": int(in_line == line - 1)}))
        row_last = lane + 2 * lanes > tile_lanes or in_line == line - 1
        expected += [
            (row, lane + index, int(WEIGHTS[kind][index] > 0), int(row_last and index == lanes - 1))
            for index in range(lanes)
        ]
        row += row_last
    windows[-1][1].update(group_last=1, layer_last=1)
    seen = [cycle["write"] for cycle in run(bus(windows), target, c=c) if cycle["write_valid"]]
    assert [(w["row"], w["lane"], w["train"] & 1, w["last"]) for w in seen] == expected


@pytest.mark.parametrize("position_lanes", [0, 1])
@pytest.mark.parametrize("lanes", [1, 2])
def test_max_pooling_of_windows_as_fast_as_the_drain(position_lanes, lanes):
    """The neurons repeat the number of each window's one event, in lanes of weight 1."""
    c = CONFIG.with_changes(lanes=4, tile_lanes=4, steps=3)
    rng = random.Random(lanes)
    numbers = [rng.randrange(8) for _ in range(24)]
    ends = [4, 5, 6, 9, 13, 20, 22, 24]
    events: list[tuple[int, dict]] = []
    how = None
    for number, value in enumerate(numbers):
        flush = {} if how is None else {"flush": 1, "how": how}
        events += [(0, NOTHING | {"trains": [value]} | flush), *[(3, NOTHING)] * (lanes - 1)]
        later, more = number not in [0, *ends], number + 1 not in ends
        how = HOW | {"later": int(later), "more": int(more), "line_last": int(number == 23)}
    events.append((3, NOTHING | {"flush": 1, "how": how | {"group_last": 1, "layer_last": 1}}))
    target = TARGET | {"position_lanes": position_lanes and lanes, "last_lane": lanes - 1}
    mode = {"radix": 1, "numbers": 1, "start_zero": 1}
    seen = run(events, target, c=c, threshold=1 << c.steps - 1, **mode)
    maxima = [max(numbers[low:high]) for low, high in zip([0, *ends], ends, strict=False)]
    per_row = 4 // lanes if position_lanes else 1
    assert [
        (cycle["write"]["row"], cycle["write"]["lane"], cycle["write"]["train"])
        for cycle in seen
        if cycle["write_valid"]
    ] == [
        (10 + 3 * (index // per_row), index % per_row * lanes + lane, 0 if lane else value)
        for index, value in enumerate(maxima)
        for lane in range(lanes)
    ]
    assert sum(cycle["done"] for cycle in seen) == 1


def test_the_bus_leaves_one_cycle_later():
    rng = random.Random(1)
    cycles = [
        {
            "weight_rows": [rng.randrange(4)],
            "action": NOTHING
            | {name: rng.randrange(2) for name in ("shifts", "flush", "ticket")}
            | {"trains": [rng.randrange(2)]},
        }
        for _ in range(30)
    ]
    seen = trace(Tile(CONFIG), [*cycles, {}], ["weight_rows_next", "action_next"])
    assert [
        {"weight_rows": after["weight_rows_next"], "action": after["action_next"]}
        for after in seen[1:]
    ] == cycles
