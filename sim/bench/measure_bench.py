"""cocotb test, run inside the simulation: images of one network through the engine."""

from __future__ import annotations

import cocotb

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.build import count_step, give, parameters
from residuum.sim.verilator.bulk import Bulk
from residuum.sim.verilator.driver import EngineDriver, check_sdram
from residuum.sw.compiler.batch import Batch
from residuum.sw.compiler.program import compile_network
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.trace.engine_trace import EngineTrace


@cocotb.test()
async def classify(dut):  # type: ignore[no-untyped-def]
    """Classify all images, one after another."""
    given = parameters()
    config, steps = EngineConfig(**given["config"]), given["steps"]
    network, batch = IntegerNetwork.load(given["network"]), Batch(**given["batch"])
    program = compile_network(network, config, **steps, batch=batch)
    driver = EngineDriver(await Bulk.start(dut), program)
    await driver.load(external=False)
    traces: list[EngineTrace] = []
    images = given["images"]
    for first in range(0, len(images), batch.images):
        last = first + batch.images
        traces.append(await driver.classify_batch(images[first:last], **steps))
        count_step(batch.images)
    check_sdram(dut)
    give(**EngineTrace.stack(traces).to_arrays())
