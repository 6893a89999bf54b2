"""Adders with one more input, which fits into the carry cells of an ECP5."""

from amaranth.hdl import Const, Elaboratable, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class GatedAdder(wiring.Component):
    """``total`` = (0 if ``clear`` else ``a``) + ``b``, combinational, modulo 2**width.

    A carry cell of ECP5 (CCU2C) has a 4-input LUT per bit, and the gate fits into this LUT.
    Synthesis does not find this and adds another LUT per bit, so the cells are instantiated. The
    LUT computes propagate = (a and not clear) xor b. Where propagate is 0 both operands are equal,
    so b alone is the carry. The cell reads bits 15..8 of the LUT (input D is 1) for propagate, and
    bits 3..0 for the carry.

    Parameters
    ----------
    width, b_width : int
        Bits of ``a`` and ``total``; of ``b``, which is signed.
    ecp5 : bool
        Instantiate CCU2C cells instead of describing the behaviour.
    """

    TABLE = 0xC60C

    def __init__(self, *, width: int, b_width: int, ecp5: bool = False):
        self.width = width
        self.b_width = b_width
        self.ecp5 = ecp5
        super().__init__(
            {
                "a": In(signed(width)),
                "b": In(signed(b_width)),
                "clear": In(1),
                "total": Out(signed(width)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        if not self.ecp5:
            m.d.comb += self.total.eq(Mux(self.clear, 0, self.a) + self.b)
            return m
        b = Signal(signed(self.width))
        m.d.comb += b.eq(self.b)
        clear = Signal(self.width)
        m.d.comb += clear.eq(self.clear.replicate(self.width))
        _carry_chain(m, self.TABLE, self.a, b, clear, self.total)
        return m


class XorAdder(wiring.Component):
    """``total`` = ``a`` + (``b`` xor ``c``), combinational, modulo 2**width.

    As in `GatedAdder`, the third operand costs no LUT: propagate = a xor b xor c, and where it is
    0, a is the carry. One of several values x, y, z is added with one LUT per bit: c = x, and b is
    0 or x xor y or x xor z.

    Parameters
    ----------
    width, operand_width : int
        Bits of ``a`` and ``total``; of ``b`` and ``c``, which are signed.
    ecp5 : bool
        Instantiate CCU2C cells instead of describing the behaviour.
    """

    TABLE = 0x960A

    def __init__(self, *, width: int, operand_width: int, ecp5: bool = False):
        self.width = width
        self.ecp5 = ecp5
        super().__init__(
            {
                "a": In(signed(width)),
                "b": In(signed(operand_width)),
                "c": In(signed(operand_width)),
                "total": Out(signed(width)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        if not self.ecp5:
            m.d.comb += self.total.eq(self.a + (self.b ^ self.c))
            return m
        b, c = Signal(signed(self.width)), Signal(signed(self.width))
        m.d.comb += [b.eq(self.b), c.eq(self.c)]
        _carry_chain(m, self.TABLE, self.a, b, c, self.total)
        return m


def _carry_chain(m: Module, table: int, a: Value, b: Value, c: Value, total: Value) -> None:
    """Two bits in each CCU2C, with ``table`` in both LUTs and 1 at their input D."""
    width = len(total)
    carry: Signal | Const = Const(0)
    for low in range(0, width, 2):
        high = min(low + 1, width - 1)
        sums = Signal(2, name=f"sums_{low}")
        carry_out = Signal(name=f"carry_{low}")
        m.submodules[f"carry_{low}"] = Instance(
            "CCU2C",
            p_INIT0=Const(table, 16),
            p_INIT1=Const(table, 16),
            p_INJECT1_0="NO",
            p_INJECT1_1="NO",
            i_CIN=carry,
            i_A0=a[low],
            i_B0=b[low],
            i_C0=c[low],
            i_D0=Const(1),
            i_A1=a[high],
            i_B1=b[high],
            i_C1=c[high],
            i_D1=Const(1),
            o_S0=sums[0],
            o_S1=sums[1],
            o_COUT=carry_out,
        )
        m.d.comb += total[low].eq(sums[0])
        if high != low:
            m.d.comb += total[high].eq(sums[1])
        carry = carry_out
