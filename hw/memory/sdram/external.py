"""An SDRAM as the external memory of an engine."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.memory.ring import ExternalPort
from residuum.hw.memory.sdram.access import SdramAccess
from residuum.hw.memory.sdram.bus import SdramBus
from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import Part, Timing
from residuum.hw.memory.sdram.reader import WeightReader
from residuum.hw.memory.sdram.registers import TesterRegisters


class ExternalMemory(wiring.Component):
    """Controller, weight rows, host accesses and memory tester, one of them at a time. A reset of
    the engine must not reset it.

    Parameters
    ----------
    config : EngineConfig
    part, timing, round_trip
        Those of `Controller`. The part has as many words as the engine can address, or more.

    Members
    -------
    engine : In(ExternalPort)
    hold : Out(1)
        The host must wait with further writes (`SdramAccess`).
    bus : Out(SdramBus)
    """

    def __init__(
        self, config: EngineConfig, part: Part, timing: Timing, *, round_trip: int | None = None
    ):
        if part.words < 1 << config.external:
            raise ValueError(
                f"the part has {part.words:,} words, fewer than the engine can address, "
                f"{1 << config.external:,}"
            )
        self.controller = Controller(part, timing, round_trip=round_trip)
        self.reader = WeightReader(config, part)
        self.access = SdramAccess(config, part)
        self.registers = TesterRegisters(config, part)
        super().__init__(
            {"engine": In(ExternalPort(config)), "hold": Out(1), "bus": Out(SdramBus())}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.controller = controller = self.controller
        m.submodules.reader = reader = self.reader
        m.submodules.access = access = self.access
        m.submodules.registers = registers = self.registers
        m.submodules.tester = tester = registers.tester
        wiring.connect(m, wiring.flipped(self.engine.rows), reader.rows)
        wiring.connect(m, controller.bus, wiring.flipped(self.bus))
        m.d.comb += [
            reader.hold.eq(access.busy | tester.busy),
            self.hold.eq(access.hold),
        ]
        self._share_host(m)
        self._share_controller(m)
        return m

    def _share_host(self, m: Module) -> None:
        host = self.engine.host
        for user in (self.access.host, self.registers.host):
            m.d.comb += [
                getattr(user, name).eq(getattr(host, name))
                for name in ("address", "write_data", "write", "read", "test")
            ]
        found, registers = self.access.host, self.registers.host
        m.d.comb += [
            host.read_valid.eq(found.read_valid | registers.read_valid),
            host.read_data.eq(Mux(registers.read_valid, registers.read_data, found.read_data)),
        ]

    def _share_controller(self, m: Module) -> None:
        """The tester while it is busy, else the host, else the engine; first of all the words that
        the engine still waits for."""
        reads, words = self.controller.reads, self.controller.words
        tester, access, reader = self.registers.tester, self.access, self.reader
        tests = ~reader.busy & tester.busy
        accesses = ~reader.busy & ~tester.busy & access.waiting
        users: list[tuple[Any, Value, Value]] = [
            (tester, tests, tests),
            (access, accesses, accesses),
            (reader, ~tester.busy & ~access.waiting, reader.busy),
        ]
        for user, asks, receives in users:
            with m.If(asks):
                m.d.comb += [
                    reads.valid.eq(user.reads.valid),
                    reads.payload.eq(user.reads.payload),
                    user.reads.ready.eq(reads.ready),
                ]
            m.d.comb += [
                user.words.payload.eq(words.payload),
                user.words.valid.eq(words.valid & receives),
            ]
        writes = self.controller.writes
        for user, mine in ((tester, tester.busy), (access, ~tester.busy)):
            with m.If(mine):
                m.d.comb += [
                    writes.valid.eq(user.writes.valid),
                    writes.payload.eq(user.writes.payload),
                    user.writes.ready.eq(writes.ready),
                ]
