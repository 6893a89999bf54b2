"""Controller and chip in Amaranth's simulator."""

from dataclasses import replace

from amaranth.hdl import Module
from amaranth.lib import wiring

from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import SLOWEST, Part, Timing
from residuum.sim.sdram.chip import Chip

CLOCK = 142_000_000
# 32 rows of 64 words in each bank: 8,192 words; the rows are refreshed as often as those of a part.
SMALL = replace(SLOWEST, rows=32, columns=64, pause=500, retention=32 * 7_812.5)


class Board(wiring.Component):
    """A controller and a chip."""

    def __init__(self, part: Part = SMALL, *, clock_hz: int = CLOCK, **chip):
        timing = Timing.of(part, clock_hz)
        self.controller = Controller(part, timing)
        self.chip = Chip(part, timing, **chip)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = self.controller
        m.submodules.chip = self.chip
        wiring.connect(m, self.controller.bus, self.chip.bus)
        return m
