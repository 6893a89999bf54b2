"""cocotb tests, run inside the simulation by test_verilator.py."""

import random

import cocotb
from cocotb.triggers import ClockCycles, Timer

from residuum.sim.verilator.build import count_step, give, parameters, start


@cocotb.test()
async def count(dut):
    given = parameters()
    await start(dut)
    await ClockCycles(dut.clk, given["cycles"])
    give(doubled=given["words"] * 2, text=given["text"])
    give(streak=int(dut.streak.value), ports=[hasattr(dut, name) for name in given["ports"]])
    give(drawn=random.getrandbits(64))
    print("written to the log")
    for _ in range(3):
        count_step()


@cocotb.test()
async def wrong(dut):
    await start(dut)
    streak = int(dut.streak.value)
    assert streak == 17, "the streak is not what it should be"


@cocotb.test()
async def endless(dut):
    await start(dut)
    await Timer(1, "sec")
