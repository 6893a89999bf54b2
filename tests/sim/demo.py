"""A small memory behind the engine's host port, to exercise the wrapper and the bulk mover."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

START = 0xFF  # a write of n here makes `busy` high for n cycles
MUTE = 0xFE  # a write of 1 here makes reads go unanswered


class Demo(wiring.Component):
    """254 words, answered 3 cycles after the read, and a run that only takes time.

    Members
    -------
    writes : Out(32)
        Words that were written, runs and muting included.
    lonely : Out(1)
        Whether a cycle without a write ever lay between two writes.
    """

    host__address: In(8)
    host__write_data: In(32)
    host__write: In(1)
    host__read: In(1)
    host__read_data: Out(32)
    host__read_valid: Out(1)
    busy: Out(1)
    offset: In(8)
    writes: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=32, depth=254, init=[])
        write, read = words.write_port(), words.read_port(transparent_for=())
        m.d.comb += [
            write.addr.eq(self.host__address),
            write.data.eq(self.host__write_data),
            write.en.eq(self.host__write & (self.host__address < 254)),
            read.addr.eq(self.host__address),
            read.en.eq(1),
        ]
        mute = Signal()
        remaining = Signal(32)
        valid_1, valid_2, data_2 = Signal(), Signal(), Signal(32)
        m.d.comb += self.busy.eq(remaining != 0)
        m.d.sync += [
            valid_1.eq(self.host__read & ~mute),
            valid_2.eq(valid_1),
            data_2.eq(read.data),
            self.host__read_valid.eq(valid_2),
            self.host__read_data.eq(data_2 + self.offset),
            self.writes.eq(self.writes + self.host__write),
        ]
        with m.If(self.busy):
            m.d.sync += remaining.eq(remaining - 1)
        with m.If(self.host__write & (self.host__address == START)):
            m.d.sync += remaining.eq(self.host__write_data)
        with m.If(self.host__write & (self.host__address == MUTE)):
            m.d.sync += mute.eq(self.host__write_data[0])
        return m
