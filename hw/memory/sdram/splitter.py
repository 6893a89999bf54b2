"""Splits a read command into segments, each in one row of one bank."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.layouts import read_layout, segment_layout
from residuum.hw.memory.sdram.parts import BANK_BITS, Part


class Splitter(wiring.Component):
    """Takes a command while it has none; offers its first segment three cycles later, and another
    one in each cycle."""

    def __init__(self, part: Part):
        self.part = part
        super().__init__(
            {
                "reads": In(stream.Signature(read_layout(part))),
                "segments": Out(stream.Signature(segment_layout(part))),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        part = self.part
        address: Any = data.StructLayout(
            {"column": part.column_bits, "page": part.burst_bits - part.column_bits}
        )
        read, segment = self.reads.payload, self.segments.payload
        now = Signal(address)
        # First the burst after the last, then the last: no two carry chains in one cycle.
        end = Signal(address)
        at_end = Signal()
        m.d.comb += [
            at_end.eq(now.page == end.page),
            segment.column.eq(now.column),
            segment.bank.eq(now.page[:BANK_BITS]),
            segment.row.eq(now.page[BANK_BITS:]),
            segment.last.eq(end.column | (~at_end).replicate(part.column_bits)),
            segment.final.eq(at_end),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.reads.ready.eq(1)
                m.d.sync += [
                    now.as_value().eq(read.first),
                    end.as_value().eq(read.first + read.count),
                ]
                with m.If(self.reads.valid & read.count.any()):
                    m.next = "LAST"
            with m.State("LAST"):
                m.d.sync += end.as_value().eq(end.as_value() - 1)
                m.next = "SPLIT"
            with m.State("SPLIT"):
                m.d.comb += self.segments.valid.eq(1)
                with m.If(self.segments.ready):
                    m.d.sync += [now.page.eq(now.page + 1), now.column.eq(0)]
                    with m.If(at_end):
                        m.next = "IDLE"
        return m
