"""The words of reads, from the data pins."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.memory.sdram.layouts import WORDS
from residuum.hw.memory.sdram.parts import BURST, WIDTH


class Receiver(wiring.Component):
    """Picks the words of a burst from the data pins.

    Members
    -------
    read, final : In(1)
        A read is decided in this cycle; it is the last of its command.
    data_in : In(16)
        Its first word comes ``delay`` cycles after ``read``, the others in the cycles after it.
    words : Out(WORDS)
        The words, a cycle later.
    """

    def __init__(self, *, delay: int):
        self.delay = delay
        super().__init__(
            {
                "read": In(1),
                "final": In(1),
                "data_in": In(WIDTH),
                "words": Out(WORDS),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        reads, finals = Signal(self.delay), Signal(self.delay)
        left, in_final = Signal(range(BURST)), Signal()
        word = self.words.payload
        m.d.sync += [
            reads.eq(Cat(self.read, reads)),
            finals.eq(Cat(self.final, finals)),
            self.words.valid.eq(reads[-1] | left.any()),
            word.data.eq(self.data_in),
            word.last.eq(in_final & (left == 1)),
        ]
        with m.If(reads[-1]):
            m.d.sync += [left.eq(BURST - 1), in_final.eq(finals[-1])]
        with m.Elif(left.any()):
            m.d.sync += left.eq(left - 1)
        return m
