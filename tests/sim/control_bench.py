"""cocotb tests, run inside the simulation by test_engine_control.py."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Control, Region
from residuum.sim.verilator.build import give, parameters, reset
from residuum.sim.verilator.bulk import Bulk
from residuum.sim.verilator.driver import EngineDriver
from residuum.sw.compiler.program import compile_network
from residuum.sw.network.integer_network import IntegerNetwork


def driver_of(bulk):
    """Driver, images and steps of the given case."""
    given = parameters()
    network = IntegerNetwork.load(given["network"])
    config = EngineConfig(**given["config"])
    return EngineDriver(bulk, compile_network(network, config, tau=4, T=4)), given["images"]


@cocotb.test()
async def reset_in_mid_run(dut):
    """Resets at several points of a run; the next run must be unaffected."""
    bulk = await Bulk.start(dut)
    driver, images = driver_of(bulk)
    await driver.load()
    last = len(driver.program.layers) - 1
    logits = []
    for cycles in parameters()["stops"]:
        driver.queue_image(images[0])
        address = driver.host_map.address
        bulk.queue_write(address(Region.CONTROL, word=Control.STEPS), [4 | 4 << 8])
        bulk.queue_write(address(Region.CONTROL, word=Control.RUN), [last << 8])
        bulk.queue_delay(cycles)
        await bulk.flush()
        await reset(dut)
        logits.append((await driver.classify(images[1], tau=4, T=4)).logits[0])
    give(logits=np.array(logits))


@cocotb.test()
async def refused_runs(dut):
    """Status after runs with invalid steps, and after a valid run that follows."""
    bulk = await Bulk.start(dut)
    driver, images = driver_of(bulk)
    await driver.load()
    address = driver.host_map.address
    seen = []
    for tau, T in ((0, 0), (8, 0), (5, 4), (0, 9), (255, 255), (200, 4), (4, 4)):
        driver.queue_image(images[0])
        bulk.queue_write(address(Region.CONTROL, word=Control.STEPS), [tau | T << 8])
        bulk.queue_write(address(Region.CONTROL, word=Control.RUN), [0])
        await bulk.flush()
        await ClockCycles(dut.clk, 2)
        busy = int(dut.busy.value)
        await bulk.wait_idle(100_000)
        status = await bulk.read(address(Region.CONTROL, word=Control.STATUS), 1)
        seen.append([tau, T, busy, int(status[0])])
    give(seen=seen)
