"""UART: bytes over two wires, 8 data bits, lowest first, no parity, 1 stop bit."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

MIN_CLOCKS_PER_BIT = 6
# Limit of the rounding error of the bit rate. It is far below the 2 % by which the clocks of both
# sides may differ before the last of 10 bits is sampled wrong.
MAX_RATE_ERROR = 1 / 2000


def phase_step(*, clock_hz: int, baud: int) -> tuple[int, int]:
    """Width of a phase accumulator, and its increment per clock for one overflow per bit period.

    A bit period need not be a whole number of clocks. The width is the smallest that meets
    `MAX_RATE_ERROR`.
    """
    for name, value in (("clock_hz", clock_hz), ("baud", baud)):
        if not isinstance(value, int):
            raise TypeError(f"{name} must be an integer, not {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value!r}")
    if clock_hz < MIN_CLOCKS_PER_BIT * baud:
        raise ValueError(
            f"baud must be at most {clock_hz // MIN_CLOCKS_PER_BIT} "
            f"({MIN_CLOCKS_PER_BIT} clocks per bit at {clock_hz} Hz), not {baud!r}"
        )
    bits = 4
    while True:
        step = round(baud * (1 << bits) / clock_hz)
        if abs(step * clock_hz - (baud << bits)) <= MAX_RATE_ERROR * (baud << bits):
            return bits, step
        bits += 1


class UartReceiver(wiring.Component):
    """Receives bytes: each bit is sampled once, in its middle, after two synchronising registers.

    A start bit that ends before its middle is ignored as a glitch.

    Parameters
    ----------
    clock_hz, baud : int
        At least `MIN_CLOCKS_PER_BIT` clocks per bit.

    Members
    -------
    pin : In(1)
    bytes : Out(stream of bytes)
    damaged : Out(1)
        Pulse: a byte was lost, because its stop bit was low (a break of any length counts once) or
        because the byte was not read before the next one arrived.
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self.phase_bits, self.step = phase_step(clock_hz=clock_hz, baud=baud)
        super().__init__(
            {"pin": In(1, init=1), "bytes": Out(stream.Signature(8)), "damaged": Out(1)}
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.pin, line, init=1)

        # The middle of the start bit is half a bit after its edge, which was seen half a clock late
        # on average; the sample comes another clock and a half after the overflow.
        begin = (1 << self.phase_bits - 1) + 2 * self.step
        phase, sample = Signal(self.phase_bits), Signal()
        # Start and data bits, shifted into ones from the high end. When the start bit (0) reaches
        # the low end, all data bits have arrived.
        bits = Signal(9)

        m.d.sync += self.damaged.eq(0)
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [phase.eq(begin), sample.eq(0), bits.eq(~0)]
                with m.If(~line):
                    m.next = "RECEIVE"
            with m.State("RECEIVE"):
                m.d.sync += Cat(phase, sample).eq(phase + self.step)
                with m.If(sample):
                    m.d.sync += bits.eq(Cat(bits[1:], line))
                    with m.If(bits.all() & line):
                        m.next = "IDLE"
                    with m.If(~bits[0]):
                        m.d.sync += [
                            self.bytes.payload.eq(bits[1:]),
                            self.bytes.valid.eq(line),
                            self.damaged.eq(~line | (self.bytes.valid & ~self.bytes.ready)),
                        ]
                        m.next = "RECOVER"
            # After a framing error the line may stay low: only an idle line can start a byte.
            with m.State("RECOVER"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes; ``pin`` is high when idle.

    Parameters
    ----------
    clock_hz, baud : int
        At least `MIN_CLOCKS_PER_BIT` clocks per bit.
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self.phase_bits, self.step = phase_step(clock_hz=clock_hz, baud=baud)
        super().__init__({"bytes": In(stream.Signature(8)), "pin": Out(1, init=1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        phase, shift = Signal(self.phase_bits), Signal()
        sending = Signal()
        bits = Signal(9)  # data and stop bits still to be sent
        m.d.comb += self.bytes.ready.eq(~sending)
        with m.If(~sending):
            m.d.sync += [
                phase.eq(self.step),
                shift.eq(0),
                bits.eq(Cat(self.bytes.payload, Const(1, 1))),
                self.pin.eq(~self.bytes.valid),
                sending.eq(self.bytes.valid),
            ]
        with m.Else():
            m.d.sync += Cat(phase, shift).eq(phase + self.step)
            with m.If(shift):
                m.d.sync += [bits.eq(bits >> 1), self.pin.eq(bits[0] | (bits == 0))]
                with m.If(bits == 0):
                    m.d.sync += sending.eq(0)
        return m


class Uart(wiring.Component):
    """Receiver and transmitter.

    Parameters
    ----------
    clock_hz, baud : int
        At least `MIN_CLOCKS_PER_BIT` clocks per bit.

    Members
    -------
    rx_pin : In(1), tx_pin : Out(1)
    rx : Out(stream of bytes), rx_damaged : Out(1)
        See `UartReceiver`.
    tx : In(stream of bytes)
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self.receiver = UartReceiver(clock_hz=clock_hz, baud=baud)
        self.transmitter = UartTransmitter(clock_hz=clock_hz, baud=baud)
        super().__init__(
            {
                "rx_pin": In(1, init=1),
                "tx_pin": Out(1, init=1),
                "rx": Out(stream.Signature(8)),
                "rx_damaged": Out(1),
                "tx": In(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.receiver = self.receiver
        m.submodules.transmitter = self.transmitter
        wiring.connect(m, self.receiver.bytes, wiring.flipped(self.rx))
        wiring.connect(m, wiring.flipped(self.tx), self.transmitter.bytes)
        m.d.comb += [
            self.receiver.pin.eq(self.rx_pin),
            self.rx_damaged.eq(self.receiver.damaged),
            self.tx_pin.eq(self.transmitter.pin),
        ]
        return m
