"""Requests: their registers, and the check before they are executed."""

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import READABLE, WRITABLE, Correction, HostMap
from residuum.hw.isa.protocol import (
    MAX_BYTES,
    MAX_WORDS,
    MIN_FRAME_WORDS,
    WORD_BYTES,
    Command,
    Status,
)
from residuum.hw.link.frames import INDEX_BITS

LAYER_BITS = 8
# The steps of a RUN request: tau and T, a byte each, and the correction.
STEPS_BITS = 2 * 8 + max(Correction).bit_length()


def request_layout(config: EngineConfig) -> data.StructLayout:
    """The words of a request without the bits that must be zero; the ``_plain`` fields tell whether
    those bits were zero."""
    return data.StructLayout(
        {
            "command": max(Command).bit_length(),
            "command_plain": 1,
            "address": max(HostMap(config).address_bits, 2 * LAYER_BITS),
            "address_plain": 1,
            "count": MAX_BYTES.bit_length(),
            "count_plain": 1,
            "steps_plain": 1,
        }
    )


class RequestCheck(wiring.Component):
    """Checks a request; ``status`` is valid four cycles after ``request`` has changed.

    Members
    -------
    request : In(request_layout)
    words : In
        Words of the frame of the request.
    running : In(1)
        A run is in progress: only STATUS and RESET are executed.
    status : Out(Status)
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "request": In(request_layout(config)),
                "words": In(INDEX_BITS),
                "running": In(1),
                "status": Out(Status),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        request = self.request
        command = request.command
        known = Signal()
        m.d.sync += known.eq(request.command_plain & (command != 0))
        length_good = self._length(m)
        inside, layers_good = self._range(m), self._layers(m)

        in_range = Signal()
        with m.Switch(command):
            with m.Case(Command.READ, Command.WRITE, Command.WRITE_BYTES):
                m.d.comb += in_range.eq(inside)
            with m.Case(Command.RUN):
                m.d.comb += in_range.eq(layers_good)
            with m.Default():
                m.d.comb += in_range.eq(1)
        always = (command == Command.STATUS) | (command == Command.RESET)
        with m.If(self.running & ~(known & always)):
            m.d.sync += self.status.eq(Status.BUSY)
        with m.Elif(~known):
            m.d.sync += self.status.eq(Status.UNKNOWN)
        with m.Elif(~length_good):
            m.d.sync += self.status.eq(Status.LENGTH)
        with m.Elif(~in_range):
            m.d.sync += self.status.eq(Status.RANGE)
        with m.Elif((command == Command.RUN) & ~request.steps_plain):
            m.d.sync += self.status.eq(Status.REFUSED)
        with m.Else():
            m.d.sync += self.status.eq(Status.OK)
        return m

    def _length(self, m: Module) -> Signal:
        """Whether count, payload and the limits agree. The framer already limits the payload
        length."""
        count, command = self.request.count, self.request.command
        payload = Signal(range(WORD_BYTES * (MAX_BYTES + 1)))  # in bytes
        count_good, none, one, few = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [none.eq(count == 0), one.eq(count == 1), few.eq(count <= MAX_WORDS)]
        with m.Switch(command):
            with m.Case(Command.READ):
                m.d.comb += count_good.eq(~none & few)
            with m.Case(Command.WRITE):
                m.d.comb += [count_good.eq(~none), payload.eq(count * WORD_BYTES)]
            with m.Case(Command.WRITE_BYTES):
                m.d.comb += [count_good.eq(~none), payload.eq(count)]
            with m.Case(Command.RUN):
                m.d.comb += [count_good.eq(one), payload.eq(WORD_BYTES)]
            with m.Default():
                m.d.comb += count_good.eq(none)
        words = Signal(len(payload))
        counted, good = Signal(), Signal()
        m.d.sync += [
            words.eq((payload + MIN_FRAME_WORDS * WORD_BYTES + WORD_BYTES - 1) // WORD_BYTES),
            counted.eq(count_good & self.request.count_plain),
            good.eq(counted & (words == self.words)),
        ]
        return good

    def _range(self, m: Module) -> Signal:
        """Whether all addresses are in one region that the command may access."""
        host_map = HostMap(self.config)
        address = self.request.address
        offset = address[: host_map.offset_bits]
        size = Signal(host_map.offset_bits + 1)
        end = Signal(max(len(offset), len(self.request.count)) + 1)
        good = Signal()
        with m.Switch(address[host_map.offset_bits : host_map.address_bits]):
            for region in sorted(READABLE):
                with m.Case(region):
                    allowed = (
                        Const(1) if region in WRITABLE else self.request.command == Command.READ
                    )
                    m.d.sync += size.eq(Mux(allowed, host_map.size(region), 0))
            with m.Default():
                m.d.sync += size.eq(0)
        m.d.sync += [
            end.eq(offset + self.request.count),
            good.eq(self.request.address_plain & (end <= size)),
        ]
        return good

    def _layers(self, m: Module) -> Signal:
        """Whether both layers exist and the first is not after the last."""
        address = self.request.address
        first, last = address[:LAYER_BITS], address[LAYER_BITS : 2 * LAYER_BITS]
        plain = self.request.address_plain & (address[2 * LAYER_BITS :] == 0)
        good = Signal()
        m.d.sync += good.eq(plain & (first <= last) & (last < self.config.layers))
        return good
