"""The pins of an SDRAM in Amaranth's simulator, between controller and chip."""

from types import SimpleNamespace

import pytest
from amaranth.hdl import Module
from amaranth.lib import io, wiring

from residuum.hw.memory.sdram.parts import Timing
from residuum.hw.memory.sdram.pins import Pins
from tests.hw.sdram_bench import CLOCK, SMALL, Board, random_words, reading, run, writing
from tests.hw.simulation import simulate


def make_ports(*without: str) -> SimpleNamespace:
    widths = {"clk_en": 1, "cs": 1, "ras": 1, "cas": 1, "we": 1}
    widths |= {"ba": 2, "a": 13, "dqm": 2, "dq": 16}
    return SimpleNamespace(
        **{
            name: io.SimulationPort("io" if name == "dq" else "o", width, name=name)
            for name, width in widths.items()
            if name not in without
        }
    )


class PinnedBoard(Board):
    """A controller and a chip with the pins in between."""

    def __init__(self, *without: str):
        super().__init__(SMALL, round_trip=Pins.round_trip(Timing.of(SMALL, CLOCK)))
        self.ports = make_ports(*without)

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = self.controller
        m.submodules.chip = self.chip
        m.submodules.pins = pins = Pins(self.ports)
        wiring.connect(m, self.controller.bus, pins.bus)
        ports, bus = self.ports, self.chip.bus
        command = [getattr(ports, name).o for name in ("ras", "cas", "we")]
        m.d.comb += [
            bus.command.eq(command[0] | command[1] << 1 | command[2] << 2),
            bus.bank.eq(ports.ba.o),
            bus.address.eq(ports.a.o),
            bus.data_out.eq(ports.dq.o),
            bus.drive.eq(ports.dq.oe.all()),
            ports.dq.i.eq(bus.data_in),
        ]
        return m


@pytest.mark.parametrize("without", [(), ("cs", "clk_en", "dqm")], ids=["all", "few"])
def test_words_through_the_pins(without):
    board = PinnedBoard(*without)
    words = random_words(3, range(80))
    seen = run(board, writing(board, words), reading(board, [(0, 10)]))
    assert (seen.words, seen.rules) == (list(words.values()), [])


def test_the_levels_at_rest():
    ports = make_ports()
    levels = {}

    async def testbench(ctx):
        for _ in range(4):
            await ctx.tick()
        levels.update({name: ctx.get(getattr(ports, name).o) for name in vars(ports)})
        levels["drive"] = ctx.get(ports.dq.oe)

    simulate(Pins(ports), testbench)
    assert levels == dict.fromkeys(vars(ports), 0) | {"drive": 0, "clk_en": 1, "cs": 1}


def test_a_later_return_takes_a_longer_round_trip():
    timing = Timing.of(SMALL, CLOCK)
    assert [Pins.round_trip(timing, late=late) for late in (0, 1)] == [5, 6]
