"""Memory tester, controller and chip."""

from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.bus import Command
from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import Part, Timing
from residuum.hw.memory.sdram.tester import MemoryTester
from residuum.sim.sdram.chip import Chip
from residuum.sim.sdram.rules import Rule

CLOCK = 142_000_000
REGISTERS = ("start", "writing", "reading", "pattern", "seed", "first", "count")
RESULTS = ("busy", "errors", "bad_bits", "first_bad", "first_expected", "first_read")


class MemoryBoard(wiring.Component):
    """The registers and results of the tester; ``unrefreshed`` keeps refresh commands from the
    chip; ``seen`` has the rules broken so far."""

    def __init__(self, part: Part, **chip: Any):
        timing = Timing.of(part, CLOCK)
        self.tester = MemoryTester(part)
        self.controller = Controller(part, timing)
        self.chip = Chip(part, timing, **chip)
        members = self.tester.signature.members
        super().__init__(
            {name: members[name] for name in (*REGISTERS, *RESULTS)}
            | {"unrefreshed": In(1), "seen": Out(len(Rule))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tester = tester = self.tester
        m.submodules.controller = controller = self.controller
        m.submodules.chip = chip = self.chip
        wiring.connect(m, tester.reads, controller.reads)
        wiring.connect(m, tester.writes, controller.writes)
        wiring.connect(m, controller.words, tester.words)
        for name in REGISTERS:
            m.d.comb += getattr(tester, name).eq(getattr(self, name))
        for name in RESULTS:
            m.d.comb += getattr(self, name).eq(getattr(tester, name))
        m.d.comb += self.seen.eq(chip.seen)
        for name in ("bank", "address", "mask", "data_out", "drive"):
            m.d.comb += getattr(chip.bus, name).eq(getattr(controller.bus, name))
        m.d.comb += controller.bus.data_in.eq(chip.bus.data_in)
        drops = self.unrefreshed & (controller.bus.command == Command.REFRESH)
        m.d.comb += chip.bus.command.eq(Mux(drops, Command.NOTHING, controller.bus.command))
        return m
