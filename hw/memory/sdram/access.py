"""Accesses of the host to an SDRAM: two words each."""

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS
from residuum.hw.memory.ring import ExternalHostPort
from residuum.hw.memory.sdram.layouts import WORDS, read_layout, write_layout
from residuum.hw.memory.sdram.parts import BURST, WIDTH, Part
from residuum.hw.queue import QUEUE_DEPTH, Queue

# Writes that may still come after ``hold``.
LATE_WRITES = 12


class SdramAccess(wiring.Component):
    """Members
    -------
    host : In(ExternalHostPort)
        Writes are queued. A read begins after them.
    hold : Out(1)
        Send no more than `LATE_WRITES` writes.
    reads : Out(stream of read_layout), writes : Out(stream of write_layout), words : In(WORDS)
        Of the controller.
    waiting : Out(1)
        A read waits or is under way: the words are for it.
    busy : Out(1)
        So does a read or a write.
    """

    def __init__(self, config: EngineConfig, part: Part):
        self.part = part
        super().__init__(
            {
                "host": In(ExternalHostPort(config)),
                "hold": Out(1),
                "reads": Out(stream.Signature(read_layout(part))),
                "writes": Out(stream.Signature(write_layout(part))),
                "words": In(WORDS),
                "waiting": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        host = self.host
        m.submodules.queue = queue = Queue(len(host.address) + HOST_WORD_BITS)
        write_here = host.write & ~host.test
        level, upper = Signal(range(QUEUE_DEPTH + 1)), Signal()
        write: Any = self.writes.payload
        word, address = queue.data[:HOST_WORD_BITS], queue.data[HOST_WORD_BITS:]
        taken = self.writes.valid & self.writes.ready
        m.d.comb += [
            queue.write.eq(write_here),
            queue.write_data.eq(Cat(host.write_data, host.address)),
            queue.take.eq(taken & upper),
            self.writes.valid.eq(queue.valid),
            write.address.as_value().eq(Cat(upper, address)),
            write.data.eq(word.word_select(upper, WIDTH)),
        ]
        m.d.sync += [
            level.eq(level + write_here - (taken & upper)),
            upper.eq(upper ^ taken),
            self.hold.eq(level >= QUEUE_DEPTH - LATE_WRITES),
        ]
        m.d.comb += self.busy.eq(self.waiting | (level != 0))
        self._read(m, empty=level == 0)
        return m

    def _read(self, m: Module, *, empty: Any) -> None:
        """Reads the burst with both words."""
        host, valid = self.host, self.words.valid
        pair = Signal(range(BURST // 2))
        first = Signal(len(host.address) - len(pair))
        count = Signal(range(BURST))
        asked = Signal()
        m.d.comb += [
            self.reads.valid.eq(self.waiting & ~asked & empty),
            self.reads.payload.first.eq(first),
            self.reads.payload.count.eq(1),
        ]
        with m.If(host.read & ~host.test):
            m.d.sync += [Cat(pair, first).eq(host.address), self.waiting.eq(1), count.eq(0)]
        with m.If(self.reads.valid & self.reads.ready):
            m.d.sync += asked.eq(1)
        m.d.sync += host.read_valid.eq(valid & (count == BURST - 1))
        with m.If(valid):
            m.d.sync += count.eq(count + 1)
            with m.If(count[1:] == pair):
                m.d.sync += host.read_data.word_select(count[0], WIDTH).eq(self.words.payload.data)
            with m.If(count == BURST - 1):
                m.d.sync += [self.waiting.eq(0), asked.eq(0)]
