"""How long the rows of an SDRAM chip keep their words."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.bus import Command, SdramBus
from residuum.hw.memory.sdram.parts import Part, Timing

# Cycles are counted to 2**32, which is half a minute.
TIME_BITS = 32


class Retention(wiring.Component):
    """Notes when each row was refreshed, from the end of the initialisation on.

    A refresh command refreshes one row of all banks, and the next one the row after it. A row that
    was not refreshed within the retention time has lost its words, for good. Opening a row does
    not count as a refresh.

    Parameters
    ----------
    unrefreshed : int or None
        A row that refresh commands pass over: a fault of the chip.

    Members
    -------
    bus : In(SdramBus)
    started : In(1)
    late : Out(1)
        The row that the next command refreshes is late: the controller's fault.
    lost : Out(1)
        The row of the activate command of the previous cycle has lost its words.
    """

    def __init__(self, part: Part, timing: Timing, *, unrefreshed: int | None = None):
        self.part = part
        self.timing = timing
        self.unrefreshed = unrefreshed
        super().__init__({"bus": In(SdramBus()), "started": In(1), "late": Out(1), "lost": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        stamp = data.StructLayout({"time": TIME_BITS, "lost": 1})
        m.submodules.stamps = stamps = memory.Memory(shape=stamp, depth=self.part.rows, init=[])
        write = stamps.write_port()
        refreshed = stamps.read_port(transparent_for=(write,))
        opened = stamps.read_port(transparent_for=(write,))
        now = Signal(TIME_BITS)
        row, following = Signal(range(self.part.rows)), Signal(range(self.part.rows))
        refresh = self.started & (self.bus.command == Command.REFRESH)
        passed_over = Signal()
        if self.unrefreshed is not None:
            m.d.comb += passed_over.eq(row == self.unrefreshed)
        with m.If(self.started):
            m.d.sync += now.eq(now + 1)
        m.d.comb += [
            following.eq(row),
            refreshed.addr.eq(following),
            refreshed.en.eq(1),
            opened.addr.eq(self.bus.address),
            opened.en.eq(1),
            write.addr.eq(row),
            write.en.eq(refresh & ~passed_over),
            write.data.time.eq(now),
            write.data.lost.eq(self._lost(refreshed.data, now)),
            self.late.eq(~passed_over & self._lost(refreshed.data, now)),
            self.lost.eq(self._lost(opened.data, now)),
        ]
        with m.If(refresh):
            m.d.comb += following.eq(row + 1)
        m.d.sync += row.eq(following)
        return m

    def _lost(self, stamp, now):  # type: ignore[no-untyped-def]
        age = (now - stamp.time)[:TIME_BITS]
        return stamp.lost | (age > self.timing.retention)
