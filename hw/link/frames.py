"""Whole frames: checked and put into a buffer on their way in, given their CRC on their way out."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from hw.config import bits_for_count
from hw.link.protocol import MAX_FRAME_WORDS, MIN_FRAME_WORDS, WORD_BYTES
from hw.link.slip import SlipDecoder, SlipEncoder
from hw.program import HOST_WORD_BITS

INDEX_BITS = bits_for_count(MAX_FRAME_WORDS)


class FrameReceiver(wiring.Component):
    """Writes the words of a frame to a buffer and tells whether it is whole.

    A frame is dropped if it is cut, too long, or damaged, or if one of its bytes comes while the
    buffer is ``full``. An END always ends it: the next frame is not concerned.

    Members
    -------
    coded : In(stream of bytes), coded_damaged : In(1)
        See `SlipDecoder`.
    write : Out(1), index : Out, word : Out(32)
        Word `index` of the frame, for the buffer.
    full : Out(1)
        From the end of a whole frame until ``release``: nothing is written.
    length : Out
        Words of the frame in the buffer, its CRC included.
    release : In(1)
    dropped : Out(1)
        Pulse: a frame was dropped.
    active : Out(1)
        Something that came has not had its effect yet.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "coded": In(stream.Signature(8)),
                "coded_damaged": In(1),
                "write": Out(1),
                "index": Out(INDEX_BITS),
                "word": Out(HOST_WORD_BITS),
                "full": Out(1),
                "length": Out(INDEX_BITS),
                "release": In(1),
                "dropped": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.slip = slip = SlipDecoder()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        wiring.connect(m, wiring.flipped(self.coded), slip.coded)
        m.d.comb += [
            slip.coded_damaged.eq(self.coded_damaged),
            crc.data.eq(slip.byte),
            crc.valid.eq(slip.valid),
            crc.start.eq(slip.end),
        ]

        words = Signal(INDEX_BITS)
        place = Signal(range(WORD_BYTES))
        void, some = Signal(), Signal()
        m.d.sync += self.write.eq(0)
        with m.If(slip.valid):
            m.d.sync += [
                self.word.eq(Cat(self.word[8:], slip.byte)),
                place.eq(place + 1),
                some.eq(1),
            ]
            with m.If(self.full | (words == MAX_FRAME_WORDS)):
                m.d.sync += void.eq(1)
            with m.Elif(place == WORD_BYTES - 1):
                m.d.sync += [
                    self.write.eq(~void),
                    self.index.eq(words),
                    words.eq(words + 1),
                ]
        with m.If(slip.damaged):
            m.d.sync += void.eq(1)

        # The verdict takes two cycles: lengths in the first, the CRC in the second.
        ended, whole, matched = Signal(), Signal(), Signal()
        enough = ~void & ~slip.damaged & (place == 0) & (words >= MIN_FRAME_WORDS)
        m.d.sync += [
            ended.eq(slip.end & (some | void | slip.damaged)),
            whole.eq(enough),
            matched.eq(crc.match_detected),
            self.dropped.eq(ended & ~(whole & matched)),
        ]
        with m.If(slip.end):
            m.d.sync += [place.eq(0), words.eq(0), void.eq(0), some.eq(0)]
            with m.If(enough & ~self.full):
                m.d.sync += self.length.eq(words)
        with m.If(self.release):
            m.d.sync += self.full.eq(0)
        with m.If(ended & whole & matched):
            m.d.sync += self.full.eq(1)
        m.d.comb += self.active.eq(slip.valid | slip.end | ended | self.full)
        return m


class FrameSender(wiring.Component):
    """Sends words as a frame: END, the words lowest byte first, their CRC, END.

    Members
    -------
    words : In(stream of {word, last})
        ``last`` ends the frame.
    coded : Out(stream of bytes)
    active : Out(1)
        Something is still to be sent.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "words": In(
                    stream.Signature(
                        data.StructLayout({"word": unsigned(HOST_WORD_BITS), "last": unsigned(1)})
                    )
                ),
                "coded": Out(stream.Signature(8)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.slip = slip = SlipEncoder()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        wiring.connect(m, slip.coded, wiring.flipped(self.coded))

        left = Signal(HOST_WORD_BITS, reset_less=True)
        place = Signal(range(WORD_BYTES))
        last = Signal()
        sent = Signal()
        m.d.comb += [
            slip.plain.payload.byte.eq(left[:8]),
            sent.eq(slip.plain.valid & slip.plain.ready),
            crc.data.eq(left[:8]),
        ]

        def send_bytes(then: str) -> None:
            m.d.comb += slip.plain.valid.eq(1)
            with m.If(sent):
                m.d.sync += [left.eq(left[8:]), place.eq(place + 1)]
                with m.If(place == WORD_BYTES - 1):
                    m.next = then

        def send_end(then: str) -> None:
            m.d.comb += [slip.plain.valid.eq(1), slip.plain.payload.end.eq(1)]
            with m.If(sent):
                m.next = then

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += crc.start.eq(1)
                with m.If(self.words.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                send_end("TAKE")
            with m.State("TAKE"):
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += [left.eq(self.words.payload.word), last.eq(self.words.payload.last)]
                with m.If(self.words.valid):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += crc.valid.eq(sent)
                send_bytes("NEXT")
            with m.State("NEXT"):
                m.d.sync += left.eq(crc.crc)
                m.next = "TAKE"
                with m.If(last):
                    m.next = "CRC"
            with m.State("CRC"):
                send_bytes("END")
            with m.State("END"):
                send_end("IDLE")
        m.d.comb += self.active.eq(~fsm.ongoing("IDLE") | self.coded.valid)
        return m
