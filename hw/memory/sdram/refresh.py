"""Counts the refresh commands that the chip is owed."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.parts import Part, Timing

# Refresh commands before the mode is set. The parts ask for two or for eight.
AT_START = 8
# Refresh commands that may wait for the end of reads: done together, they close the rows once.
POSTPONED = 4
# A command may be late by these, and a segment and the commands before it.
_LATE = POSTPONED + 3


def interval(part: Part, timing: Timing) -> int:
    """Cycles from one refresh command to the next on average: each row is refreshed within the
    retention time, postponed or not."""
    return timing.retention // (part.rows + _LATE)


class RefreshDebt(wiring.Component):
    """How many refresh commands are owed: `AT_START` of them from the beginning, then another one
    in each interval while ``running``. ``done`` takes one off.

    ``owed``: how many, 15 if more. ``overdue``: `POSTPONED` or more in the cycle before; the
    caller then issues all within the following interval.
    """

    def __init__(self, part: Part, timing: Timing):
        self.interval = interval(part, timing)
        super().__init__(
            {
                "running": In(1),
                "done": In(1),
                "owed": Out(range(2 * AT_START), init=AT_START),
                "overdue": Out(1, init=1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        owed = self.owed
        time = Signal(range(self.interval))
        tick = Signal()
        m.d.sync += tick.eq(time == self.interval - 2)
        with m.If(self.running):
            m.d.sync += time.eq(Mux(tick, 0, time + 1))
        more = tick & self.running
        with m.If(more & ~self.done & ~owed.all()):
            m.d.sync += owed.eq(owed + 1)
        with m.If(self.done & ~more):
            m.d.sync += owed.eq(owed - 1)
        m.d.sync += self.overdue.eq(owed >= POSTPONED)
        return m
