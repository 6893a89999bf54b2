"""Weight columns and the refill side of the on-chip store."""

import random

import pytest
from amaranth.sim import Simulator

from residuum.hw.isa.config import EngineConfig
from residuum.hw.memory.weights import OnChipRefill, WeightColumns
from tests.hw.simulation import idle, trace


@pytest.mark.parametrize(
    ("tile_lanes", "weight_bits", "weight_rows"), [(1, 2, 1), (2, 5, 6), (8, 8, 33)]
)
@pytest.mark.parametrize("event_width", [1, 2])
def test_rows_of_every_cycle_three_cycles_after_their_addresses(
    tile_lanes, weight_bits, weight_rows, event_width
):
    c = EngineConfig(
        lanes=2 * tile_lanes,
        tile_lanes=tile_lanes,
        event_width=event_width,
        weight_bits=weight_bits,
        weight_rows=weight_rows,
    )
    rng = random.Random(weight_rows)
    rows = [[rng.getrandbits(weight_bits) for _ in range(tile_lanes)] for _ in range(weight_rows)]
    writes = [
        {
            "write_enable": 1,
            "write_row": index,
            "write_data": sum(w << weight_bits * lane for lane, w in enumerate(row)),
        }
        for index, row in enumerate(rows)
    ]
    pairs = [(rng.randrange(weight_rows), rng.randrange(weight_rows)) for _ in range(50)]
    reads = [{"row": one, "write_row": other, "write_data": -1} for one, other in pairs]
    seen = trace(WeightColumns(c), writes + reads + idle(3), ["weights"])
    assert [cycle["weights"] for cycle in seen[len(writes) + 3 :]] == [
        [rows[row] for row in pair[:event_width]] for pair in pairs
    ]


def test_an_on_chip_store_is_always_ready():
    dut = OnChipRefill(EngineConfig())
    seen = []

    async def testbench(ctx):
        for valid in (0, 1, 1, 0):
            ctx.set(dut.groups.valid, valid)
            await ctx.delay(1e-6)
            seen.append(ctx.get(dut.groups.ready))

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen == [1] * 4
