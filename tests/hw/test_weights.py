"""Weight columns and the refill side of the on-chip store."""

import random

import pytest
from amaranth.sim import Simulator

from residuum.hw.isa.config import EngineConfig
from residuum.hw.memory.weights import OnChipRefill, WeightColumns
from tests.hw.simulation import idle, trace


@pytest.mark.parametrize(
    ("tile_lanes", "weight_bits", "weight_rows"), [(1, 2, 1), (3, 5, 6), (8, 8, 33)]
)
def test_one_row_per_cycle_three_cycles_after_its_address(tile_lanes, weight_bits, weight_rows):
    c = EngineConfig(
        lanes=tile_lanes, tile_lanes=tile_lanes, weight_bits=weight_bits, weight_rows=weight_rows
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
    order = [rng.randrange(weight_rows) for _ in range(50)]
    reads = [{"row": row, "write_row": row, "write_data": -1} for row in order]
    seen = trace(WeightColumns(c), writes + reads + idle(3), ["weights"])
    assert [cycle["weights"] for cycle in seen[len(writes) + 3 :]] == [rows[row] for row in order]


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
