"""The times that the controller keeps between commands."""

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.parts import BURST, LONGEST, Timing

# From the end of the opener's wait for a row to the first command in it, at least.
OFFER_TO_COMMAND = 2


class Timers(wiring.Component):
    """Which times have passed since the commands that the other members name.

    All banks share the timers: a bank waits for times that only bind another one, too. Reads of a
    row's length hide that, and four banks with timers of their own would take four times as much.

    Members
    -------
    activate, precharge, read, write, settling : In(1)
        The command of this cycle; ``settling`` is refresh or mode. It counts from the next cycle
        on, in which the command would be one cycle ago.
    may_activate, may_precharge : Out(1)
        The precharge also needs the end of the bursts in its bank.
    row_open : Out(1)
        The last row activated may be read and written in `OFFER_TO_COMMAND` cycles.
    burst_over : Out(1)
        The last read has left its bank; another read follows it without a gap.
    pins_free : Out(1)
        The words of the last read have left the pins, and one more cycle.
    settled : Out(1)
    """

    def __init__(self, timing: Timing):
        for name in ("activate_to_activate", "activate_to_precharge", "refresh"):
            if getattr(timing, name) > LONGEST:
                raise ValueError(
                    f"{name} must be at most {LONGEST} cycles, not {getattr(timing, name)!r}"
                )
        self.timing = timing
        commands = ("activate", "precharge", "read", "write", "settling")
        passed = (
            "may_activate", "may_precharge", "row_open", "burst_over", "pins_free", "settled"
        )  # fmt: skip
        super().__init__({name: In(1) for name in commands} | {name: Out(1) for name in passed})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        t = self.timing
        row_cycle = max(t.activate_to_activate, t.other_bank)
        m.d.comb += [
            self.may_activate.eq(
                _passed(m, self.activate, row_cycle, "row_cycle")
                & _passed(m, self.precharge, t.precharge_to_activate, "precharging")
            ),
            self.may_precharge.eq(
                _passed(m, self.activate, t.activate_to_precharge, "row_active")
                & _passed(m, self.write, t.write_to_precharge, "write_recovery")
            ),
            self.row_open.eq(
                _passed(m, self.activate, t.activate_to_column - OFFER_TO_COMMAND, "opening")
            ),
            self.burst_over.eq(_passed(m, self.read, BURST, "burst")),
            # The first word comes after the CAS latency; the pins are left a cycle free.
            self.pins_free.eq(_passed(m, self.read, t.cas_latency + BURST + 1, "words")),
            self.settled.eq(
                _passed(m, self.settling, max(t.refresh, t.mode_to_command), "command")
            ),
        ]
        return m


def _passed(m: Module, event: Value, cycles: int, name: str) -> Value:
    """Whether the last event is at least ``cycles`` cycles ago. A shift register: no counter in
    front of a decision."""
    if cycles <= 1:
        return Const(1)
    left = Signal(cycles - 1, name=name)
    m.d.sync += left.eq(Mux(event, ~0, left >> 1))
    return ~left[0]
