"""Runs inside the simulation: networks and images through the engine, compared with the golden
model's traces (see `sim.verify`)."""

from __future__ import annotations

import cocotb
import numpy as np

from hw.config import EngineConfig
from hw.program import Counter
from sim.bulk import Bulk
from sim.compare import compare
from sim.driver import EngineDriver
from sim.verilator import give, parameters
from sw.compiler import compile_network
from sw.golden import simulate
from sw.network import IntegerNetwork


@cocotb.test()
async def verify(dut):  # type: ignore[no-untyped-def]
    """All cases, one after another, on the same engine without a reset in between."""
    given = parameters()
    config = EngineConfig(**given["config"])
    bulk = await Bulk.start(dut)
    results = []
    for case in given["cases"]:
        tau, T = case["tau"], case["T"]
        network = IntegerNetwork.load(case["network"])
        images = given[case["images"]]
        names = [layer.name for layer in network.layers]
        driver = EngineDriver(bulk, compile_network(network, config, tau=tau, T=T))
        await driver.load()
        golden = simulate(network, images, tau=tau, T=T)
        for index, image in enumerate(images):
            trace = await driver.classify(image, tau=tau, T=T)
            found = compare(trace, golden, index, names)
            results.append(
                {
                    "mismatches": found.mismatches,
                    "first": found.first,
                    "prediction": trace.prediction,
                    "golden": int(golden.prediction[index]),
                    "counters": [{c.name: n[c] for c in Counter} for n in trace.counters],
                }
            )
    give(results=results)


__all__ = ["np", "verify"]
