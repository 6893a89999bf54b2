"""Opens the row of a segment while the one before is read."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Array, Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.layouts import segment_layout
from residuum.hw.memory.sdram.parts import BANK_BITS, BANKS, Part


class Step(IntEnum):
    """What the opener does with its segment; EMPTY: it has none."""

    EMPTY = 0
    LOOK = 1
    DECIDE = 2
    PRECHARGE = 3
    ACTIVATE = 4
    OPENING = 5
    READY = 6


class Opener(wiring.Component):
    """Takes segments one after another, and offers each when its row is open.

    A segment in an open row takes four cycles.

    Members
    -------
    segments : In(stream of segment_layout)
    opened : Out(stream of segment_layout)
        Valid from the cycle on in which the segment may be read or written.
    step : Out(Step)
    open : Out(BANKS)
        Which banks have an open row, after the commands of the cycles before.
    run : In(1)
        Rows may be opened and closed. Without it no step beyond LOOK is begun, and a segment that
        is READY waits.
    closed : In(1)
        All banks are closed in this cycle, while ``run`` is 0. A segment that was READY goes back.
    blocked : In(1)
        Another command takes this cycle.
    busy, begun, bank : In
        A segment is being read or written, its first command has been given; its bank.
    may_activate, may_precharge, row_open, burst_over : In(1)
        As in `Timers`.
    activate, precharge : Out(1)
        The command of this cycle, to bank and row of ``opened.payload``.
    """

    def __init__(self, part: Part):
        self.part = part
        inputs = ("run", "closed", "blocked", "busy", "begun")
        times = ("may_activate", "may_precharge", "row_open", "burst_over")
        super().__init__(
            {
                "segments": In(stream.Signature(segment_layout(part))),
                "opened": Out(stream.Signature(segment_layout(part))),
                "step": Out(Step),
                "open": Out(BANKS),
                "bank": In(BANK_BITS),
                "activate": Out(1),
                "precharge": Out(1),
            }
            | {name: In(1) for name in (*inputs, *times)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        segment: Any = Signal(segment_layout(self.part))
        rows = Array(Signal(self.part.row_bits, name=f"row_{bank}") for bank in range(BANKS))
        # Compared a cycle before it is needed.
        some_row, this_row = Signal(), Signal()
        m.d.sync += [
            some_row.eq(self.open.bit_select(segment.bank, 1)),
            this_row.eq(rows[segment.bank] == segment.row),
        ]
        m.d.comb += [
            self.segments.ready.eq(self.step == Step.EMPTY),
            self.opened.valid.eq((self.step == Step.READY) & self.run),
            self.opened.payload.eq(segment),
        ]
        # Bursts start `BURST` cycles after each other or more. So if the segment being read has
        # begun, all bursts in other banks are over.
        over = Mux(self.busy, self.begun & (self.bank != segment.bank), self.burst_over)
        with m.Switch(self.step):
            with m.Case(Step.EMPTY):
                m.d.sync += segment.eq(self.segments.payload)
                with m.If(self.segments.valid):
                    m.d.sync += self.step.eq(Step.LOOK)
            with m.Case(Step.LOOK), m.If(self.run):
                m.d.sync += self.step.eq(Step.DECIDE)
            with m.Case(Step.DECIDE):
                m.d.sync += self.step.eq(
                    Mux(some_row, Mux(this_row, Step.READY, Step.PRECHARGE), Step.ACTIVATE)
                )
            with m.Case(Step.PRECHARGE):
                m.d.comb += self.precharge.eq(self.may_precharge & over & ~self.blocked)
            with m.Case(Step.ACTIVATE):
                m.d.comb += self.activate.eq(self.may_activate & ~self.blocked)
            with m.Case(Step.OPENING), m.If(self.row_open):
                m.d.sync += self.step.eq(Step.READY)
            with m.Case(Step.READY), m.If(self.opened.valid & self.opened.ready):
                m.d.sync += self.step.eq(Step.EMPTY)
        with m.If(self.precharge):
            m.d.sync += [self.step.eq(Step.ACTIVATE), self._bank(segment).eq(0)]
        with m.If(self.activate):
            m.d.sync += [
                self.step.eq(Step.OPENING),
                self._bank(segment).eq(1),
                rows[segment.bank].eq(segment.row),
            ]
        with m.If(self.closed):
            m.d.sync += self.open.eq(0)
            with m.If(self.step == Step.READY):
                m.d.sync += self.step.eq(Step.LOOK)
        return m

    def _bank(self, segment: Any) -> Any:
        return self.open.bit_select(segment.bank, 1)
