"""The model of an SDR SDRAM chip."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.hdl import Array, Cat, ClockSignal, Elaboratable, Instance, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import bits_for_count
from residuum.hw.memory.sdram.bus import Command, SdramBus
from residuum.hw.memory.sdram.parts import BANKS, WIDTH, Part, Timing
from residuum.sim.sdram.burst import Burst
from residuum.sim.sdram.retention import Retention
from residuum.sim.sdram.rules import Rule, Rules

# The Verilog file with the words of a chip, for `Chip(verilog=True)`.
STORAGE = Path(__file__).with_name("storage.sv")
# What the pins read while nobody drives them.
FLOATING = 0xF10A
# What the words of a lost row read.
LOST = 0


@dataclass(frozen=True)
class Faults:
    """Faults of a chip or of its wires.

    Attributes
    ----------
    stuck_data
        Data pins that always read this level.
    stuck_address
        Address pins that are always at this level.
    swapped
        Two address pins whose wires are swapped.
    unrefreshed
        A row that refresh commands do not reach.
    """

    stuck_data: Mapping[int, int] = field(default_factory=dict)
    stuck_address: Mapping[int, int] = field(default_factory=dict)
    swapped: tuple[int, int] | None = None
    unrefreshed: int | None = None


NO_FAULTS = Faults()


class Chip(wiring.Component):
    """An SDR SDRAM chip that runs at the clock ``sync``.

    It takes a command at the end of a cycle. The first word of a read is on ``bus.data_in`` in the
    cycle whose end is CAS latency after it. Reads have 1 to 8 words in order; writes have one.
    Power-down, self refresh and precharge after a read are not modelled, nor the mask.

    Parameters
    ----------
    part, timing : Part, Timing
    verilog : bool
        Keep the words in ``storage.sv``, which is needed for a whole part: Amaranth writes an
        assignment for each word of a memory.
    faults : Faults

    Members
    -------
    bus : In(SdramBus)
    broken : Out(len(Rule))
        The rules that the command of this cycle breaks, one bit each.
    seen : Out(len(Rule))
        The rules broken so far.
    """

    def __init__(
        self, part: Part, timing: Timing, *, verilog: bool = False, faults: Faults = NO_FAULTS
    ):
        self.part = part
        self.timing = timing
        self.verilog = verilog
        self.faults = faults
        super().__init__({"bus": In(SdramBus()), "broken": Out(len(Rule)), "seen": Out(len(Rule))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        part, bus = self.part, self._wires(m)
        m.submodules.rules = rules = Rules(part, self.timing)
        m.submodules.retention = retention = Retention(
            part, self.timing, unrefreshed=self.faults.unrefreshed
        )
        m.submodules.burst = burst = Burst(part)
        for listener in (rules.bus, retention.bus, burst.bus):
            m.d.comb += [
                getattr(listener, name).eq(getattr(bus, name))
                for name in ("command", "bank", "address", "drive")
            ]
        m.d.comb += [
            retention.started.eq(rules.started),
            burst.cas_latency.eq(rules.cas_latency),
            burst.length_bits.eq(rules.length_bits),
            rules.driving.eq(burst.driving),
            self.broken.eq(rules.broken | retention.late << Rule.RETENTION),
        ]
        m.d.sync += self.seen.eq(self.seen | self.broken)

        rows = Array(Signal(part.row_bits, name=f"row_{bank}") for bank in range(BANKS))
        lost = Array(Signal(name=f"lost_{bank}") for bank in range(BANKS))
        activated, bank_before = Signal(), Signal.like(bus.bank)
        m.d.sync += [activated.eq(bus.command == Command.ACTIVATE), bank_before.eq(bus.bank)]
        with m.If(bus.command == Command.ACTIVATE):
            m.d.sync += rows[bus.bank].eq(bus.address)
        with m.If(activated):
            m.d.sync += lost[bank_before].eq(retention.lost)

        words = self._words(
            m,
            write=bus.command == Command.WRITE,
            write_address=Cat(bus.address[: len(burst.column)], bus.bank, rows[bus.bank]),
            write_data=bus.data_out,
            read_address=Cat(burst.column, burst.bank, rows[burst.bank]),
        )
        word_lost, late_word = Signal(), Signal(WIDTH)
        word = Mux(word_lost, LOST, words)
        m.d.sync += [word_lost.eq(lost[burst.bank]), late_word.eq(word)]
        on_pins = Mux(burst.driving, Mux(rules.cas_latency == 3, late_word, word), FLOATING)
        for index, level in self.faults.stuck_data.items():
            on_pins = on_pins & ~(1 << index) | level << index
        m.d.comb += self.bus.data_in.eq(on_pins)
        return m

    def _wires(self, m: Module) -> Any:
        """The bus behind the wires and their faults."""
        bus = SdramBus().create(path=("wires",))
        bits = list(self.bus.address)
        for index, level in self.faults.stuck_address.items():
            bits[index] = level
        if self.faults.swapped is not None:
            one, other = self.faults.swapped
            bits[one], bits[other] = bits[other], bits[one]
        m.d.comb += [
            bus.command.eq(self.bus.command),
            bus.bank.eq(self.bus.bank),
            bus.address.eq(Cat(bits)),
            bus.data_out.eq(self.bus.data_out),
            bus.drive.eq(self.bus.drive),
        ]
        return bus

    def _words(self, m: Module, *, write, write_address, write_data, read_address):  # type: ignore[no-untyped-def]
        """The word at ``read_address`` a cycle later."""
        if self.verilog:
            word = Signal(WIDTH)
            m.submodules.storage = Instance(
                "sdram_storage",
                p_ADDRESS_BITS=bits_for_count(self.part.words),
                i_clk=ClockSignal("sync"),
                i_write=write,
                i_write_address=write_address,
                i_write_data=write_data,
                i_read_address=read_address,
                o_read_data=word,
            )
            return word
        m.submodules.storage = storage = memory.Memory(shape=WIDTH, depth=self.part.words, init=[])
        writer, reader = storage.write_port(), storage.read_port()
        m.d.comb += [
            writer.en.eq(write),
            writer.addr.eq(write_address),
            writer.data.eq(write_data),
            reader.en.eq(1),
            reader.addr.eq(read_address),
        ]
        return reader.data
