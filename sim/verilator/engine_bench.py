"""cocotb test, run inside the simulation: networks and images through the engine."""

from __future__ import annotations

import cocotb
import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.build import give, parameters
from residuum.sim.verilator.bulk import Bulk
from residuum.sim.verilator.driver import EngineDriver, check_sdram
from residuum.sw.compiler.batch import Batch
from residuum.sw.compiler.program import compile_network
from residuum.sw.network.integer_network import IntegerNetwork


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
        program = compile_network(network, config, **steps, batch=Batch(**case["batch"]))
        driver = EngineDriver(bulk, program)
        await driver.load(external=given["write_external"])
        trace = await driver.classify_all(given[f"{index}_images"], **steps)
        for name, values in trace.to_arrays().items():
            results[f"{index}_{name}"] = values
    check_sdram(dut)
    give(**results)
