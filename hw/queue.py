"""A queue without a "full" signal: the writer counts the free places."""

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

# The depth of a LUT memory of ECP5.
QUEUE_DEPTH = 16


def change(more: Value, *less: Value) -> Value:
    """``more`` minus all of ``less``, single bits, from a table of constants: an up/down counter
    then has a single adder."""
    sums = (index % 2 - (index >> 1).bit_count() for index in range(2 << len(less)))
    return Array(Const(value, signed(3)) for value in sums)[Cat(more, *less)]


class Queue(wiring.Component):
    """First in, first out; ``QUEUE_DEPTH`` words, one in and one out per cycle.

    A word is visible two cycles after its ``write``. It is taken in a cycle with ``valid`` and
    ``take``. There is no "full" signal: a writer that reads a memory ahead must reserve a place
    before the read, so that words in flight and queued words never exceed the depth. From ``take``
    to a register there are two LUTs; the FIFO of Amaranth's library compares its level in this
    path.

    Parameters
    ----------
    width : int
        Bits of a word.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "write": In(1),
                "write_data": In(width),
                "valid": Out(1),
                "data": Out(width),
                "take": In(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.words = words = memory.Memory(shape=self.width, depth=QUEUE_DEPTH, init=[])
        write = words.write_port()
        read = words.read_port(domain="comb")
        written = Signal(range(QUEUE_DEPTH))
        taken = Signal(range(QUEUE_DEPTH))
        # `some`: there are words in the memory. `count`: their number, where a word that has just
        # left (`left`) still counts; so `take`, which comes late in a cycle, reaches no adder.
        count = Signal(range(QUEUE_DEPTH + 2))
        some, several = Signal(), Signal()
        advance, left = Signal(), Signal()
        data = Signal(self.width, reset_less=True)
        m.d.comb += [
            write.addr.eq(written),
            write.data.eq(self.write_data),
            write.en.eq(self.write),
            read.addr.eq(taken),
            advance.eq(some & (~self.valid | self.take)),
            several.eq(count[2:].any() | (count[1] & (count[0] | ~left))),
            self.data.eq(data),
        ]
        m.d.sync += [
            written.eq(written + self.write),
            left.eq(advance),
            count.eq(count + change(self.write, left)),
            some.eq(self.write | Mux(advance, several, some)),
            self.valid.eq(some | (self.valid & ~self.take)),
        ]
        with m.If(advance):
            m.d.sync += taken.eq(taken + 1)
        # An empty memory gives a meaningless word here; ``valid`` is low then.
        with m.If(~self.valid | self.take):
            m.d.sync += data.eq(read.data)
        return m
