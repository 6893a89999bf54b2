"""Initialises the chip and refreshes it."""

from enum import IntEnum

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.parts import Part, Timing
from residuum.hw.memory.sdram.refresh import RefreshDebt


class Phase(IntEnum):
    """What the chip does: wait after power-up; precharge of all banks; refreshes, and the mode the
    first time; rows open and close."""

    PAUSE = 0
    CLOSE = 1
    REFRESH = 2
    RUN = 3


class Upkeep(wiring.Component):
    """Initialisation; then, every now and then, precharge of all banks and refreshes.

    The initialisation is a refresh after a pause, with the mode at its end.

    Members
    -------
    phase : Out(Phase)
    stop : Out(1)
        A refresh is due: no other segment is begun, until the phase is over.
    idle : In(1)
        No segment is being read or written, and no row being opened or closed.
    waiting : In(1)
        There are more segments: refreshes that can be postponed are.
    may_activate, may_precharge, settled : In(1)
        As in `Timers`; ``may_precharge`` for all banks.
    precharge_all, refresh, mode : Out(1)
        The command of this cycle.
    started : Out(1)
        The mode is set.
    """

    def __init__(self, part: Part, timing: Timing):
        self.timing = timing
        self.debt = RefreshDebt(part, timing)
        inputs = ("idle", "waiting", "may_activate", "may_precharge", "settled")
        outputs = ("stop", "precharge_all", "refresh", "mode", "started")
        super().__init__(
            {"phase": Out(Phase)}
            | {name: In(1) for name in inputs}
            | {name: Out(1) for name in outputs}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.debt = debt = self.debt
        pause = Signal(range(self.timing.pause + 1))
        m.d.comb += [
            debt.done.eq(self.refresh),
            debt.running.eq(self.phase != Phase.PAUSE),
        ]
        with m.Switch(self.phase):
            with m.Case(Phase.PAUSE):
                m.d.sync += pause.eq(pause + 1)
                with m.If(pause == self.timing.pause):
                    m.d.sync += self.phase.eq(Phase.CLOSE)
            with m.Case(Phase.CLOSE), m.If(self.may_precharge):
                m.d.comb += self.precharge_all.eq(1)
                m.d.sync += self.phase.eq(Phase.REFRESH)
            with m.Case(Phase.REFRESH), m.If(self.may_activate & self.settled):
                with m.If(debt.owed.any()):
                    m.d.comb += self.refresh.eq(1)
                with m.Elif(~self.started):
                    m.d.comb += self.mode.eq(1)
                    m.d.sync += self.started.eq(1)
                with m.Else():
                    m.d.sync += self.phase.eq(Phase.RUN)
            with m.Case(Phase.RUN):
                m.d.sync += self.stop.eq(
                    debt.overdue | (debt.owed.any() & ~self.waiting & self.idle)
                )
                with m.If(self.stop & self.idle):
                    m.d.sync += [self.stop.eq(0), self.phase.eq(Phase.CLOSE)]
        return m
