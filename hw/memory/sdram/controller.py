"""The SDRAM controller: long reads at nearly the full rate of the data pins."""

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.logic import select
from residuum.hw.memory.sdram.bus import A10, Command, SdramBus, mode_register
from residuum.hw.memory.sdram.columns import Columns
from residuum.hw.memory.sdram.layouts import WORDS, read_layout, write_layout
from residuum.hw.memory.sdram.opener import Opener, Step
from residuum.hw.memory.sdram.parts import Part, Timing
from residuum.hw.memory.sdram.receiver import Receiver
from residuum.hw.memory.sdram.splitter import Splitter
from residuum.hw.memory.sdram.timers import Timers
from residuum.hw.memory.sdram.upkeep import Phase, Upkeep


class Controller(wiring.Component):
    """An SDR SDRAM controller in ``sync``, the clock of the chip.

    Commands run in the order in which they are taken. While one segment (the part of a read in one
    row) is read, the row of the next one is opened, in another bank if the reads are in order:
    consecutive rows of words lie in consecutive banks. Up to four refresh commands wait for a pause
    between reads, or else for the end of a segment. Writes are single words, and are taken when no
    read waits; one in an open row takes four cycles.

    Parameters
    ----------
    part : Part
    timing : Timing
        Of the part at the frequency of ``sync``.
    round_trip : int or None
        Cycles from a read command on ``bus`` to its first word on ``bus.data_in``: the CAS latency
        where the chip is connected directly (None), and the registers of the pins
        (`Pins.round_trip`).

    Members
    -------
    bus : Out(SdramBus)
        All outputs are registers.
    reads : In(stream of read_layout)
        Bursts of 8 words.
    writes : In(stream of write_layout)
    words : Out(WORDS)
        The words of all reads, in order, eight cycles in a row for a burst. Nothing stops them:
        whoever sends a read has room for all its words. With the chip connected directly, and
        142 MHz, the first word comes 11 cycles after its command if the controller was idle and the
        row is open, 13 if its bank is closed, 16 if another row is open.
    started : Out(1)
        The chip is initialised. Commands may come before.
    """

    def __init__(self, part: Part, timing: Timing, *, round_trip: int | None = None):
        self.timing = timing
        self.round_trip = timing.cas_latency if round_trip is None else round_trip
        if self.round_trip < timing.cas_latency:
            raise ValueError(
                f"round_trip must be at least the CAS latency, {timing.cas_latency}, "
                f"not {round_trip!r}"
            )
        self.splitter = Splitter(part)
        self.opener = Opener(part)
        self.columns = Columns(part)
        self.upkeep = Upkeep(part, timing)
        self.timers = Timers(timing)
        # The bus has a register.
        self.receiver = Receiver(delay=self.round_trip + 1)
        super().__init__(
            {
                "bus": Out(SdramBus()),
                "reads": In(stream.Signature(read_layout(part))),
                "writes": In(stream.Signature(write_layout(part))),
                "words": Out(WORDS),
                "started": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.splitter = splitter = self.splitter
        m.submodules.opener = opener = self.opener
        m.submodules.columns = columns = self.columns
        m.submodules.upkeep = upkeep = self.upkeep
        m.submodules.timers = self.timers
        m.submodules.receiver = receiver = self.receiver
        wiring.connect(m, wiring.flipped(self.reads), splitter.reads)
        wiring.connect(m, opener.opened, columns.opened)
        wiring.connect(m, receiver.words, wiring.flipped(self.words))
        self._choose_segment(m)
        self._keep_times(m)
        between = Cat(opener.step == step for step in (Step.EMPTY, Step.LOOK, Step.READY)).any()
        m.d.comb += [
            opener.run.eq((upkeep.phase == Phase.RUN) & ~upkeep.stop),
            opener.closed.eq(upkeep.precharge_all),
            opener.blocked.eq(columns.read | columns.write),
            opener.busy.eq(columns.busy),
            opener.begun.eq(columns.begun),
            opener.bank.eq(columns.segment.bank),
            upkeep.idle.eq(~columns.busy & between),
            upkeep.waiting.eq((opener.step != Step.EMPTY) | opener.segments.valid),
            receiver.read.eq(columns.read),
            receiver.final.eq(columns.final),
            receiver.data_in.eq(self.bus.data_in),
            self.started.eq(upkeep.started),
        ]
        self._drive_bus(m)
        return m

    def _choose_segment(self, m: Module) -> None:
        """The segments of reads, or else a write."""
        reads, chosen = self.splitter.segments, self.opener.segments
        write: Any = self.writes.payload
        segment: Any = chosen.payload
        m.d.comb += [
            chosen.valid.eq(reads.valid | self.writes.valid),
            reads.ready.eq(chosen.ready),
            self.writes.ready.eq(chosen.ready & ~reads.valid),
        ]
        with m.If(reads.valid):
            m.d.comb += segment.eq(reads.payload)
        with m.Else():
            m.d.comb += [
                segment.word.eq(write.address.word),
                segment.column.eq(write.address.column),
                segment.last.eq(write.address.column),
                segment.bank.eq(write.address.bank),
                segment.row.eq(write.address.row),
                segment.data.eq(write.data),
                segment.write.eq(1),
            ]

    def _keep_times(self, m: Module) -> None:
        times, opener, columns, upkeep = self.timers, self.opener, self.columns, self.upkeep
        m.d.comb += [
            times.activate.eq(opener.activate),
            times.precharge.eq(opener.precharge | upkeep.precharge_all),
            times.read.eq(columns.read),
            times.write.eq(columns.write),
            times.settling.eq(upkeep.refresh | upkeep.mode),
            opener.may_activate.eq(times.may_activate),
            opener.may_precharge.eq(times.may_precharge),
            opener.row_open.eq(times.row_open),
            opener.burst_over.eq(times.burst_over),
            columns.burst_over.eq(times.burst_over),
            columns.pins_free.eq(times.pins_free),
            upkeep.may_activate.eq(times.may_activate),
            upkeep.may_precharge.eq(times.may_precharge & times.burst_over),
            upkeep.settled.eq(times.settled),
        ]

    def _drive_bus(self, m: Module) -> None:
        """At most one of the commands is given in a cycle."""
        bus, opener, upkeep = self.bus, self.opener, self.upkeep
        ahead, now = opener.opened.payload, self.columns.segment
        column = self.columns.read | self.columns.write
        commands = {
            Command.ACTIVATE: opener.activate,
            Command.READ: self.columns.read,
            Command.WRITE: self.columns.write,
            Command.PRECHARGE: opener.precharge | upkeep.precharge_all,
            Command.REFRESH: upkeep.refresh,
            Command.MODE: upkeep.mode,
        }
        addresses = (
            (opener.activate, ahead.row),
            (column, Cat(now.word, now.column)),
            (upkeep.precharge_all, A10),
            (upkeep.mode, mode_register(self.timing.cas_latency)),
        )
        m.d.sync += [
            bus.command.eq(select(commands.values(), commands)),
            bus.bank.eq(Mux(column, now.bank, Mux(upkeep.mode, 0, ahead.bank))),
            bus.address.eq(select(*zip(*addresses, strict=True))),
            bus.mask.eq(~upkeep.started),
            bus.drive.eq(self.columns.write),
            bus.data_out.eq(now.data),
        ]
