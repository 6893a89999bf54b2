"""A proof that the controller keeps the rules of the chip, for commands of all kinds at all times.

`Proof` has the controller and `Rules`, and asserts that no rule is broken; induction needs the
other assertions, which hold what the controller knows against what the rules know.
"""

from dataclasses import replace

from amaranth.hdl import Assert, ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from residuum.hw.memory.sdram.bus import Command
from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.opener import Step
from residuum.hw.memory.sdram.parts import SLOWEST, Part, Timing
from residuum.hw.memory.sdram.upkeep import Phase
from residuum.sim.sdram.burst import Burst
from residuum.sim.sdram.rules import Rule, Rules
from residuum.sim.sdram.start import REFRESHES

# The times of all parts at their clock, with few rows and columns, and a short pause.
FEW = replace(SLOWEST, rows=4, columns=16, pause=40)

# Times of a cycle or two, so that rows are opened after a few cycles.
FAST = replace(
    FEW,
    activate_to_activate=21,
    activate_to_precharge=14,
    activate_to_column=7,
    precharge_to_activate=14,
    other_bank=7,
    refresh=14,
    write_to_precharge=7,
    mode_to_command=14,
    pause=7,
)


class Proof(wiring.Component):
    """Its inputs are free; every cycle holds the assertions."""

    def __init__(self, part: Part = FEW, *, clock_hz: int = 142_000_000):
        timing = Timing.of(part, clock_hz)
        self.controller = Controller(part, timing)
        self.rules = Rules(part, timing)
        self.burst = Burst(part)
        members = self.controller.signature.members
        super().__init__({"clk": In(1)} | {name: members[name] for name in ("reads", "writes")})

    def elaborate(self, platform):
        m = Module()
        # Without a reset: every run starts at power-up.
        m.domains.sync = sync = ClockDomain(reset_less=True)
        m.d.comb += sync.clk.eq(self.clk)
        m.submodules.controller = controller = self.controller
        m.submodules.rules = rules = self.rules
        m.submodules.burst = burst = self.burst
        wiring.connect(m, wiring.flipped(self.reads), controller.reads)
        wiring.connect(m, wiring.flipped(self.writes), controller.writes)
        for listener in (rules.bus, burst.bus):
            m.d.comb += [
                getattr(listener, name).eq(getattr(controller.bus, name))
                for name in ("command", "bank", "address", "drive")
            ]
        m.d.comb += [
            burst.cas_latency.eq(rules.cas_latency),
            burst.length_bits.eq(rules.length_bits),
            rules.driving.eq(burst.driving),
        ]
        for rule in Rule:
            m.d.comb += Assert(~rules.broken[rule])
        for holds in self._invariants(m):
            m.d.comb += Assert(holds)
        return m

    def _invariants(self, m):
        opener, columns, upkeep = (
            self.controller.opener,
            self.controller.columns,
            self.controller.upkeep,
        )
        start = self.rules.start
        # The bus has a register: the rules see a command a cycle later.
        opened, started = Signal.like(opener.open), Signal()
        m.d.sync += [opened.eq(opener.open), started.eq(upkeep.started)]

        def is_open(bank):
            return opener.open.bit_select(bank, 1)

        ahead, now = opener.opened.payload, columns.segment
        between = (opener.step == Step.EMPTY) | (opener.step == Step.LOOK)
        yield _at_most_one(
            opener.activate,
            opener.precharge,
            columns.read,
            columns.write,
            upkeep.precharge_all,
            upkeep.refresh,
            upkeep.mode,
        )
        yield self.rules.open == opened
        yield self.rules.started == started
        yield opener.step <= Step.READY
        yield ~(columns.busy & ~is_open(now.bank))
        yield ~((opener.step == Step.READY) & ~is_open(ahead.bank))
        yield ~((opener.step == Step.OPENING) & ~is_open(ahead.bank))
        yield ~((opener.step == Step.ACTIVATE) & is_open(ahead.bank))
        with_upkeep = upkeep.phase != Phase.RUN
        yield ~with_upkeep | (~columns.busy & (between | (opener.step == Step.READY)))
        yield (upkeep.phase != Phase.REFRESH) | (opener.open == 0)
        yield (upkeep.phase != Phase.RUN) | upkeep.started
        yield (upkeep.phase != Phase.PAUSE) | ~upkeep.started
        yield (upkeep.phase == Phase.PAUSE) | start.paused
        yield start.refreshes <= REFRESHES
        yield upkeep.started | ((opener.open == 0) & between)
        bus = self.controller.bus
        refreshes = start.refreshes + (bus.command == Command.REFRESH)
        yield upkeep.started | (refreshes + upkeep.debt.owed >= REFRESHES)
        yield ~upkeep.started | (refreshes >= REFRESHES)
        closing = (bus.command == Command.PRECHARGE) & bus.address[10]
        before = (upkeep.phase == Phase.PAUSE) | (upkeep.phase == Phase.CLOSE)
        yield (before & ~upkeep.started) | start.closed | closing
        yield ~started | ((self.rules.cas_latency == 3) & (self.rules.length_bits == 3))


def _at_most_one(*bits):
    return sum(bits) <= 1
