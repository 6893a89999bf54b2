"""The engine's cocotb bench on an engine with a selected fault, with a shorter timeout."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import Timer

from residuum.sim.verilator import driver
from residuum.sim.verilator.build import parameters
from residuum.sim.verilator.engine_bench import classify  # noqa: F401  # found here by cocotb

# A good run takes less than 3000 cycles, so this detects a hang quickly.
driver.RUN_TIMEOUT = 20_000


@cocotb.test(stage=-1)
async def select(dut: Any) -> None:
    """Select the fault, before all other tests."""
    dut.fault.value = parameters()["fault"]
    await Timer(1, "ns")
