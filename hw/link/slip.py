"""SLIP framing (RFC 1055): END delimits frames, ESC escapes END and ESC inside a frame."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.protocol import END, ESC, ESC_END, ESC_ESC


class SlipDecoder(wiring.Component):
    """Removes the framing. One byte per cycle; one cycle of latency.

    Members
    -------
    coded : In(stream of bytes)
        Always ready.
    coded_damaged : In(1)
        A byte was lost or wrong here.
    byte : Out(8), valid : Out(1)
        A byte of a frame, when valid.
    end : Out(1)
        An END was received.
    damaged : Out(1)
        ``coded_damaged``, or an ESC followed by a byte that SLIP does not define. An END after an
        ESC is also damage, and still ends the frame.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "coded": In(stream.Signature(8)),
                "coded_damaged": In(1),
                "byte": Out(8),
                "valid": Out(1),
                "end": Out(1),
                "damaged": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        coded = self.coded.payload
        escaped = Signal()
        is_end, is_escape = coded == END, coded == ESC
        hides_end, hides_escape = coded == ESC_END, coded == ESC_ESC
        m.d.comb += self.coded.ready.eq(1)
        m.d.sync += [
            self.byte.eq(Mux(escaped, Mux(hides_end, END, ESC), coded)),
            self.valid.eq(self.coded.valid & ~is_end & (escaped | ~is_escape)),
            self.end.eq(self.coded.valid & is_end),
            self.damaged.eq(
                self.coded_damaged | (self.coded.valid & escaped & ~hides_end & ~hides_escape)
            ),
        ]
        with m.If(self.coded.valid):
            m.d.sync += escaped.eq(is_escape & ~escaped)
        return m


class SlipEncoder(wiring.Component):
    """Adds the framing. One cycle of latency; accepts at most one byte every second cycle, so that
    no combinational path connects the two streams.

    Members
    -------
    plain : In(stream of {byte, end})
        Bytes of frames; ``end`` sends an END instead.
    coded : Out(stream of bytes)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "plain": In(
                    stream.Signature(data.StructLayout({"byte": unsigned(8), "end": unsigned(1)}))
                ),
                "coded": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        byte, end = self.plain.payload.byte, self.plain.payload.end
        hides_end = byte == END
        hides = ~end & (hides_end | (byte == ESC))
        second = Signal()  # the byte after an ESC is still to be sent
        second_end = Signal()
        m.d.comb += self.plain.ready.eq(~self.coded.valid)
        with m.If(self.plain.valid & self.plain.ready):
            m.d.sync += [
                self.coded.valid.eq(1),
                self.coded.payload.eq(Mux(end, END, Mux(hides, ESC, byte))),
                second.eq(hides),
                second_end.eq(hides_end),
            ]
        with m.Elif(self.coded.ready):
            m.d.sync += [
                self.coded.valid.eq(second),
                self.coded.payload.eq(Mux(second_end, ESC_END, ESC_ESC)),
                second.eq(0),
            ]
        return m
