"""The memory tester with its controller and all pins of a board's SDRAM."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, ResetInserter, Signal
from amaranth.lib import io, wiring

from residuum.boards.board import MHZ, Board
from residuum.boards.build.pll import solve
from residuum.boards.build.top import add_clock
from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import SLOWEST, Timing
from residuum.hw.memory.sdram.pins import ChipClock, Pins
from residuum.hw.memory.sdram.tester import MemoryTester


class SdramTop(Elaboratable):
    """The registers of the tester are shifted in from the UART's pin, and the results out."""

    def __init__(self, board: Board, clock_hz: int):
        self.dividers = solve(board.oscillator_hz, clock_hz)

    @property
    def clock_mhz(self) -> float:
        return float(self.dividers.output_hz) / MHZ

    def elaborate(self, platform):
        m = Module()
        reset = add_clock(m, platform, self.dividers)
        ports = platform.request("sdram", dir="-")
        timing = Timing.of(SLOWEST, round(self.dividers.output_hz))
        m.submodules.clock = ChipClock(ports.clk)
        m.submodules.pins = pins = Pins(ports)
        controller = Controller(SLOWEST, timing, round_trip=Pins.round_trip(timing, late=1))
        tester = MemoryTester(SLOWEST)
        m.submodules.controller = ResetInserter(reset)(controller)
        m.submodules.tester = ResetInserter(reset)(tester)
        wiring.connect(m, controller.bus, pins.bus)
        wiring.connect(m, tester.reads, controller.reads)
        wiring.connect(m, tester.writes, controller.writes)
        wiring.connect(m, controller.words, tester.words)

        wires = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", wires.rx)
        m.submodules.tx = tx = io.Buffer("o", wires.tx)
        given, line = self._registers(tester), Signal(128)
        results = self._results(tester)
        answer = Signal(len(results))
        m.d.sync += [
            line.eq(Cat(rx.i, line)),
            given.eq(line),
            answer.eq(Mux(line[-1], results, answer >> 1)),
        ]
        m.d.comb += tx.o.eq(answer[0])
        return m

    def _registers(self, tester):
        names = ("start", "writing", "reading", "pattern", "seed", "first", "count")
        return Cat(getattr(tester, name) for name in names)

    def _results(self, tester):
        names = ("busy", "errors", "bad_bits", "first_bad", "first_expected", "first_read")
        return Cat(getattr(tester, name) for name in names)
