"""The words that the memory tester writes, and expects."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.host_map import Pattern
from residuum.hw.memory.sdram.parts import WIDTH

SEED_BITS = 32


def random_step(state: int) -> int:
    """The following state of the random words, Marsaglia's xorshift with 13, 17 and 5 (Journal of
    Statistical Software 8 (14), 2003); its lower 16 bits are the word. 0 stays 0."""
    mask = (1 << SEED_BITS) - 1
    state ^= state << 13 & mask
    state ^= state >> 17
    return state ^ state << 5 & mask


class PatternWords(wiring.Component):
    """The words of consecutive addresses.

    Members
    -------
    pattern : In(Pattern)
    restart : In(1), first : In(address), seed : In(32)
        The next word is that of ``first``, with the state of the random words at ``seed``.
    following : In(1)
        The next word is that of the following address.
    address, word : Out
    """

    def __init__(self, address_bits: int):
        super().__init__(
            {
                "pattern": In(Pattern),
                "restart": In(1),
                "first": In(address_bits),
                "seed": In(SEED_BITS),
                "following": In(1),
                "address": Out(address_bits),
                "word": Out(WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        state = Signal(SEED_BITS)
        stages = [Signal(SEED_BITS, name=f"xorshift_{index}") for index in range(3)]
        m.d.comb += [
            stages[0].eq(state ^ state << 13),
            stages[1].eq(stages[0] ^ stages[0] >> 17),
            stages[2].eq(stages[1] ^ stages[1] << 5),
        ]
        with m.If(self.restart):
            m.d.sync += [self.address.eq(self.first), state.eq(self.seed)]
        with m.Elif(self.following):
            m.d.sync += [self.address.eq(self.address + 1), state.eq(stages[2])]

        one = Signal(WIDTH)
        m.d.comb += one.bit_select(self.address[:4], 1).eq(1)
        inverted = (self.pattern == Pattern.WALKING_ZERO) | (self.pattern == Pattern.INVERTED)
        words = {
            Pattern.WALKING_ONE: one,
            Pattern.WALKING_ZERO: one,
            Pattern.ADDRESS: self.address[:WIDTH],
            Pattern.PAGE: self.address[WIDTH:],
        }
        plain = Signal(WIDTH)
        with m.Switch(self.pattern):
            for pattern, word in words.items():
                with m.Case(pattern):
                    m.d.comb += plain.eq(word)
            with m.Default():
                m.d.comb += plain.eq(state)
        m.d.comb += self.word.eq(plain ^ inverted.replicate(WIDTH))
        return m
