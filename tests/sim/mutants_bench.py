"""Runs inside the simulation of a mutant: the engine's bench, with a shorter timeout."""

from residuum.sim.verilator import driver
from residuum.sim.verilator.engine_bench import classify  # noqa: F401  # found here by cocotb

# A run takes less than 2000 cycles: an engine that hangs is found soon.
driver.RUN_TIMEOUT = 20_000
