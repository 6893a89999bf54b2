"""Whole frames: received and checked; sent with their CRC."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.crc import Crc32, SerialCrc32
from residuum.hw.isa.config import bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS
from residuum.hw.isa.protocol import MIN_FRAME_WORDS, WORD_BYTES
from residuum.hw.link.slip import SlipDecoder, SlipEncoder


class FrameReceiver(wiring.Component):
    """Receives frames from a stream of bytes, at any time.

    A frame is dropped if it is incomplete, too long, or damaged, or if there is no ``room`` for one
    of its words. An END always ends a frame, so the next frame is not affected.

    Parameters
    ----------
    most_words : int
        Words of the longest frame, its CRC included.

    Members
    -------
    rx : In(stream of bytes), rx_damaged : In(1)
        See `SlipDecoder`.
    write : Out(1), word : Out(32)
        The next word of a frame, its CRC last. ``word`` stays until the cycle after ``done``. At
        least four cycles lie between two words, and between ``done`` and the next word.
    room : In(1)
        There is room for the word; it counts only with ``write``.
    done, dropped : Out(1)
        Pulses: a frame has ended, and was whole; or was dropped.
    length : Out
        Words of the frame that is done.
    active : Out(1)
        A received byte is still being processed.
    """

    def __init__(self, *, most_words: int):
        self.most_words = most_words
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_damaged": In(1),
                "room": In(1),
                "write": Out(1),
                "word": Out(HOST_WORD_BITS),
                "done": Out(1),
                "dropped": Out(1),
                "length": Out(bits_for_count(most_words + 1)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.decoder = decoder = SlipDecoder()
        m.submodules.crc = crc = Crc32()
        wiring.connect(m, wiring.flipped(self.rx), decoder.coded)
        m.d.comb += [
            decoder.coded_damaged.eq(self.rx_damaged),
            crc.data.eq(decoder.byte),
            crc.valid.eq(decoder.valid),
            crc.clear.eq(decoder.end),
        ]
        words = Signal.like(self.length)
        too_long = Signal()
        place = Signal(range(WORD_BYTES))
        some, void = Signal(), Signal()
        m.d.sync += [self.write.eq(0), too_long.eq(words == self.most_words)]
        with m.If(decoder.valid):
            m.d.sync += [
                self.word.eq(Cat(self.word[8:], decoder.byte)),
                place.eq(place + 1),
                some.eq(1),
            ]
            with m.If(too_long):
                m.d.sync += void.eq(1)
            with m.Elif(place == WORD_BYTES - 1):
                m.d.sync += [self.write.eq(~void), words.eq(words + 1)]
        bad = decoder.damaged | (self.write & ~self.room)
        with m.If(bad):
            m.d.sync += void.eq(1)

        # The check takes two cycles: lengths in the first, the CRC in the second.
        ended, whole, matched = Signal(), Signal(), Signal()
        enough = Signal()
        m.d.sync += [
            enough.eq(words >= MIN_FRAME_WORDS),
            ended.eq(decoder.end & (some | void | decoder.damaged)),
            whole.eq(~(void | bad) & (place == 0)),
            matched.eq(crc.match),
        ]
        good = whole & enough & matched
        m.d.comb += [self.done.eq(ended & good), self.dropped.eq(ended & ~good)]
        with m.If(decoder.end):
            m.d.sync += [place.eq(0), words.eq(0), some.eq(0), void.eq(0)]
            with m.If(some):
                m.d.sync += self.length.eq(words)
        m.d.comb += self.active.eq(decoder.valid | decoder.end | ended | self.write)
        return m


class FrameSender(wiring.Component):
    """Sends frames: END, the words lowest byte first, their CRC, END; at most one byte every tenth
    cycle, as the CRC takes a bit per cycle.

    Members
    -------
    words : In(stream of {word, last})
        The words of the frame to be sent; ``last`` marks the last of them.
    tx : Out(stream of bytes)
    active : Out(1)
        A byte is still to be sent.
    """

    def __init__(self) -> None:
        outgoing = data.StructLayout({"word": unsigned(HOST_WORD_BITS), "last": unsigned(1)})
        super().__init__(
            {
                "words": In(stream.Signature(outgoing)),
                "tx": Out(stream.Signature(8)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.encoder = encoder = SlipEncoder()
        m.submodules.crc = crc = SerialCrc32()
        wiring.connect(m, encoder.coded, wiring.flipped(self.tx))
        place, bit = Signal(range(WORD_BYTES)), Signal(range(8))
        tail = Signal()
        plain = encoder.plain
        taken = plain.valid & plain.ready
        rest = Signal(8)  # bits of the byte that the CRC has still to take
        m.d.sync += rest.eq(rest >> 1)
        m.d.comb += [crc.bit.eq(rest[0]), crc.out.eq(tail)]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += tail.eq(0)
                m.d.comb += crc.clear.eq(1)
                with m.If(self.words.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [plain.valid.eq(1), plain.payload.end.eq(1)]
                with m.If(taken):
                    m.next = "CHOOSE"
            with m.State("CHOOSE"):
                byte = Mux(tail, crc.byte, self.words.payload.word.word_select(place, 8))
                m.d.sync += [plain.payload.byte.eq(byte), rest.eq(byte)]
                with m.If(self.words.valid | tail):
                    m.next = "PUT"
            with m.State("PUT"):
                m.d.comb += crc.shift.eq(1)
                m.d.sync += bit.eq(bit + 1)
                with m.If(bit == 7):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += plain.valid.eq(1)
                with m.If(taken):
                    m.d.sync += place.eq(place + 1)
                    m.next = "CHOOSE"
                    with m.If(place == WORD_BYTES - 1):
                        m.d.comb += self.words.ready.eq(~tail)
                        m.d.sync += tail.eq(self.words.payload.last)
                        with m.If(tail):
                            m.next = "END"
            with m.State("END"):
                m.d.comb += [plain.valid.eq(1), plain.payload.end.eq(1)]
                with m.If(taken):
                    m.next = "IDLE"
        m.d.comb += self.active.eq(~fsm.ongoing("IDLE") | self.tx.valid)
        return m
