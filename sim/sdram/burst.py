"""When an SDRAM chip gives which word."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import bits_for_count
from residuum.hw.memory.sdram.bus import Command, SdramBus
from residuum.hw.memory.sdram.parts import BANK_BITS, Part


class Burst(wiring.Component):
    """The words of the last read command.

    Members
    -------
    bus : In(SdramBus)
    cas_latency, length_bits : In
        Of the mode; see `Rules`.
    bank, column : Out
        Of a word that is on the pins CAS latency - 1 cycles later, if the burst has not ended.
    driving : Out(1)
        The chip drives the data pins in this cycle.
    """

    def __init__(self, part: Part):
        super().__init__(
            {
                "bus": In(SdramBus()),
                "cas_latency": In(2),
                "length_bits": In(2),
                "bank": Out(BANK_BITS),
                "column": Out(bits_for_count(part.columns)),
                "driving": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        bus: Any = self.bus
        left, length = Signal(range(9)), Signal(4)
        ends = (
            (bus.command == Command.STOP)
            | (bus.command == Command.WRITE)
            | ((bus.command == Command.PRECHARGE) & (bus.address[10] | (bus.bank == self.bank)))
        )
        # A burst stays in its aligned group of words.
        inside, low = (length - 1)[:3], self.column[:3]
        m.d.comb += length.eq(1 << self.length_bits)
        m.d.sync += [
            low.eq(low & ~inside | (low + 1) & inside),
            left.eq(Mux(ends | (left == 0), 0, left - 1)),
        ]
        with m.If(bus.command == Command.READ):
            m.d.sync += [
                self.bank.eq(bus.bank),
                self.column.eq(bus.address),
                left.eq(length),
            ]
        early, late = Signal(), Signal()
        m.d.sync += [early.eq(left != 0), late.eq(early)]
        m.d.comb += self.driving.eq(Mux(self.cas_latency == 3, late, early))
        return m
