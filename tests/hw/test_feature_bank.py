"""FeatureBank: trains and occupancies of written rows."""

import random

import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.memory.feature import FeatureBank
from tests.hw.simulation import idle, trace

READABLE = 4  # cycles from the last write of a row
LATENCY = {"occupancy": 3, "train": 4}


def config(tile_lanes: int, steps: int) -> EngineConfig:
    return EngineConfig(lanes=tile_lanes, tile_lanes=tile_lanes, steps=steps, feature_rows=11)


def write(**fields) -> dict:
    return {"write_valid": 1, "write": fields}


def row_writes(row: int, trains: list[int], *, shared: int = 0) -> list[dict]:
    return [
        write(
            row=row,
            lane=lane,
            train=train,
            last=int(lane == len(trains) - 1),
            empty=0,
            shared=shared,
        )
        for lane, train in enumerate(trains)
    ]


def empty_write(row: int) -> dict:
    # Lane and train of an empty row are ignored.
    return write(row=row, lane=0, train=1, last=1, empty=1, shared=0)


def spiking(trains: list[int], steps: int) -> int:
    """Bit n: lane n has a spike. The highest bit of a train, "silenced", is no spike."""
    return sum(1 << lane for lane, train in enumerate(trains) if train % (1 << steps))


def occupancies(c: EngineConfig, writes: list[dict], rows: list[int]) -> list[int]:
    reads = [{"occupancy_row": row} for row in rows]
    return answers(c, writes, reads, "occupancy")


def answers(c: EngineConfig, writes: list[dict], reads: list[dict], name: str) -> list[int]:
    """The bank's answers on the port `name` to each of `reads`."""
    cycles = writes + idle(READABLE - 1) + reads + idle(LATENCY[name])
    return [cycle[name] for cycle in trace(FeatureBank(c), cycles, [name])[-len(reads) :]]


@pytest.mark.parametrize(("tile_lanes", "steps"), [(1, 1), (2, 1), (3, 4), (8, 8)])
@pytest.mark.parametrize("gaps", [False, True])
def test_rows_read_back(tile_lanes, steps, gaps):
    c = config(tile_lanes, steps)
    rng = random.Random(tile_lanes)
    # The silenced bit alone must not count as a spike.
    choices = [0, 1 << steps, rng.getrandbits(steps + 1), (2 << steps) - 1, 1]
    rows = {
        row: rng.choices(choices, k=rng.randint(1, tile_lanes))
        for row in rng.sample(range(c.feature_rows), 8)
    }
    writes = []
    for row, trains in rows.items():
        for cycle in row_writes(row, trains):
            writes += [cycle, *idle(rng.randint(0, 2) if gaps else 0)]

    places = [(row, lane) for row, trains in rows.items() for lane in range(len(trains))]
    reads = [{"occupancy_row": row, "train_address": row * c.bank_slots + n} for row, n in places]
    assert answers(c, writes, reads, "train") == [rows[row][lane] for row, lane in places]
    assert answers(c, writes, reads, "occupancy") == [
        spiking(rows[row], steps) for row, _ in places
    ]


def test_an_engine_without_masks_stores_none():
    c = config(3, 2).with_changes(masks=0)
    reads = [{"train_address": 4 * c.bank_slots + lane} for lane in range(3)]
    assert answers(c, row_writes(4, [0b101, 0b110, 0b011]), reads, "train") == [0b01, 0b10, 0b11]


def test_a_row_written_again_forgets_its_spikes():
    c = config(3, 2)
    writes = row_writes(4, [1, 2, 3]) + row_writes(4, [0, 1, 0])
    assert occupancies(c, writes, [4]) == [0b010]


def test_a_packed_row_gathers_its_positions():
    """Rows of three positions and of one, of two lanes each, with pauses and with an unused lane
    between two positions. That lane, and the lanes above the last position, have no spikes."""
    c = config(8, 2)
    rows = {
        3: {0: 1, 1: 2, 3: 0, 4: 3, 6: 2, 7: 4},
        4: {0: 0, 1: 0, 3: 3, 4: 0, 6: 0, 7: 1},
        5: {0: 1, 1: 1},
    }
    writes = [*row_writes(9, [3] * 8), *row_writes(3, [3] * 8)]
    for row, trains in rows.items():
        for lane, train in trains.items():
            place = {"row": row, "lane": lane, "train": train, "last": int(lane == max(trains))}
            writes += [write(**place, empty=0, shared=0), *idle(lane % 3)]
    assert occupancies(c, writes, [3, 4, 5, 9]) == [0b0101_0011, 0b1000_1000, 0b11, 0xFF]
    places = [(row, lane) for row, trains in rows.items() for lane in trains]
    reads = [{"train_address": row * c.bank_slots + lane} for row, lane in places]
    assert answers(c, writes, reads, "train") == [rows[row][lane] for row, lane in places]


def test_a_shorter_row_leaves_no_spikes_of_the_row_before():
    c = config(4, 2)
    writes = row_writes(1, [1, 1, 1, 1]) + row_writes(2, [0, 1]) + row_writes(3, [0])
    assert occupancies(c, writes, [1, 2, 3]) == [0b1111, 0b0010, 0]


def test_empty_rows_refer_to_the_latest_shared_row():
    c = config(3, 2)
    mark = 1 << c.bank_slots
    writes = [
        *row_writes(0, [0, 1, 0], shared=1),
        *row_writes(1, [1, 0, 1]),
        empty_write(2),
        empty_write(3),
        *row_writes(4, [2, 0, 0]),
        *row_writes(5, [0, 0, 3], shared=1),
        empty_write(6),
    ]
    assert occupancies(c, writes, [0, 1, 2, 3, 4, 5, 6]) == [
        *(0b010, 0b101, mark | 0b010, mark | 0b010, 0b001, 0b100, mark | 0b100)
    ]


def test_an_empty_row_does_not_touch_trains():
    c = config(3, 2)
    writes = [*row_writes(2, [5, 6, 7]), empty_write(2)]
    reads = [{"train_address": 2 * c.bank_slots + lane} for lane in range(3)]
    assert answers(c, writes, reads, "train") == [5, 6, 7]


def test_nothing_is_written_without_valid():
    c = config(2, 2)
    writes = [*row_writes(1, [1, 1]), {"write": row_writes(1, [0, 0])[1]["write"]}]
    assert occupancies(c, writes, [1]) == [0b11]
