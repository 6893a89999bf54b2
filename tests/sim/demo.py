"""A small memory with the engine's host port, to test the wrapper and the bulk mover."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

DEPTH = 254
MUTE = 0xFE  # after a write of 1 here, reads are not answered
START = 0xFF  # a write of n here makes `busy` high for n cycles


class Demo(wiring.Component):
    """254 words, read with a latency of 3 cycles, and a run that does nothing.

    Parameters
    ----------
    salt : int
        Start value of ``writes``; distinguishes otherwise equal components.

    Members
    -------
    offset : In(8)
        Added to every answer; a port that the mover does not drive.
    writes : Out(32)
        Number of words written, to any address.
    streak : Out(32)
        Longest sequence of consecutive cycles with a write.
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
    streak: Out(32)

    def __init__(self, *, salt: int = 0) -> None:
        self.salt = salt
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(shape=32, depth=DEPTH, init=[])
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.addr.eq(self.host__address),
            write.data.eq(self.host__write_data),
            write.en.eq(self.host__write & (self.host__address < DEPTH)),
            read.addr.eq(self.host__address),
            read.en.eq(1),
        ]

        writes = Signal(32, init=self.salt)
        streak = Signal(32)
        m.d.comb += self.writes.eq(writes - self.salt)
        with m.If(self.host__write):
            m.d.sync += [writes.eq(writes + 1), streak.eq(streak + 1)]
            with m.If(streak >= self.streak):
                m.d.sync += self.streak.eq(streak + 1)
        with m.Else():
            m.d.sync += streak.eq(0)

        mute = Signal()
        valid = [Signal(name=f"valid_{stage}") for stage in (1, 2)]
        data = Signal(32)
        m.d.sync += [
            valid[0].eq(self.host__read & ~mute),
            valid[1].eq(valid[0]),
            data.eq(read.data),
            self.host__read_valid.eq(valid[1]),
            self.host__read_data.eq(data + self.offset),
        ]
        with m.If(self.host__write & (self.host__address == MUTE)):
            m.d.sync += mute.eq(self.host__write_data[0])

        remaining = Signal(32)
        m.d.comb += self.busy.eq(remaining != 0)
        with m.If(self.busy):
            m.d.sync += remaining.eq(remaining - 1)
        with m.If(self.host__write & (self.host__address == START)):
            m.d.sync += remaining.eq(self.host__write_data)
        return m
