"""The engine's cocotb bench with a shorter timeout, run inside the simulation of a mutant."""

from residuum.sim.verilator import driver
from residuum.sim.verilator.engine_bench import classify  # noqa: F401  # found here by cocotb

# A good run takes less than 2000 cycles, so this detects a hang quickly.
driver.RUN_TIMEOUT = 20_000
