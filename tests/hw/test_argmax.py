"""ArgMax: the lowest index among the largest logits of all tiles."""

import random

import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.neuron.argmax import ArgMax
from tests.hw.simulation import simulate

LATENCY = 4


def config(lanes: int, tile_lanes: int, rows: int) -> EngineConfig:
    return EngineConfig(lanes=lanes, tile_lanes=tile_lanes, logit_rows=rows)


def largest(c: EngineConfig, *runs: list[int]) -> list[tuple[int, int]]:
    """(index of the largest, cycles from start to done) for each run over logits."""
    dut = ArgMax(c)
    results = []

    async def testbench(ctx):
        for logits in runs:
            # The memory has larger values beyond the last class.
            rows = [0] * LATENCY
            ctx.set(dut.classes, len(logits) - 1)
            done_after = []
            for now in range(2 * len(logits) + 14):
                ctx.set(dut.start, now == 0)
                for tile in range(c.tiles):
                    index = rows[-1] * c.tiles + tile
                    top = (1 << c.potential_bits - 1) - 1
                    ctx.set(dut.logits[tile], logits[index] if index < len(logits) else top)
                if ctx.get(dut.done):
                    done_after.append(now)
                    best = ctx.get(dut.best)
                rows = [ctx.get(dut.row), *rows[:-1]]
                await ctx.tick()
            (cycles,) = done_after
            assert ctx.get(dut.best) == best
            results.append((best, cycles))

    simulate(dut, testbench)
    return results


SIZES = pytest.mark.parametrize(
    ("lanes", "tile_lanes", "rows"), [(1, 1, 5), (3, 3, 12), (4, 2, 6), (3, 1, 4), (16, 8, 9)]
)


def first_largest(logits: list[int]) -> int:
    return max(range(len(logits)), key=lambda index: (logits[index], -index))


@SIZES
def test_random_logits(lanes, tile_lanes, rows):
    c = config(lanes, tile_lanes, rows)
    rng = random.Random(lanes)
    runs = [
        rng.choices(range(-spread, spread), k=rng.randint(1, c.tiles * rows))
        for spread in (2, 1 << c.potential_bits - 1) * 4
    ]
    results = largest(c, *runs)
    assert [best for best, _ in results] == [first_largest(logits) for logits in runs]


@SIZES
def test_every_place_can_win(lanes, tile_lanes, rows):
    c = config(lanes, tile_lanes, rows)
    count = c.tiles * rows
    runs = [[-5 if index == place else -6 for index in range(count)] for place in range(count)]
    assert [best for best, _ in largest(c, *runs)] == list(range(count))


def test_the_lowest_index_wins_a_tie():
    runs = [[1, 3, 3, 0, 3], [7] * 8, [-1, -1]]
    assert [best for best, _ in largest(config(4, 2, 4), *runs)] == [1, 0, 0]


def test_the_ends_of_the_range():
    c = config(4, 2, 2)
    low, high = -(1 << c.potential_bits - 1), (1 << c.potential_bits - 1) - 1
    runs = [[low, low + 1], [low, low], [0, high, low, high], [low]]
    assert [best for best, _ in largest(c, *runs)] == [1, 0, 1, 0]


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_done_comes_two_cycles_per_class_after_start(count):
    assert largest(config(4, 2, 6), [0] * count)[0][1] == 2 * (count - 1) + 8
