"""The adder of every accumulator."""

from amaranth.hdl import Const, Elaboratable, Instance, Module, Mux, Signal, signed
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
        carry: Signal | Const = Const(0)
        for low in range(0, self.width, 2):
            high = min(low + 1, self.width - 1)
            sums = Signal(2, name=f"sums_{low}")
            carry_out = Signal(name=f"carry_{low}")
            m.submodules[f"carry_{low}"] = Instance(
                "CCU2C",
                p_INIT0=Const(self.TABLE, 16),
                p_INIT1=Const(self.TABLE, 16),
                p_INJECT1_0="NO",
                p_INJECT1_1="NO",
                i_CIN=carry,
                i_A0=self.a[low],
                i_B0=b[low],
                i_C0=self.clear,
                i_D0=Const(1),
                i_A1=self.a[high],
                i_B1=b[high],
                i_C1=self.clear,
                i_D1=Const(1),
                o_S0=sums[0],
                o_S1=sums[1],
                o_COUT=carry_out,
            )
            m.d.comb += self.total[low].eq(sums[0])
            if high != low:
                m.d.comb += self.total[high].eq(sums[1])
            carry = carry_out
        return m
