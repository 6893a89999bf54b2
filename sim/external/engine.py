"""An engine with its external memory behind one host port, for simulation."""

from dataclasses import replace
from pathlib import Path

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.engine import Engine
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import EXTERNAL_BURST_WORDS, EXTERNAL_WORD_BITS, EngineConfig
from residuum.hw.memory.ring import ExternalHostPort
from residuum.hw.memory.sdram.external import ExternalMemory
from residuum.hw.memory.sdram.layouts import WORDS, read_layout
from residuum.hw.memory.sdram.parts import SLOWEST, Timing
from residuum.hw.memory.sdram.reader import WeightReader
from residuum.sim.sdram.chip import Chip
from residuum.sim.sdram.rules import Rule

# The fastest clock of the slowest parts, in whole MHz.
CLOCK_HZ = 142_000_000
# Bits of the address of a word: the smallest parts have 32 MB.
SDRAM_BITS = 24
# The times of these parts, but for a short pause after power-up: 200 us are tens of thousands of
# cycles.
TIMING = replace(Timing.of(SLOWEST, CLOCK_HZ), pause=100)
STORAGE = Path(__file__).parents[1] / "sdram" / "storage.sv"


def with_sdram(config: EngineConfig, ring_rows: int) -> EngineConfig:
    """The engine with so many weight rows, which a simulated SDRAM fills. ValueError if there is no
    such engine."""
    return config.with_changes(event_width=2, weight_rows=ring_rows, external=SDRAM_BITS)


def sdram_controller(config: EngineConfig) -> ExternalMemory:
    """The external memory of an engine, for `sdram_chip`."""
    return ExternalMemory(config, SLOWEST, TIMING)


def sdram_chip() -> Chip:
    """The chip of an `sdram_controller`; its words are in `STORAGE`."""
    return Chip(SLOWEST, TIMING, verilog=True)


class PausingMemory(wiring.Component):
    """A memory that pauses between bursts for a random number of cycles, 0 to ``longest_pause`` (a
    power of two less 1). ``reads`` and ``words`` are those of `Controller`. Host writes are never
    delayed; the host cannot read."""

    def __init__(self, config: EngineConfig, *, longest_pause: int):
        self.config = config
        self.longest_pause = longest_pause
        super().__init__(
            {
                "reads": In(stream.Signature(read_layout(SLOWEST))),
                "words": Out(WORDS),
                "host": In(ExternalHostPort(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        address, left = Signal(self.config.external), Signal.like(self.reads.payload.count)
        pause, valid, last = Signal(range(self.longest_pause + 1)), Signal(), Signal()
        random = Signal(16, init=1)
        m.d.sync += random.eq((random >> 1) ^ Mux(random[0], 0xB400, 0))
        # One memory for the lower halves of host words, and one for the upper halves.
        halves = [Signal(EXTERNAL_WORD_BITS, name=f"half_{index}") for index in range(2)]
        for index, half in enumerate(halves):
            m.submodules[f"storage_{index}"] = Instance(
                "sdram_storage",
                p_ADDRESS_BITS=self.config.external - 1,
                i_clk=ClockSignal("sync"),
                i_write=self.host.write,
                i_write_address=self.host.address,
                i_write_data=self.host.write_data.word_select(index, EXTERNAL_WORD_BITS),
                i_read_address=address[1:],
                o_read_data=half,
            )
        upper = Signal()
        m.d.sync += upper.eq(address[0])
        within = address[: (EXTERNAL_BURST_WORDS - 1).bit_length()]
        burst_over = within == EXTERNAL_BURST_WORDS - 1
        m.d.comb += [
            self.reads.ready.eq(left == 0),
            self.words.valid.eq(valid),
            self.words.payload.data.eq(Mux(upper, *reversed(halves))),
            self.words.payload.last.eq(last),
        ]
        m.d.sync += [
            valid.eq((left != 0) & (pause == 0)),
            last.eq((left == 1) & burst_over),
        ]
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        with m.Elif(left != 0):
            m.d.sync += address.eq(address + 1)
            with m.If(burst_over):
                m.d.sync += [left.eq(left - 1), pause.eq(random)]
        with m.If(self.reads.valid & self.reads.ready):
            m.d.sync += [
                address.eq(self.reads.payload.first * EXTERNAL_BURST_WORDS),
                left.eq(self.reads.payload.count),
                pause.eq(random),
            ]
        return m


class ExternalEngine(wiring.Component):
    """An engine and its external memory. The members are those of the engine.

    Parameters
    ----------
    config : EngineConfig
    longest_pause : int
        See `PausingMemory`.
    """

    def __init__(self, config: EngineConfig, *, longest_pause: int = 0):
        self.config = config
        self.engine = Engine(config)
        self.memory = PausingMemory(config, longest_pause=longest_pause)
        self.reader = WeightReader(config, SLOWEST)
        super().__init__(
            {"host": In(HostPort(config)), "busy": Out(1), "best": Out(config.class_bits)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = self.engine
        m.submodules.memory = memory = self.memory
        m.submodules.reader = reader = self.reader
        wiring.connect(m, engine.external.rows, reader.rows)
        wiring.connect(m, reader.reads, memory.reads)
        wiring.connect(m, memory.words, reader.words)
        wiring.connect(m, engine.external.host, memory.host)
        wiring.connect(m, wiring.flipped(self.host), engine.host)
        m.d.comb += [self.busy.eq(engine.busy), self.best.eq(engine.best)]
        return m


class SdramEngine(wiring.Component):
    """An engine with its SDRAM: controller and model of a chip. ``seen`` has the rules of the chip
    that were broken; the other members are those of the engine. The host must not write faster than
    the SDRAM takes words."""

    def __init__(self, config: EngineConfig):
        self.engine = Engine(config)
        self.memory = sdram_controller(config)
        self.chip = sdram_chip()
        super().__init__(
            {
                "host": In(HostPort(config)),
                "busy": Out(1),
                "best": Out(config.class_bits),
                "seen": Out(len(Rule)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = self.engine
        m.submodules.memory = memory = self.memory
        m.submodules.chip = chip = self.chip
        wiring.connect(m, engine.external, memory.engine)
        wiring.connect(m, memory.bus, chip.bus)
        wiring.connect(m, wiring.flipped(self.host), engine.host)
        m.d.comb += [
            self.busy.eq(engine.busy),
            self.best.eq(engine.best),
            self.seen.eq(chip.seen),
        ]
        return m
