"""PixelPacker: the writes of an image, against those that the compiler computes on the host."""

import numpy as np
import pytest
from amaranth.hdl import Signal

from residuum.hw.host.pixels import PIXEL_LATENCY, PixelPacker
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HostMap, Region
from residuum.hw.isa.image import (
    FIELDS,
    FIRST_IMAGE_WORD,
    IMAGE_WORDS,
    SIGNED_FIELDS,
    ImageDescriptor,
)
from residuum.sw.compiler.maps import MapPlan
from residuum.sw.compiler.program import Program, compile_network, grow_to_fit
from residuum.sw.network.graph import IMAGE, INPUT, SPIKES
from residuum.sw.network.library import load_network
from tests.hw.simulation import plain, refusal, simulate
from tests.sim.random_graphs import random_graph_cases

ENGINES = {
    "two tiles": EngineConfig(),
    "three tiles": EngineConfig(lanes=6, tile_lanes=2),
    "one odd tile": EngineConfig(lanes=5, tile_lanes=5),
    "one lane": EngineConfig(lanes=1, tile_lanes=1),
    "two passes": EngineConfig(lanes=16, tile_lanes=4, event_width=2, steps=5),
}


def compiled(network, engine: EngineConfig) -> Program:
    return compile_network(network, grow_to_fit(network, engine), tau=0, T=1)


def memory_of(program: Program) -> dict[int, int]:
    return dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))


class Bench:
    """A packer, a memory with an image, and an engine that answers reads and collects writes."""

    def __init__(self, config: EngineConfig, memory: dict[int, int], *, depth: int = 1024):
        self.dut = PixelPacker(config, depth=depth)
        self.memory = memory
        self.image = b""
        self.writes: list[tuple[int, int]] = []
        self.busy = 0

    async def engine(self, ctx) -> None:
        host = self.dut.host
        answers: list[int | None] = [None] * 5
        while True:
            _, _, read, write, address, word, busy = await ctx.tick().sample(
                host.read, host.write, host.address, host.write_data, self.dut.busy
            )
            assert busy or not (read or write)
            assert not (read and write)
            self.busy += busy
            if write:
                self.writes.append((address, word))
            answers.append(self.memory.get(address, 0) if read else None)
            answer = answers.pop(0)
            ctx.set(host.read_valid, answer is not None)
            ctx.set(host.read_data, 0xDEAD_BEEF if answer is None else answer)

    async def pixels(self, ctx) -> None:
        addresses = [0] * (PIXEL_LATENCY - 1)
        while True:
            _, _, address = await ctx.tick().sample(self.dut.address)
            addresses.append(address)
            place = addresses.pop(0)
            ctx.set(self.dut.pixel, self.image[place] if place < len(self.image) else 0xA5)

    async def pack(self, ctx, image: np.ndarray, *, strobe: str = "start") -> list[tuple[int, int]]:
        """The writes of one image."""
        self.image, self.writes = image.tobytes(), []
        ctx.set(getattr(self.dut, strobe), 1)
        await ctx.tick()
        ctx.set(getattr(self.dut, strobe), 0)
        while ctx.get(self.dut.busy):
            await ctx.tick()
        await ctx.tick()
        return list(self.writes)

    def run(self, testbench, reset=None) -> None:
        simulate(self.dut, testbench, background=[self.engine, self.pixels], reset=reset)


def packed(program: Program, images: np.ndarray) -> list[list[tuple[int, int]]]:
    """The writes of each image."""
    bench, result = Bench(program.config, memory_of(program)), []

    async def testbench(ctx):
        for image in images:
            result.append(await bench.pack(ctx, image))

    bench.run(testbench)
    return result


def images_for(network, count: int = 2) -> np.ndarray:
    return np.random.default_rng(7).integers(1, 256, (count, *network.input_shape), np.uint8)


def differences(program: Program, image: np.ndarray, writes: list[tuple[int, int]]) -> list[str]:
    """What a host that wrote ``Program.input_writes`` would have done otherwise: a value, an order
    of the lanes of a bank, or a row whose occupancy would be wrong."""
    config = program.config
    addresses, words = program.input_writes(image)
    wanted = dict(zip(addresses.tolist(), words.tolist(), strict=True))
    found = dict(writes)
    faults = [f"{a:#x}: {w} instead of {wanted.get(a)}" for a, w in writes if wanted.get(a) != w]
    faults += [f"{a:#x} is missing" for a, word in wanted.items() if word and a not in found]
    if len(writes) != len(found):
        faults.append("a slot is written twice")
    for bank in range(config.tiles):
        mine = [
            (a >> config.slot_bits, a & (1 << config.lane_bits) - 1)
            for a, _ in writes
            if a >> config.lane_bits & (1 << config.bank_bits) - 1 == bank
        ]
        if mine != sorted(mine):
            faults.append(f"bank {bank} gets its lanes in the wrong order")
        ends = {row: [lane for r, lane in mine if r == row] for row, _ in mine}
        if any(lanes[0] != 0 or lanes[-1] != config.tile_lanes - 1 for lanes in ends.values()):
            faults.append(f"bank {bank} lacks the first or the last lane of a row")
    return faults


def random_programs(engine: EngineConfig, count: int) -> list[Program]:
    """Programs of random networks that read images."""
    cases = random_graph_cases(5, engine, count, images=1)
    networks = [case.network for case in cases if case.network.input == IMAGE]
    return [compiled(network, engine) for network in networks]


def kinds_of(program: Program) -> set[str]:
    plan = program.maps[INPUT]
    if isinstance(plan, MapPlan):
        return {"aligned", "several rows" if plan.groups > 1 else "one row"}
    border = "border" if program.network.pad else "no border"
    return {"packed", border, "interleaved" if plan.interleaved else "line by line"}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_random_networks_get_the_writes_of_the_host(engine):
    kinds: set[str] = set()
    for index, program in enumerate(random_programs(engine, 30)):
        if program.takes_pixels:
            kinds |= kinds_of(program)
            images = images_for(program.network)
            for image, writes in zip(images, packed(program, images), strict=True):
                assert (index, differences(program, image, writes)) == (index, [])
    assert kinds >= {"aligned", "packed", "border", "no border", "interleaved", "line by line"}


def test_a_device_packs_the_images_of_most_networks():
    taken = [program.takes_pixels for program in random_programs(EngineConfig(), 60)]
    assert sum(taken) >= 0.9 * len(taken)


@pytest.mark.parametrize(("steps", "rate"), [(8, 3), (4, 6)])
def test_a_pixel_takes_three_cycles_in_each_pass(steps, rate):
    network = load_network("mnist-radix", 4)
    engine = EngineConfig(steps=steps, weight_bits=4)
    program = compiled(network, engine)
    bench = Bench(program.config, memory_of(program))

    async def testbench(ctx):
        await bench.pack(ctx, images_for(network)[0])

    bench.run(testbench)
    slots = 14 * 28 * 3  # the lines of a kernel of three lines, interleaved for 14 output lines
    assert rate * slots < bench.busy < rate * slots + 300


def test_load_shows_the_descriptor_and_writes_nothing():
    program = compiled(load_network("digits"), EngineConfig())
    bench, seen = Bench(program.config, memory_of(program)), []

    async def testbench(ctx):
        writes = await bench.pack(ctx, np.zeros(64, np.uint8), strobe="load")
        # The answer to a read of somebody else.
        ctx.set(bench.dut.host.read_valid, 1)
        ctx.set(bench.dut.host.read_data, 0xFFFF_FFFF)
        await ctx.tick()
        seen.extend([writes, plain(ctx.get(bench.dut.image))])

    bench.run(testbench)
    assert program.image is not None
    fields = {name: getattr(program.image, name) for name in FIELDS}
    assert seen == [[], fields]


@pytest.mark.parametrize(
    ("memory", "depth"), [("none", 1024), ("digits", 32)], ids=["no program", "too large"]
)
def test_an_image_that_cannot_be_packed_writes_nothing(memory, depth):
    program = compiled(load_network("digits"), EngineConfig())
    bench = Bench(program.config, memory_of(program) if memory == "digits" else {}, depth=depth)
    seen = []

    async def testbench(ctx):
        seen.append(await bench.pack(ctx, np.full(64, 255, np.uint8)))
        seen.append(plain(ctx.get(bench.dut.image))["present"])

    bench.run(testbench)
    assert seen == [[], 0]


def test_a_reset_in_mid_image_leaves_nothing_behind():
    network = load_network("digits")
    program = compiled(network, EngineConfig())
    bench, reset, seen = Bench(program.config, memory_of(program)), Signal(), []
    image = images_for(network)[0]

    async def testbench(ctx):
        bench.image = image.tobytes()
        for cycles in (90, 101, 112):
            ctx.set(bench.dut.start, 1)
            await ctx.tick()
            ctx.set(bench.dut.start, 0)
            await ctx.tick().repeat(cycles)
            ctx.set(reset, 1)
            await ctx.tick().repeat(10)
            ctx.set(reset, 0)
            seen.append(await bench.pack(ctx, image))

    bench.run(testbench, reset=reset)
    assert [differences(program, image, writes) for writes in seen] == [[]] * 3


def test_a_network_that_reads_spike_trains_has_no_image():
    cases = random_graph_cases(5, EngineConfig(), 30, images=1)
    spikes = next(case.network for case in cases if case.network.input == SPIKES)
    program = compiled(spikes, EngineConfig())
    words = memory_of(program)
    first = HostMap(program.config).address(Region.DESCRIPTORS, word=FIRST_IMAGE_WORD)
    assert not program.takes_pixels
    assert [words[first + index] for index in range(IMAGE_WORDS)] == [0] * IMAGE_WORDS


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_descriptor_that_does_not_fit_is_named(name):
    width = {n: w for place in ImageDescriptor.places() for n, w in place.items()}[name]
    top = 1 << width - (name in SIGNED_FIELDS)
    values = dict.fromkeys(FIELDS, 0)
    assert sum(ImageDescriptor(**values | {name: top - 1}).words()) > 0
    with pytest.raises(ValueError, match=f"{name} must fit {width} bits, not {top}"):
        ImageDescriptor(**values | {name: top}).words()


@pytest.mark.parametrize(
    ("config", "depth", "error", "message"),
    [
        (5, 64, TypeError, "config must be an EngineConfig, not 5"),
        (EngineConfig(), 64.0, TypeError, "depth must be an integer, not 64.0"),
        (EngineConfig(), 1, ValueError, "depth must be a power of two in 2..65536, not 1"),
        (EngineConfig(steps=3), 64, ValueError, "an engine of 3 steps cannot read images"),
    ],
)
def test_parameters_that_cannot_be_are_refused(config, depth, error, message):
    assert refusal(lambda: PixelPacker(config, depth=depth)) == (error, message)
