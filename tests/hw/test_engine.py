"""Reads back the engine's memories, after host writes and after power-up."""

import random

import pytest

from residuum.hw.engine import Engine
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.hw.isa.host_map import Control, HostMap, Region
from tests.hw.simulation import simulate

CONFIGS = {
    "one lane": EngineConfig(
        lanes=1,
        tile_lanes=1,
        steps=1,
        weight_rows=3,
        feature_rows=4,
        parameter_rows=1,
        logit_rows=1,
        table_entries=2,
        layers=1,
    ),
    "longest trains": EngineConfig(
        lanes=1,
        tile_lanes=1,
        steps=31,
        weight_rows=3,
        feature_rows=4,
        parameter_rows=1,
        logit_rows=1,
        table_entries=2,
        layers=1,
    ),
    "three tiles": EngineConfig(
        lanes=12,
        tile_lanes=4,
        steps=2,
        weight_bits=12,
        weight_rows=5,
        feature_rows=5,
        parameter_rows=7,
        logit_rows=2,
        table_entries=3,
        layers=3,
    ),
}
STORED = (Region.DESCRIPTORS, Region.TABLES, Region.PARAMETERS, Region.WEIGHTS)


def places(config: EngineConfig, region: Region) -> list[tuple[int, int]]:
    """(address, width) of every stored word in a region."""
    host_map = HostMap(config)
    widths = {
        Region.DESCRIPTORS: [32],
        Region.TABLES: [32] * (AxisEntry.width(config) // 32) + [AxisEntry.width(config) % 32],
        Region.PARAMETERS: [config.potential_bits] * 2,
        Region.WEIGHTS: [32] * (config.tile_lanes * config.weight_bits // 32)
        + [config.tile_lanes * config.weight_bits % 32],
        Region.TRAINS: [config.steps + 1],
    }[region]
    counts = {"bank": config.tiles, "lane": config.tile_lanes, "part": len(widths)}
    found = []
    for offset in range(host_map.size(region)):
        rest, part, there = offset, 0, True
        for name, bits in host_map.fields(region):
            value = rest & (1 << bits) - 1
            rest >>= bits
            there &= value < counts.get(name, 1 << bits)
            part = value if name == "part" else part
        if there and widths[part]:
            found.append((host_map.address(region) + offset, widths[part]))
    return found


def read_back(dut: Engine, writes: dict[int, int], addresses: list[int]) -> list[int]:
    answers: list[int] = []

    async def testbench(ctx):
        for address, word in writes.items():
            ctx.set(dut.host.address, address)
            ctx.set(dut.host.write_data, word)
            ctx.set(dut.host.write, 1)
            await ctx.tick()
        ctx.set(dut.host.write, 0)
        for address in [*addresses, *[0] * (dut.read_latency + 1)]:
            ctx.set(dut.host.address, address)
            ctx.set(dut.host.read, len(answers) < len(addresses) and address > 0)
            if ctx.get(dut.host.read_valid):
                answers.append(ctx.get(dut.host.read_data))
            await ctx.tick()

    simulate(dut, testbench)
    return answers


def as_read(word: int, bits: int, region: Region) -> int:
    """A word as the host reads it: only parameters are sign-extended."""
    if region == Region.PARAMETERS and word >> bits - 1:
        return word | (1 << 32) - (1 << bits)
    return word


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("region", [*STORED, Region.TRAINS])
def test_a_host_reads_what_it_wrote(config, region):
    rng = random.Random(region)
    stored = {address: (rng.getrandbits(bits), bits) for address, bits in places(config, region)}
    writes = {address: word for address, (word, _) in stored.items()}
    answers = read_back(Engine(config), writes, list(writes))
    assert answers == [as_read(word, bits, region) for word, bits in stored.values()]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_an_engine_starts_with_its_contents(config):
    rng = random.Random(1)
    stored = {
        address: (rng.getrandbits(bits), bits, region)
        for region in STORED
        for address, bits in places(config, region)
    }
    contents = {address: word for address, (word, *_) in stored.items()}
    answers = read_back(Engine(config, contents=contents), {}, list(contents))
    assert answers == [as_read(*expected) for expected in stored.values()]


def runs(*steps_in_between: int) -> list[tuple[int, int]]:
    """(cycles, status) of two runs of a layer without events. The words are written to STEPS during
    the first run; status 2 is a refusal."""
    config = CONFIGS["three tiles"]
    dut = Engine(config)
    control = {word: HostMap(config).address(Region.CONTROL, word=word) for word in Control}
    seen = []

    async def write(ctx, word: Control, value: int) -> None:
        ctx.set(dut.host.address, control[word])
        ctx.set(dut.host.write_data, value)
        ctx.set(dut.host.write, 1)
        await ctx.tick()
        ctx.set(dut.host.write, 0)

    async def testbench(ctx):
        await write(ctx, Control.STEPS, 2 << 8)
        for words in (steps_in_between, ()):
            await write(ctx, Control.RUN, 0)
            await ctx.tick().repeat(10)
            for word in words:
                await write(ctx, Control.STEPS, word)
            cycles = 0
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
            ctx.set(dut.host.address, control[Control.STATUS])
            ctx.set(dut.host.read, 1)
            await ctx.tick()
            ctx.set(dut.host.read, 0)
            (status,) = await ctx.tick().sample(dut.host.read_data).until(dut.host.read_valid)
            seen.append((cycles, status))

    simulate(dut, testbench)
    return seen


def test_steps_written_during_a_run_are_ignored():
    """The next run does not use them either: it would be refused, since T = 0."""
    (cycles, status), again = runs()
    assert (cycles > 20, status, again) == (True, 0, (cycles, 0))
    assert runs(0) == [(cycles - 1, 0), again]
