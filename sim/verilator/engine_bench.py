"""cocotb test, run inside the simulation: networks and images through the engine."""

from __future__ import annotations

import cocotb
import numpy as np

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
    """Run all cases, one after another, without a reset between them."""
    given = parameters()
    config = EngineConfig(**given["config"])
    bulk = await Bulk.start(dut)
    results: dict[str, np.ndarray] = {}
    for index, case in enumerate(given["cases"]):
        network = IntegerNetwork.load(case["network"])
        steps = case["steps"]
        together = Batch(**case["batch"]).images
        program = compile_network(network, config, **steps, batch=Batch(**case["batch"]))
        driver = EngineDriver(bulk, program)
        await driver.load(external=given["write_external"])
        traces: list[EngineTrace] = []
        images = given[f"{index}_images"]
        for first in range(0, len(images), together):
            batch = images[first : first + together]
            traces.append(await driver.classify_batch(batch, **steps))
            count_step(together)
        for name, values in EngineTrace.stack(traces).to_arrays().items():
            results[f"{index}_{name}"] = values
    check_sdram(dut)
    give(**results)
