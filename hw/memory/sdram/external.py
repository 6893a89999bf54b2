"""An SDRAM as the external memory of an engine."""

from amaranth.hdl import Elaboratable, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.memory.ring import ExternalPort
from residuum.hw.memory.sdram.access import SdramAccess
from residuum.hw.memory.sdram.bus import SdramBus
from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import Part, Timing
from residuum.hw.memory.sdram.reader import WeightReader


class ExternalMemory(wiring.Component):
    """Controller, weight rows and host accesses. A reset of the engine must not reset it.

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
        super().__init__(
            {"engine": In(ExternalPort(config)), "hold": Out(1), "bus": Out(SdramBus())}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.controller = controller = self.controller
        m.submodules.reader = reader = self.reader
        m.submodules.access = access = self.access
        wiring.connect(m, wiring.flipped(self.engine.rows), reader.rows)
        wiring.connect(m, wiring.flipped(self.engine.host), access.host)
        wiring.connect(m, access.writes, controller.writes)
        wiring.connect(m, controller.bus, wiring.flipped(self.bus))
        chosen = access.waiting
        m.d.comb += [
            reader.hold.eq(access.busy),
            access.free.eq(~reader.busy),
            controller.reads.valid.eq(access.reads.valid | reader.reads.valid),
            controller.reads.payload.eq(
                Mux(chosen, access.reads.payload.as_value(), reader.reads.payload.as_value())
            ),
            access.reads.ready.eq(controller.reads.ready),
            reader.reads.ready.eq(controller.reads.ready & ~chosen),
            self.hold.eq(access.hold),
        ]
        for words in (reader.words, access.words):
            m.d.comb += [
                words.valid.eq(controller.words.valid),
                words.payload.eq(controller.words.payload),
            ]
        return m
