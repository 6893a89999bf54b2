"""CRC-32 of zlib and Ethernet, a byte or a bit per cycle.

`Crc32` computes the same as ``amaranth.lib.crc`` in half the LUTs: each bit is a sum over state XOR
byte, and ``clear`` resets the state. `SerialCrc32` is a shift register, in a third of these.
"""

import zlib
from functools import reduce
from operator import xor

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

CRC_BITS = 32
ONES = (1 << CRC_BITS) - 1
POLYNOMIAL = 0xEDB88320  # reflected: bit 31 is that of x**0


def _feedback(value: int, count: int) -> int:
    """The term that ``count`` bytes, shifted out of the state, XOR into the rest of the state.
    ``zlib.crc32`` starts from all ones and inverts its result; the constants cancel both, because
    the CRC is linear."""
    ones = (1 << 8 * count) - 1
    return zlib.crc32((value ^ ones).to_bytes(count, "little")) ^ ONES ^ ONES >> 8 * count


# The state after a whole frame with its CRC (RFC 1952).
RESIDUE = zlib.crc32(zlib.crc32(b"").to_bytes(4, "little")) ^ ONES


class Crc32(wiring.Component):
    """Parameters
    ----------
    bytes_at_once : int
        1 or 2.

    Members
    -------
    clear : In(1)
        Reset the state; data of the same cycle are not taken.
    data : In(8 or 16), valid : In(1)
        A byte; of two, the lower one comes first.
    crc : Out(32)
        The CRC of the bytes of earlier cycles.
    match : Out(1)
        The last four of these bytes are the CRC of the bytes before them, lowest byte first.
    """

    def __init__(self, *, bytes_at_once: int = 1):
        self.bytes_at_once = bytes_at_once
        super().__init__(
            {
                "clear": In(1),
                "data": In(8 * bytes_at_once),
                "valid": In(1),
                "crc": Out(CRC_BITS),
                "match": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        state = Signal(CRC_BITS, init=ONES)
        count = self.bytes_at_once
        bits = 8 * count
        out = Signal(bits)
        m.d.comb += [
            out.eq(state[:bits] ^ self.data),
            self.crc.eq(~state),
            self.match.eq(state == RESIDUE),
        ]
        with m.If(self.valid):
            for index in range(CRC_BITS):
                terms = [out[bit] for bit in range(bits) if _feedback(1 << bit, count) >> index & 1]
                if index < CRC_BITS - bits:
                    terms.append(state[index + bits])
                m.d.sync += state[index].eq(reduce(xor, terms))
        with m.If(self.clear):
            m.d.sync += state.eq(ONES)
        return m


class SerialCrc32(wiring.Component):
    """Members
    -------
    clear : In(1)
        Reset the state.
    bit : In(1), shift : In(1)
        Take a bit, the lowest bit of a byte first.
    out : In(1)
        With ``shift``: move the CRC on by a bit, without taking one.
    byte : Out(8)
        The lowest byte of the CRC of the bits so far.
    """

    def __init__(self) -> None:
        super().__init__(
            {"clear": In(1), "bit": In(1), "shift": In(1), "out": In(1), "byte": Out(8)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        state = Signal(CRC_BITS, init=ONES)
        fed_back = Signal()
        m.d.comb += [fed_back.eq((state[0] ^ self.bit) & ~self.out), self.byte.eq(~state[:8])]
        with m.If(self.shift):
            m.d.sync += state.eq((state >> 1) ^ Mux(fed_back, POLYNOMIAL, 0))
        with m.If(self.clear):
            m.d.sync += state.eq(ONES)
        return m
