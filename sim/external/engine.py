"""An engine with its external memory behind one host port, for simulation."""

from pathlib import Path
from typing import Any

from amaranth.hdl import ClockSignal, Elaboratable, Instance, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.engine import Engine
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import EXTERNAL_BURST_WORDS, EXTERNAL_WORD_BITS, EngineConfig
from residuum.hw.isa.host_map import HostMap
from residuum.hw.memory.sdram.layouts import WORDS, read_layout, write_layout
from residuum.hw.memory.sdram.parts import SLOWEST, Part
from residuum.hw.memory.sdram.reader import WeightReader

STORAGE = Path(__file__).parents[1] / "sdram" / "storage.sv"
# Of a word of the memory.
ADDRESS_BITS = 23


class PausingMemory(wiring.Component):
    """A memory that answers reads late, and pauses between bursts for a random number of cycles, 0
    to ``longest_pause`` (a power of two less 1). Members as of `Controller`."""

    def __init__(self, part: Part, *, longest_pause: int):
        self.longest_pause = longest_pause
        super().__init__(
            {
                "reads": In(stream.Signature(read_layout(part))),
                "writes": In(stream.Signature(write_layout(part))),
                "words": Out(WORDS),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        address, left = Signal(ADDRESS_BITS), Signal.like(self.reads.payload.count)
        pause, valid, last = Signal(range(self.longest_pause + 1)), Signal(), Signal()
        random = Signal(16, init=1)
        m.d.sync += random.eq((random >> 1) ^ Mux(random[0], 0xB400, 0))
        word = Signal(EXTERNAL_WORD_BITS)
        write: Any = self.writes.payload
        m.submodules.storage = Instance(
            "sdram_storage",
            p_ADDRESS_BITS=ADDRESS_BITS,
            i_clk=ClockSignal("sync"),
            i_write=self.writes.valid,
            i_write_address=write.address.as_value()[: ADDRESS_BITS],
            i_write_data=write.data,
            i_read_address=address,
            o_read_data=word,
        )
        within = address[: (EXTERNAL_BURST_WORDS - 1).bit_length()]
        burst_over = within == EXTERNAL_BURST_WORDS - 1
        m.d.comb += [
            self.writes.ready.eq(1),
            self.reads.ready.eq(left == 0),
            self.words.valid.eq(valid),
            self.words.payload.data.eq(word),
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


def external_address(config: EngineConfig, address: int = 0) -> int:
    """The host address of a word of the external memory of an `ExternalEngine`."""
    return address | 1 << max(HostMap(config).address_bits, ADDRESS_BITS)


class ExternalEngine(wiring.Component):
    """An engine and its external memory.

    Host words written to `external_address` go to the external memory, 16 bits each. The other
    members are those of the engine.

    Parameters
    ----------
    config : EngineConfig
    longest_pause : int
        See `PausingMemory`.
    """

    def __init__(self, config: EngineConfig, *, longest_pause: int = 0):
        self.config = config
        self.engine = Engine(config)
        self.memory = PausingMemory(SLOWEST, longest_pause=longest_pause)
        self.reader = WeightReader(config, SLOWEST)
        members = dict(HostPort(config).members)
        members["address"] = Out(external_address(config).bit_length())
        super().__init__(
            {"host": In(wiring.Signature(members)), "busy": Out(1), "best": Out(config.class_bits)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = self.engine
        m.submodules.memory = memory = self.memory
        m.submodules.reader = reader = self.reader
        wiring.connect(m, engine.external, reader.external)
        wiring.connect(m, reader.reads, memory.reads)
        wiring.connect(m, memory.words, reader.words)
        host, write = self.host, memory.writes
        outside = host.address[-1]
        m.d.comb += [
            engine.host.address.eq(host.address),
            engine.host.write_data.eq(host.write_data),
            engine.host.write.eq(host.write & ~outside),
            engine.host.read.eq(host.read),
            host.read_data.eq(engine.host.read_data),
            host.read_valid.eq(engine.host.read_valid),
            self.busy.eq(engine.busy),
            self.best.eq(engine.best),
            write.valid.eq(host.write & outside),
            write.payload.address.as_value().eq(host.address),
            write.payload.data.eq(host.write_data),
        ]
        return m
