"""Requests: their registers, and the check before they are executed."""

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.walk import image_layout
from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.host_map import READABLE, WRITABLE, Correction, HostMap
from residuum.hw.isa.protocol import (
    MAX_BYTES,
    MAX_WORDS,
    MIN_FRAME_WORDS,
    WORD_BYTES,
    Command,
    Status,
    longest_request,
)
from residuum.hw.logic import below

LAYER_BITS = 8
# The steps of a RUN request: tau and T, a byte each, and the correction.
STEPS_BITS = 2 * 8 + max(Correction).bit_length()


def request_layout(config: EngineConfig) -> data.StructLayout:
    """The words of a request without the bits that must be zero; the ``_plain`` fields tell whether
    those bits were zero.

    ``words``: those of its frame; ``inference``: T.
    """
    return data.StructLayout(
        {
            "words": bits_for_count(longest_request(config) + 1),
            "command": max(Command).bit_length(),
            "command_plain": 1,
            "address": max(HostMap(config).address_bits, 2 * LAYER_BITS),
            "address_plain": 1,
            "count": (longest_request(config) * WORD_BYTES).bit_length(),
            "count_plain": 1,
            "steps_plain": 1,
            "tau": config.step_count_bits,
            "inference": config.step_count_bits,
            "carry": 1,
        }
    )


class RequestCheck(wiring.Component):
    """Checks a request; ``status`` is valid four cycles after ``request`` has changed, and
    five after ``image``.

    Members
    -------
    request : In(request_layout)
    image : In(image_layout)
        Stays while a CLASSIFY request is checked.
    running : In(1)
        A run is in progress: only STATUS and RESET are executed.
    status : Out(Status)
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "request": In(request_layout(config)),
                "image": In(image_layout()),
                "running": In(1),
                "status": Out(Status),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        request = self.request
        command = request.command
        known = Signal()
        m.d.sync += known.eq(request.command_plain & (command != 0) & (command <= max(Command)))
        length_good = self._length(m)
        inside, layers_good = self._range(m), self._layers(m)

        in_range = Signal()
        with m.Switch(command):
            with m.Case(Command.READ, Command.WRITE, Command.WRITE_BYTES):
                m.d.comb += in_range.eq(inside)
            with m.Case(Command.RUN, Command.CLASSIFY):
                m.d.comb += in_range.eq(layers_good)
            with m.Default():
                m.d.comb += in_range.eq(1)
        runs = (command == Command.RUN) | (command == Command.CLASSIFY)
        possible = Signal()
        steps = Signal(self.config.step_count_bits + 1)
        m.d.sync += [
            steps.eq(request.tau + request.inference),
            possible.eq(
                request.steps_plain
                & (request.inference != 0)
                & below(steps, self.config.steps + 1)
                & ((request.tau == 0) | request.carry | bool(self.config.masks))
                & (self.image.present | (command != Command.CLASSIFY))
            ),
        ]
        always = (command == Command.STATUS) | (command == Command.RESET)
        with m.If(self.running & ~(known & always)):
            m.d.sync += self.status.eq(Status.BUSY)
        with m.Elif(~known):
            m.d.sync += self.status.eq(Status.UNKNOWN)
        with m.Elif(~length_good):
            m.d.sync += self.status.eq(Status.LENGTH)
        with m.Elif(~in_range):
            m.d.sync += self.status.eq(Status.RANGE)
        with m.Elif(runs & ~possible):
            m.d.sync += self.status.eq(Status.REFUSED)
        with m.Else():
            m.d.sync += self.status.eq(Status.OK)
        return m

    def _length(self, m: Module) -> Signal:
        """Whether count, payload and the limits agree. The image of a CLASSIFY must have the bytes
        that the program takes."""
        request = self.request
        count, command = request.count, request.command
        count_good, none, one = Signal(), Signal(), Signal()
        few, few_bytes, all_pixels = Signal(), Signal(), Signal()
        pixels = Signal(len(count) + 1)
        m.d.sync += [
            # An image that is present has fewer bytes than a count can say.
            pixels.eq(self.image.pixels[: len(count)] + 1),
            none.eq(count == 0),
            one.eq(count == 1),
            few.eq((count != 0) & below(count, MAX_WORDS + 1)),
            few_bytes.eq((count != 0) & below(count, MAX_BYTES + 1)),
            all_pixels.eq(Mux(self.image.present, count == pixels, count != 0)),
        ]
        # The words of the payload: as many as the count says, and others.
        counted_words = Signal.like(count)
        more = Signal(range(MIN_FRAME_WORDS + 3))
        m.d.comb += more.eq(MIN_FRAME_WORDS)
        byte_bits = bits_for_count(WORD_BYTES)
        of_bytes, rest = count[byte_bits:], count[:byte_bits].any()
        with m.Switch(command):
            with m.Case(Command.READ):
                m.d.comb += count_good.eq(few)
            with m.Case(Command.WRITE):
                m.d.comb += [count_good.eq(few), counted_words.eq(count)]
            with m.Case(Command.WRITE_BYTES):
                m.d.comb += [
                    count_good.eq(few_bytes),
                    counted_words.eq(of_bytes),
                    more.eq(MIN_FRAME_WORDS + rest),
                ]
            with m.Case(Command.RUN):
                m.d.comb += [count_good.eq(one), more.eq(MIN_FRAME_WORDS + 1)]
            with m.Case(Command.CLASSIFY):
                m.d.comb += [
                    count_good.eq(all_pixels),
                    counted_words.eq(of_bytes),
                    more.eq(MIN_FRAME_WORDS + 1 + rest),
                ]
            with m.Default():
                m.d.comb += count_good.eq(none)
        words = Signal(len(count) + 1)
        counted, good = Signal(), Signal()
        m.d.sync += [
            words.eq(counted_words + more),
            counted.eq(count_good & request.count_plain),
            good.eq(counted & (words == request.words)),
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
        m.d.sync += good.eq(plain & (first <= last) & below(last, self.config.layers))
        return good
