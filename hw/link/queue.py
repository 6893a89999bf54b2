"""Requests that have arrived and wait to be executed, in a ring of block memories."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import RECEIVE_UNIT, EngineConfig, bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS
from residuum.hw.isa.protocol import MAX_REQUESTS, MIN_FRAME_WORDS, Command, longest_request
from residuum.hw.link.frames import FrameReceiver
from residuum.hw.memory.block import BlockMemory

UNIT_BITS = bits_for_count(RECEIVE_UNIT)
HALF = HOST_WORD_BITS // 2


def place_bits(config: EngineConfig) -> int:
    """Width of the address of a word in the ring."""
    return bits_for_count(config.receive_words)


def wrapped(config: EngineConfig, place: Value) -> Value:
    """A place less than twice the size of the ring, inside the ring."""
    units = config.receive_words // RECEIVE_UNIT
    number = place[UNIT_BITS:]
    if units & (units - 1) == 0:
        return place[: place_bits(config)]
    inside = Mux(number >= units, number - units, number)
    return Cat(place[:UNIT_BITS], inside)[: place_bits(config)]


class RequestQueue(wiring.Component):
    """Receives requests, and keeps whole ones in their order until they are released.

    A request is in the ring as a word with its length (low half) and the high half of its CRC (high
    half), then its words. The words of a frame that turns out to be damaged are overwritten by the
    next frame. A frame is dropped, too, if the ring or the number of requests, `MAX_REQUESTS`, has
    no room for it.

    Members
    -------
    rx : In(stream of bytes), rx_damaged : In(1)
        The wire; always ready.
    some : Out(1)
        There is a request; ``head`` is its place in the ring, one before its first word.
    overtaken : Out(1)
        A RESET waits behind the first request.
    release : In(1)
        Remove the first request, whose words are ``length`` in number. The next one may be read
        two cycles later.
    length : In
        See there; stays from ``release`` on for a cycle.
    read_place : In, read_data : Out(32)
        A word of the ring, three cycles later.
    dropped : Out(1)
        Pulse: a frame was dropped.
    active : Out(1)
        A received byte is still being processed, or a request waits.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        place = place_bits(config)
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_damaged": In(1),
                "some": Out(1),
                "head": Out(place),
                "overtaken": Out(1),
                "release": In(1),
                "length": In(bits_for_count(longest_request(config) + 1)),
                "read_place": In(place),
                "read_data": Out(HOST_WORD_BITS),
                "dropped": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        m.submodules.receiver = receiver = FrameReceiver(most_words=longest_request(c))
        m.submodules.ring = ring = BlockMemory(
            width=HOST_WORD_BITS, depth=c.receive_words, ecp5=c.memory == "ecp5"
        )
        wiring.connect(m, wiring.flipped(self.rx), receiver.rx)
        # The EBRs may be far away: their addresses and words are registers.
        read_place = Signal.like(self.read_place, reset_less=True)
        m.d.sync += read_place.eq(self.read_place)
        m.d.comb += [
            receiver.rx_damaged.eq(self.rx_damaged),
            ring.read_address.eq(read_place),
            self.read_data.eq(ring.read_data),
        ]

        # The frame that is being received begins at `begin`, its first word is at `first`, and its
        # next one goes to `place`.
        begin, first, place = (
            Signal(place_bits(c), init=init, name=name)
            for name, init in (("begin", 0), ("first", 1), ("place", 1))
        )
        after, room = Signal.like(self.head), Signal()
        taken, kept, settle = Signal(), Signal(), Signal()
        m.d.sync += [
            after.eq(wrapped(c, place + 1)),
            room.eq((after != self.head) & (place != self.head)),
            settle.eq(receiver.done | receiver.dropped),
            kept.eq(taken),
        ]
        m.d.comb += receiver.room.eq(room)
        with m.If((receiver.write & room) | settle):
            m.d.sync += place.eq(Mux(settle & ~kept, first, after))
        with m.If(taken):
            m.d.sync += begin.eq(place)
        with m.If(kept):
            m.d.sync += first.eq(after)

        # The length and the CRC are written when the frame is whole, before its first word.
        length, enable = Signal(HALF), Signal()
        write_place, word = Signal.like(place), Signal(HOST_WORD_BITS)
        m.d.sync += [
            enable.eq((receiver.write & room) | taken),
            write_place.eq(Mux(taken, begin, place)),
            word.eq(Cat(Mux(taken, length, receiver.word[:HALF]), receiver.word[HALF:])),
        ]
        m.d.comb += [
            length.eq(receiver.length),
            ring.write_enable.eq(enable),
            ring.write_address.eq(write_place),
            ring.write_data.eq(word),
        ]
        is_reset = self._find_reset(m, receiver, settle)
        m.d.comb += taken.eq(self._count(m, receiver, is_reset))
        with m.If(self.release):
            m.d.sync += self.head.eq(wrapped(c, self.head + self.length + 1))
        m.d.comb += self.active.eq(receiver.active | settle | self.some)
        return m

    @staticmethod
    def _find_reset(m: Module, receiver: FrameReceiver, settle: Value) -> Signal:
        """Whether the frame is a RESET that will be executed, unless it is damaged."""
        index = Signal(range(4))  # words so far, at most 3
        is_reset = Signal()
        with m.If(receiver.write):
            with m.If(index != 3):
                m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += is_reset.eq(receiver.word[:HALF] == Command.RESET)
                with m.Case(2):
                    m.d.sync += is_reset.eq(is_reset & (receiver.word == 0))
        with m.If(settle):
            m.d.sync += index.eq(0)
        return is_reset

    def _count(self, m: Module, receiver: FrameReceiver, is_reset: Value) -> Value:
        """Counts the requests. Returns whether there is room for the one that is done."""
        count, last_reset = Signal(range(MAX_REQUESTS + 1)), Signal(range(MAX_REQUESTS + 1))
        many = Signal()
        taken = receiver.done & ~many
        m.d.sync += many.eq(count == MAX_REQUESTS)
        with m.If(taken & ~self.release):
            m.d.sync += count.eq(count + 1)
        with m.Elif(~taken & self.release):
            m.d.sync += count.eq(count - 1)
        # The number of requests up to the last RESET, which included.
        with m.If(taken & is_reset & (receiver.length == MIN_FRAME_WORDS)):
            m.d.sync += last_reset.eq(Mux(self.release, count, count + 1))
        with m.Elif(self.release & (last_reset != 0)):
            m.d.sync += last_reset.eq(last_reset - 1)
        m.d.comb += [self.some.eq(count != 0), self.overtaken.eq(last_reset > 1)]
        m.d.sync += self.dropped.eq(receiver.dropped | (receiver.done & many))
        return taken
