"""Runs inside the simulation: images of one network through the engine (see `sim.measure`)."""

from __future__ import annotations

import cocotb

from hw.config import EngineConfig
from sim.bulk import Bulk
from sim.driver import EngineDriver
from sim.verilator import give, parameters
from sw.compiler import compile_network
from sw.engine_trace import EngineTrace
from sw.network import IntegerNetwork


@cocotb.test()
async def classify(dut):  # type: ignore[no-untyped-def]
    """All images, one after another; a byte is written to the sign after each."""
    given = parameters()
    config, steps = EngineConfig(**given["config"]), {"tau": given["tau"], "T": given["T"]}
    program = compile_network(IntegerNetwork.load(given["network"]), config, **steps)
    driver = EngineDriver(await Bulk.start(dut), program)
    await driver.load()
    traces: list[EngineTrace] = []
    with open(given["sign"], "ab", buffering=0) as sign:
        for image in given["images"]:
            traces.append(await driver.classify(image, **steps))
            sign.write(b".")
    give(**EngineTrace.stack(traces).to_arrays())
