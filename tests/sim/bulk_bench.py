"""cocotb tests, run inside the simulation by test_bulk.py."""

import cocotb
import numpy as np
from cocotb.triggers import Combine

from residuum.sim.verilator.build import give, parameters, reset
from residuum.sim.verilator.bulk import Bulk, BulkError
from tests.sim.demo import DEPTH, MUTE, START


async def message(transfer):
    """The error message of a failing transfer."""
    try:
        await transfer
    except BulkError as error:
        return str(error)
    return "no error"


def refusal(queue, *arguments, **options):
    """The error message of a refused command."""
    try:
        queue(*arguments, **options)
    except ValueError as error:
        return str(error)
    return "accepted"


@cocotb.test()
async def round_trip(dut):
    bulk = await Bulk.start(dut)
    words = parameters()["words"]
    before = bulk.cycle
    await bulk.write(0, words)
    written = bulk.cycle
    answers = await bulk.read(0, words.size)
    give(answers=answers, write_cycles=written - before, read_cycles=bulk.cycle - written)
    give(writes=int(dut.writes.value), streak=int(dut.streak.value))


@cocotb.test()
async def programs(dut):
    """Random commands against a plain array; one flush per program."""
    bulk = await Bulk.start(dut)
    given = parameters()
    random = np.random.default_rng(given["seed"])
    memory = np.zeros(DEPTH, np.uint32)
    await bulk.write(0, memory)
    wrong = []
    for program in range(given["programs"]):
        expected = []
        for _ in range(random.integers(1, 8)):
            address = int(random.integers(DEPTH))
            count = int(random.integers(0, min(40, DEPTH - address)))
            words = random.integers(1 << 32, size=count, dtype=np.uint32)
            match random.integers(4):
                case 0:
                    bulk.queue_write(address, words)
                    memory[address : address + count] = words
                case 1:
                    addresses = random.integers(DEPTH, size=count)
                    bulk.queue_write_scattered(addresses, words)
                    for place, word in zip(addresses, words, strict=True):
                        memory[place] = word
                case 2:
                    step = int(random.integers(3))
                    count = min(count, (DEPTH - 1 - address) // max(step, 1))
                    answers = bulk.queue_read(address, count, increment=step)
                    expected.append((answers, memory[address + step * np.arange(count)]))
                case 3:
                    bulk.queue_delay(int(random.integers(5)))
            words[:] = 0  # the mover must have its own copy
        await bulk.flush()
        if any((answers != right).any() for answers, right in expected):
            wrong.append(program)
    give(wrong=wrong)


@cocotb.test()
async def runs(dut):
    bulk = await Bulk.start(dut)
    cycles = []
    for length in parameters()["lengths"]:
        before = bulk.cycle
        bulk.queue_write(START, [length])
        bulk.queue_wait_idle(length + 10)
        await bulk.flush()
        cycles.append(bulk.cycle - before)
        assert int(dut.busy.value) == 0
    give(cycles=cycles)


@cocotb.test()
async def hangs(dut):
    bulk = await Bulk.start(dut)
    await bulk.write(7, [70, 71])
    await bulk.write(START, [300])
    give(wait=await message(bulk.wait_idle(100)))
    await bulk.wait_idle(1000)

    # Late answers to a read that timed out must not count for the next read.
    give(early=await message(bulk.read(0, 2, timeout=2)), late=await bulk.read(7, 2))

    await bulk.write(MUTE, [1])
    give(read=await message(bulk.read(5, 4, timeout=50)))
    await reset(dut)
    give(after=await bulk.read(7, 2))

    dut.rst.value = 1
    bulk.queue_read(7, 1, timeout=20)
    give(reset=await message(bulk.flush()))
    await reset(dut)
    give(dropped=await bulk.read(8, 1))


@cocotb.test()
async def stray(dut):
    """An answer from the design without a read is an error."""
    bulk = await Bulk.start(dut)
    bulk.queue_read(0, 1)
    bulk._library.residuum_bulk_tick(0, 0, 1, 5, *(np.zeros(1, np.uint32).ctypes,) * 3)
    give(stray=await message(bulk.flush()))


@cocotb.test()
async def refused(dut):
    bulk = await Bulk.start(dut)
    give(
        high=refusal(bulk.queue_write, 0x100, [1]),
        over=refusal(bulk.queue_read, 0xFF, 2),
        negative=refusal(bulk.queue_write, -1, [1]),
        word=refusal(bulk.queue_write, 0, [1 << 32]),
        pairs=refusal(bulk.queue_write_scattered, [1, 2], [1]),
        empty=refusal(bulk.queue_write, 0, []),
        signed=refusal(bulk.queue_write, 0, [-1]),
    )
    await bulk.flush()
    give(minus_one=await bulk.read(0, 1))


@cocotb.test()
async def two_tasks(dut):
    """Two tasks share one mover; the test drives the other ports."""
    bulk = await Bulk.start(dut)
    dut.offset.value = 5
    answers = {}

    async def task(base):
        for turn in range(20):
            await bulk.write(base, [base + turn])
            answers[base + turn] = int((await bulk.read(base, 1))[0])

    await Combine(*(cocotb.start_soon(task(base)) for base in (0, 100)))
    give(wrong=[key for key, answer in answers.items() if answer != key + 5], count=len(answers))
