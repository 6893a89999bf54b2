"""A design with a few registers, whose whole build takes seconds."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from residuum.boards.board import MHZ, Board
from residuum.boards.build.flow import Order
from residuum.boards.build.layout import Design
from residuum.boards.build.pll import PllDividers, solve
from residuum.boards.build.top import StatusLeds, add_clock, add_steady
from residuum.boards.catalogue import find


class Blinky(Elaboratable):
    """A counter, connected to an LED."""

    def __init__(self, dividers: PllDividers):
        self.dividers = dividers

    def elaborate(self, platform):
        m = Module()
        reset = add_clock(m, platform, self.dividers)
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        with m.If(reset):
            m.d.sync += count.eq(count.init)
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(count[-1])
        return m


class Echo(Elaboratable):
    """Uses all pins of a board: the UART input drives the UART output and the LEDs."""

    def __init__(self, board: Board, dividers: PllDividers):
        self.board = board
        self.dividers = dividers

    def elaborate(self, platform):
        m = Module()
        add_clock(m, platform, self.dividers)
        add_steady(m, platform, self.board)
        m.submodules.leds = leds = StatusLeds(self.board, best_bits=5)
        wires = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", wires.rx)
        m.submodules.tx = tx = io.Buffer("o", wires.tx)
        m.submodules.line = FFSynchronizer(rx.i, tx.o)
        m.d.comb += [leds.busy.eq(tx.o), leds.best.eq(tx.o.replicate(5))]
        return m


def order_at(board, dividers):
    """An order for a small design; its preset is only a name."""
    return Order(
        board=board,
        preset="12f",
        lanes=16,
        steps=8,
        target_mhz=float(dividers.output_hz) / MHZ,
        seed=1,
    )


def order_and_design(target_mhz, name="ulx3s-12f", *, echo=False):
    """The result of `residuum.boards.build.bitstream.prepare` for the tiny design."""
    board = find(name)
    dividers = solve(board.oscillator_hz, target_mhz * MHZ)
    order = order_at(board, dividers)
    if echo:
        return order, Design(board, lambda digest: Echo(board, dividers))
    return order, Design(board, lambda digest: Blinky(dividers))
