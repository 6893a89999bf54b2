"""The registers of the memory tester, for the host."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, MemoryTest
from residuum.hw.logic import gated
from residuum.hw.memory.ring import ExternalHostPort
from residuum.hw.memory.sdram.parts import Part
from residuum.hw.memory.sdram.tester import MemoryTester


class TesterRegisters(wiring.Component):
    """`Region.MEMORY_TEST`.

    Members
    -------
    host : In(ExternalHostPort)
        ``read_valid`` a cycle after a read of these registers; ``read_data`` is 0 else.
    """

    def __init__(self, config: EngineConfig, part: Part):
        self.tester = MemoryTester(part)
        super().__init__({"host": In(ExternalHostPort(config))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        host, tester = self.host, self.tester
        index = host.address[: (len(MemoryTest) - 1).bit_length()]
        run = Cat(tester.writing, tester.reading, tester.pattern)
        written = {
            MemoryTest.SEED: tester.seed,
            MemoryTest.FIRST: tester.first,
            MemoryTest.COUNT: tester.count,
        }
        m.d.sync += tester.start.eq(0)
        with m.If(host.write & host.test), m.Switch(index):
            with m.Case(MemoryTest.RUN):
                m.d.sync += [run.eq(host.write_data), tester.start.eq(1)]
            for word, register in written.items():
                with m.Case(word):
                    m.d.sync += register.eq(host.write_data)
        values = {
            MemoryTest.RUN: tester.busy | tester.start,
            **written,
            MemoryTest.ERRORS: tester.errors,
            MemoryTest.BAD_BITS: tester.bad_bits,
            MemoryTest.FIRST_BAD: tester.first_bad.as_value(),
            MemoryTest.WORDS: Cat(tester.first_expected, tester.first_read),
            MemoryTest.CRC: tester.crc,
        }
        value = Signal(HOST_WORD_BITS)
        m.d.comb += value.eq(Array(values[word] for word in MemoryTest)[index])
        read = host.read & host.test
        m.d.sync += host.read_valid.eq(read)
        m.d.comb += host.read_data.eq(gated(m, read, value, "found"))
        return m
