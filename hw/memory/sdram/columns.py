"""The read and write commands of an open segment."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.layouts import segment_layout
from residuum.hw.memory.sdram.parts import Part


class Columns(wiring.Component):
    """Reads the bursts of a segment, one in eight cycles, or writes its word.

    Members
    -------
    opened : In(stream of segment_layout)
        Taken when the segment before has given its last command.
    burst_over, pins_free : In(1)
        As in `Timers`.
    read, write : Out(1)
        The command of this cycle, at ``segment``.
    segment : Out(segment_layout)
        What is being read or written; ``column`` counts up.
    busy, begun : Out(1)
        There are more commands to come; there has been one.
    final : Out(1)
        This read is the last of its command.
    """

    def __init__(self, part: Part):
        self.part = part
        layout = segment_layout(part)
        outputs = ("read", "write", "busy", "begun", "final")
        super().__init__(
            {
                "opened": In(stream.Signature(layout)),
                "segment": Out(layout),
                "burst_over": In(1),
                "pins_free": In(1),
            }
            | {name: Out(1) for name in outputs}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        segment: Any = self.segment
        offered: Any = self.opened.payload
        # Compared a cycle before they are needed: the opener holds a segment for longer than that
        # before it offers it, and reads are further apart.
        only_one, at_last = Signal(), Signal()
        m.d.sync += [
            only_one.eq(offered.column == offered.last),
            at_last.eq(Mux(self.busy, segment.column == segment.last, only_one)),
        ]
        m.d.comb += [
            self.opened.ready.eq(~self.busy),
            self.read.eq(self.busy & ~segment.write & self.burst_over),
            self.write.eq(self.busy & segment.write & self.pins_free),
            self.final.eq(at_last & segment.final),
        ]
        with m.If(self.opened.valid & self.opened.ready):
            m.d.sync += [segment.eq(offered), self.busy.eq(1), self.begun.eq(0)]
        with m.If(self.read | self.write):
            m.d.sync += [segment.column.eq(segment.column + 1), self.begun.eq(1)]
            with m.If(at_last):
                m.d.sync += self.busy.eq(0)
        return m
