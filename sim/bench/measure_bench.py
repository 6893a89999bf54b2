"""cocotb test, run inside the simulation: images of one network through the engine."""

from __future__ import annotations

import cocotb

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.build import give, parameters
from residuum.sim.verilator.bulk import Bulk
from residuum.sim.verilator.driver import EngineDriver, check_sdram
from residuum.sw.compiler.batch import Batch
from residuum.sw.compiler.program import compile_network
from residuum.sw.network.integer_network import IntegerNetwork


@cocotb.test()
async def classify(dut):  # type: ignore[no-untyped-def]
    """Classify all images, one after another."""
    given = parameters()
    config, steps = EngineConfig(**given["config"]), given["steps"]
    network = IntegerNetwork.load(given["network"])
    program = compile_network(network, config, **steps, batch=Batch(**given["batch"]))
    driver = EngineDriver(await Bulk.start(dut), program)
    await driver.load(external=False)
    trace = await driver.classify_all(given["images"], **steps)
    check_sdram(dut)
    give(**trace.to_arrays())
