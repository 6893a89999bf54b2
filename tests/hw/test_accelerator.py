"""Accelerator: the real engine, accessed by the protocol and by the pins of a UART."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.accelerator import Accelerator
from residuum.hw.isa import protocol
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import READABLE, WRITABLE, HostMap, Region
from residuum.hw.isa.protocol import Identity, Status
from residuum.hw.link.uart import Uart
from tests.hw.host import SMALL, Host
from tests.hw.simulation import refusal, simulate

MAP = HostMap(SMALL)


def converse(script, **options) -> None:  # type: ignore[no-untyped-def]
    """Runs ``script(ctx, host)`` with an accelerator."""
    dut = Accelerator(SMALL, **options)
    host = Host(dut)

    async def testbench(ctx):
        await script(ctx, host)

    simulate(dut, testbench, background=[host.listen])


async def answer(ctx, host, request) -> protocol.Frame:  # type: ignore[no-untyped-def]
    (reply,) = await host.ask(ctx, request)
    return reply


def test_the_identity_is_that_of_the_parameters():
    options = {"clock_hz": 123, "digest": bytes(range(16)), "name": "digits"}

    async def script(ctx, host):
        reply = await answer(ctx, host, protocol.identify())
        assert Identity.from_words(reply.payload) == Identity(config=SMALL, **options)

    converse(script, **options)


def test_trains_are_read_as_they_were_written():
    # Lanes 0 and 1 of banks 0 to 2; bank 3 does not exist. A train has 3 steps.
    rng = random.Random(3)
    trains = {
        MAP.address(Region.TRAINS, row=row, bank=bank, lane=lane): rng.randrange(8)
        for row in range(SMALL.feature_rows)
        for bank in range(SMALL.banks)
        for lane in range(SMALL.tile_lanes)
    }
    base, size = MAP.address(Region.TRAINS), MAP.size(Region.TRAINS)

    async def script(ctx, host):
        words = [trains.get(base + place, 0) for place in range(size)]
        await host.ask(ctx, protocol.write_bytes(base, bytes(words)))
        reply = await answer(ctx, host, protocol.read(base, size))
        read = {address: reply.payload[address - base] for address in trains}
        assert {address: word & 7 for address, word in read.items()} == trains

    converse(script)


# Regions that the engine has not.
NO_MEMORY = {Region.EXTERNAL, Region.MEMORY_TEST}


def test_every_region_that_may_be_read_answers_to_its_last_address():
    async def script(ctx, host):
        for region in sorted(READABLE - NO_MEMORY):
            address = MAP.address(region) + MAP.size(region) - 1
            reply = await answer(ctx, host, protocol.read(address, 1))
            assert (region, reply.status, reply.count) == (region, Status.OK, 1)

    converse(script)


def test_every_region_that_may_be_written_takes_a_write():
    async def script(ctx, host):
        for region in sorted(WRITABLE - NO_MEMORY):
            address = MAP.address(region) + MAP.size(region) - 1
            reply = await answer(ctx, host, protocol.write(address, [0]))
            assert (region, reply.status, reply.count) == (region, Status.OK, 0)

    converse(script)


def test_steps_that_the_engine_does_not_run_are_refused():
    async def script(ctx, host):
        for tag, (tau, T) in enumerate([(0, 0), (1, 3), (0, 4), (255, 255)]):
            for _ in range(2):
                request = protocol.run(0, 0, tau=tau, T=T).with_tag(tag)
                reply = await answer(ctx, host, request)
                assert (reply.status, reply.payload) == (Status.REFUSED, ())
            assert ctx.get(host.dut.error)
            reply = await answer(ctx, host, protocol.run(0, 0, tau=1, T=2).with_tag(99))
            assert (reply.status, reply.payload[0]) == (Status.OK, 0)
            assert not ctx.get(host.dut.error)

    converse(script)


def test_a_reset_ends_a_run_and_keeps_what_was_written():
    # Windows of 256 x 256 inputs keep the engine busy for a long time.
    base = MAP.address(Region.DESCRIPTORS)
    long = [255, 255, *[0] * 30]

    async def script(ctx, host):
        await host.ask(ctx, protocol.write(base, long))
        await host.send(ctx, protocol.run(0, 0, tau=0, T=1).encode())
        for _ in range(2000):
            await ctx.tick()
            assert ctx.get(host.dut.busy)
        assert host.replies == []
        assert (await answer(ctx, host, protocol.reset())).status == Status.OK
        assert (await answer(ctx, host, protocol.status())).payload[0] == 0
        kept = await answer(ctx, host, protocol.read(base, 3))
        assert kept.payload == (255, 255, 0)
        await host.ask(ctx, protocol.write(base, [0, 0]))
        for tag in (1, 2):
            request = protocol.run(0, 0, tau=0, T=1).with_tag(tag)
            assert (await answer(ctx, host, request)).status == Status.OK

    converse(script)


class Pins(wiring.Component):
    """An accelerator and a UART, as on a board."""

    def __init__(self, **rate: int):
        self.uart = Uart(**rate)
        self.accelerator = Accelerator(SMALL, clock_hz=rate["clock_hz"])
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):  # type: ignore[no-untyped-def]
        m = Module()
        m.submodules.uart = uart = self.uart
        m.submodules.accelerator = accelerator = self.accelerator
        wiring.connect(m, uart.rx, accelerator.rx)
        wiring.connect(m, accelerator.tx, uart.tx)
        m.d.comb += [
            accelerator.rx_damaged.eq(uart.rx_damaged),
            uart.rx_pin.eq(self.rx),
            self.tx.eq(uart.tx_pin),
        ]
        return m


def test_bit_by_bit_through_the_pins():
    dut = Pins(clock_hz=8, baud=1)
    reader, replies, line = protocol.FrameReader(), [], []

    async def listen(ctx):
        while True:
            _, _, level = await ctx.tick().sample(dut.tx)
            line.append(level)

    async def send(ctx, bits) -> None:
        for level in bits:
            ctx.set(dut.rx, level)
            await ctx.tick().repeat(8)

    async def testbench(ctx):
        request = protocol.read(MAP.address(Region.TRAINS), 1).with_tag(0xDBC0)
        for byte in request.encode()[:9]:  # then a break truncates the frame
            await send(ctx, [0, *(byte >> place & 1 for place in range(8)), 1])
        await send(ctx, [0] * 30 + [1])
        for byte in request.encode():
            await send(ctx, [0, *(byte >> place & 1 for place in range(8)), 1])
        await ctx.tick().repeat(8 * 10 * 30)

    simulate(dut, testbench, background=[listen])
    clock = 0
    while 0 in line[clock:]:
        start = line.index(0, clock)
        bits = line[start + 12 : start + 76 : 8]
        replies += reader.feed(bytes([sum(bit << place for place, bit in enumerate(bits))]))
        clock = start + 76
    assert [(r.command, r.tag, r.count) for r in replies] == [(2, 0xDBC0, 1)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clock_hz": 0}, ValueError, "clock_hz must be in 1..2**32 - 1, not 0"),
        (
            {"name": "x" * 17},
            ValueError,
            f"name must have at most 16 ASCII characters, not {'x' * 17!r}",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused(options, error, message):
    assert refusal(lambda: Accelerator(EngineConfig(), **options)) == (error, message)
