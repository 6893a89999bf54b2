"""What a data sheet forbids: checks every command to an SDRAM chip against those before it."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.bus import Command, SdramBus
from residuum.hw.memory.sdram.parts import ADDRESS_BITS, BANKS, LONGEST, Part, Timing
from residuum.sim.sdram.start import Start


class Rule(IntEnum):
    """Bits of `Rules.broken`; comments give the name of the time in data sheets."""

    START = 0  # pause, precharge of all banks, refreshes, mode: in this order, then the rest
    MODE = 1  # a mode that the part does not have, or this model
    OPEN = 2  # activate, refresh or mode while the bank, or a bank, is open
    CLOSED = 3  # read or write in a closed bank
    RANGE = 4  # a row or column that the part does not have
    UNKNOWN = 5  # precharge after a read or write: this model does not have it
    ACTIVATE_TO_ACTIVATE = 6  # tRC
    ACTIVATE_TO_PRECHARGE = 7  # tRAS
    ACTIVATE_TO_COLUMN = 8  # tRCD
    PRECHARGE_TO_ACTIVATE = 9  # tRP
    OTHER_BANK = 10  # tRRD
    REFRESH = 11  # tRFC
    WRITE_TO_PRECHARGE = 12  # tWR
    MODE_TO_COMMAND = 13  # tMRD
    CONTENTION = 14  # both sides drive the data pins, or without a cycle between
    UNDRIVEN = 15  # a write without data
    RETENTION = 16  # tREF: a row was not refreshed in time; see `Retention`


class Rules(wiring.Component):
    """Checks the commands of a bus.

    Members
    -------
    bus : In(SdramBus)
        As the chip sees it at the end of a cycle.
    driving : In(1)
        The chip drives the data pins in this cycle.
    broken : Out(len(Rule))
        The rules that the command of this cycle breaks.
    open : Out(BANKS)
        Which banks have an open row, before the command of this cycle.
    started : Out(1)
        The mode has been set.
    cas_latency, length_bits : Out
        From the mode register; words of a read, as a power of two.
    """

    def __init__(self, part: Part, timing: Timing):
        self.part = part
        self.timing = timing
        self.start = Start(timing)
        super().__init__(
            {
                "bus": In(SdramBus()),
                "driving": In(1),
                "broken": Out(len(Rule)),
                "open": Out(BANKS),
                "started": Out(1),
                "cas_latency": Out(2),
                "length_bits": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        t = self.timing
        bus: Any = self.bus
        on = {name: bus.command == name for name in Command}
        all_banks = bus.address[10]
        banks = [bus.bank == bank for bank in range(BANKS)]
        closing = [on[Command.PRECHARGE] & (all_banks | chosen) for chosen in banks]
        acts = [on[Command.ACTIVATE] & chosen for chosen in banks]
        writes = [on[Command.WRITE] & chosen for chosen in banks]
        column = on[Command.READ] | on[Command.WRITE]

        for is_open, act, close in zip(self.open, acts, closing, strict=True):
            m.d.sync += is_open.eq(act | is_open & ~close)
        any_open, this_open = self.open.any(), self.open.bit_select(bus.bank, 1)

        any_act = on[Command.ACTIVATE]
        since_refresh = _age(m, on[Command.REFRESH], "refreshed")
        since_mode = _age(m, on[Command.MODE], "mode")
        since_act = [_age(m, act, f"activated_{bank}") for bank, act in enumerate(acts)]
        since_close = [_age(m, close, f"closed_{bank}") for bank, close in enumerate(closing)]
        since_write = [_age(m, write, f"written_{bank}") for bank, write in enumerate(writes)]
        since_any_act = _age(m, any_act, "activated")

        def bank_rule(commands: list[Value], ages: list[Value], least: int) -> Value:
            return Cat(c & (age < least) for c, age in zip(commands, ages, strict=True)).any()

        whole = on[Command.REFRESH] | on[Command.MODE]
        needs_closed = [act | whole for act in acts]
        real_close = [close & is_open for close, is_open in zip(closing, self.open, strict=True)]
        drove = Signal()
        m.d.sync += drove.eq(self.driving)
        m.submodules.start = start = self.start
        m.d.comb += [
            start.command.eq(bus.command),
            start.all_banks.eq(all_banks),
            self.started.eq(start.started),
        ]
        broken = {
            Rule.START: start.early,
            Rule.MODE: self._mode(m, on),
            Rule.OPEN: (any_act & this_open) | (whole & any_open),
            Rule.CLOSED: column & ~this_open,
            Rule.RANGE: (any_act & (bus.address >= self.part.rows))
            | (column & (Cat(bus.address[:10], bus.address[11:]) >= self.part.columns)),
            Rule.UNKNOWN: column & all_banks,
            Rule.ACTIVATE_TO_ACTIVATE: bank_rule(needs_closed, since_act, t.activate_to_activate),
            Rule.ACTIVATE_TO_PRECHARGE: bank_rule(real_close, since_act, t.activate_to_precharge),
            Rule.ACTIVATE_TO_COLUMN: bank_rule(
                [column & chosen for chosen in banks], since_act, t.activate_to_column
            ),
            Rule.PRECHARGE_TO_ACTIVATE: bank_rule(
                needs_closed, since_close, t.precharge_to_activate
            ),
            Rule.OTHER_BANK: any_act & (since_any_act < t.other_bank),
            Rule.REFRESH: ~on[Command.NOTHING] & (since_refresh < t.refresh),
            Rule.WRITE_TO_PRECHARGE: bank_rule(real_close, since_write, t.write_to_precharge),
            Rule.MODE_TO_COMMAND: ~on[Command.NOTHING] & (since_mode < t.mode_to_command),
            Rule.CONTENTION: bus.drive & (self.driving | drove),
            Rule.UNDRIVEN: on[Command.WRITE] & ~bus.drive,
        }
        m.d.comb += self.broken.eq(Cat(broken.get(rule, 0) for rule in Rule))
        return m

    def _mode(self, m: Module, on: dict[Command, Value]) -> Value:
        """Keeps the mode; whether it is one that the part or the model does not have."""
        mode = Signal(_MODE)
        m.d.comb += mode.as_value().eq(self.bus.address)
        with m.If(on[Command.MODE]):
            m.d.sync += [
                self.cas_latency.eq(mode.cas_latency),
                self.length_bits.eq(mode.length_bits),
            ]
        latency = (mode.cas_latency == 3) | (mode.cas_latency == self.timing.cas_latency)
        return on[Command.MODE] & ~(
            latency
            & (mode.length_bits < 4)
            & mode.single_writes
            & ~(mode.interleaved | mode.zero_1.any() | mode.zero_2.any() | self.bus.bank.any())
        )


# The mode register; `length_bits` 7 is a whole row.
_MODE = data.StructLayout(
    {
        "length_bits": 3,
        "interleaved": 1,
        "cas_latency": 3,
        "zero_1": 2,
        "single_writes": 1,
        "zero_2": ADDRESS_BITS - 10,
    }
)


def _age(m: Module, event: Value, name: str) -> Signal:
    """Cycles since the event: 1 in the cycle after it, `LONGEST` if that many or more."""
    age = Signal(range(LONGEST + 1), init=LONGEST, name=f"since_{name}")
    m.d.sync += age.eq(Mux(event, 1, Mux(age == LONGEST, age, age + 1)))
    return age
