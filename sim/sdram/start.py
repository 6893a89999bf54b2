"""The order in which an SDRAM chip is initialised."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.bus import Command
from residuum.hw.memory.sdram.parts import Timing

# Refresh commands before the mode. Some parts ask for two.
REFRESHES = 8


class Start(wiring.Component):
    """A pause without commands, a precharge of all banks, `REFRESHES` refreshes, the mode; then
    all other commands.

    Members
    -------
    command : In(Command), all_banks : In(1)
        Of this cycle.
    early : Out(1)
        The command comes before its turn.
    paused, closed, refreshes, started : Out
        How far the initialisation is, before this command.
    """

    def __init__(self, timing: Timing):
        self.pause = timing.pause
        super().__init__(
            {
                "command": In(Command),
                "all_banks": In(1),
                "early": Out(1),
                "paused": Out(1),
                "closed": Out(1),
                "refreshes": Out(range(REFRESHES + 1)),
                "started": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        on = {name: self.command == name for name in Command}
        cycles = Signal(range(self.pause + 1))
        refreshed = self.refreshes == REFRESHES
        m.d.comb += self.paused.eq(cycles == self.pause)
        with m.If(~self.paused):
            m.d.sync += cycles.eq(cycles + 1)
        with m.If(on[Command.PRECHARGE] & self.all_banks):
            m.d.sync += self.closed.eq(1)
        with m.If(on[Command.REFRESH] & ~refreshed):
            m.d.sync += self.refreshes.eq(self.refreshes + 1)
        with m.If(on[Command.MODE]):
            m.d.sync += self.started.eq(1)
        m.d.comb += self.early.eq(
            (~on[Command.NOTHING] & ~self.paused)
            | (on[Command.REFRESH] & ~self.closed)
            | (on[Command.MODE] & ~refreshed)
            | ((on[Command.ACTIVATE] | on[Command.READ] | on[Command.WRITE]) & ~self.started)
        )
        return m
