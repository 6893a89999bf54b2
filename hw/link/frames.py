"""Whole frames: received into a buffer and checked; sent with their CRC."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import bits_for_count
from residuum.hw.isa.host_map import HOST_WORD_BITS
from residuum.hw.isa.protocol import MAX_FRAME_WORDS, MIN_FRAME_WORDS, WORD_BYTES
from residuum.hw.link.crc import Crc32
from residuum.hw.link.slip import SlipDecoder, SlipEncoder

INDEX_BITS = bits_for_count(MAX_FRAME_WORDS)


class Framer(wiring.Component):
    """Receives frames from one stream of bytes and sends frames on another, in one direction at a
    time: both share the CRC unit.

    A received frame is dropped if it is incomplete, too long, or damaged, or if one of its bytes
    arrives while the buffer is ``full`` or a frame is being sent. An END always ends a frame, so
    the next frame is not affected. A frame is sent as END, its words lowest byte first, their CRC,
    END; at most one byte every second cycle.

    Members
    -------
    rx : In(stream of bytes), rx_damaged : In(1)
        See `SlipDecoder`.
    write : Out(1), index : Out, word : Out(32)
        Word ``index`` of the received frame, to be written to the buffer.
    full : Out(1)
        From the end of a whole frame until ``release``: nothing is written.
    length : Out
        Words of the frame in the buffer, its CRC included.
    release : In(1)
    dropped : Out(1)
        Pulse: a frame was dropped.
    words : In(stream of {word, last})
        The words of the frame to be sent; ``last`` marks the last of them.
    tx : Out(stream of bytes)
    active : Out(1)
        A received byte is still being processed, or a byte is still to be sent.
    """

    def __init__(self) -> None:
        outgoing = data.StructLayout({"word": unsigned(HOST_WORD_BITS), "last": unsigned(1)})
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_damaged": In(1),
                "write": Out(1),
                "index": Out(INDEX_BITS),
                "word": Out(HOST_WORD_BITS),
                "full": Out(1),
                "length": Out(INDEX_BITS),
                "release": In(1),
                "dropped": Out(1),
                "words": In(stream.Signature(outgoing)),
                "tx": Out(stream.Signature(8)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.decoder = decoder = SlipDecoder()
        m.submodules.encoder = encoder = SlipEncoder()
        m.submodules.crc = crc = Crc32()
        wiring.connect(m, wiring.flipped(self.rx), decoder.coded)
        wiring.connect(m, encoder.coded, wiring.flipped(self.tx))

        sending, sent = Signal(), Signal()
        m.d.comb += [
            decoder.coded_damaged.eq(self.rx_damaged),
            crc.byte.eq(Mux(sending, encoder.plain.payload.byte, decoder.byte)),
            crc.valid.eq(Mux(sending, sent, decoder.valid)),
        ]
        self._send(m, encoder, crc, sending, sent)
        settled = self._receive(m, decoder, crc, sending)
        with m.If(~sending):
            m.d.comb += crc.clear.eq(decoder.end)
        m.d.comb += self.active.eq(~settled | sending | self.tx.valid)
        return m

    def _send(
        self, m: Module, encoder: SlipEncoder, crc: Crc32, sending: Signal, sent: Signal
    ) -> None:
        """Sends words, then the CRC, as bytes. ``sending`` is high until the last END is sent;
        ``sent`` is high with each byte for the CRC unit."""
        place = Signal(range(WORD_BYTES))
        tail = Signal()
        plain = encoder.plain
        taken = plain.valid & plain.ready
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += tail.eq(0)
                with m.If(self.words.valid):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [crc.clear.eq(1), plain.valid.eq(1), plain.payload.end.eq(1)]
                with m.If(taken):
                    m.next = "CHOOSE"
            with m.State("CHOOSE"):
                m.d.sync += plain.payload.byte.eq(
                    Mux(tail, crc.crc, self.words.payload.word).word_select(place, 8)
                )
                with m.If(self.words.valid | tail):
                    m.next = "PUT"
            with m.State("PUT"):
                m.d.comb += plain.valid.eq(1)
                with m.If(taken):
                    m.d.comb += sent.eq(~tail)
                    m.d.sync += place.eq(place + 1)
                    m.next = "CHOOSE"
                    with m.If(place == WORD_BYTES - 1):
                        m.d.comb += self.words.ready.eq(~tail)
                        m.d.sync += tail.eq(self.words.payload.last)
                        with m.If(tail):
                            m.next = "END"
            with m.State("END"):
                m.d.comb += [crc.clear.eq(1), plain.valid.eq(1), plain.payload.end.eq(1)]
                with m.If(taken):
                    m.next = "IDLE"
        m.d.comb += sending.eq(~fsm.ongoing("IDLE"))

    def _receive(self, m: Module, decoder: SlipDecoder, crc: Crc32, sending: Signal) -> Value:
        """Packs bytes into words of the buffer and checks the frame at its END. Returns whether all
        received bytes have been processed."""
        words = Signal(INDEX_BITS)
        place = Signal(range(WORD_BYTES))
        some, void = Signal(), Signal()
        m.d.sync += self.write.eq(0)
        with m.If(decoder.valid):
            m.d.sync += [
                self.word.eq(Cat(self.word[8:], decoder.byte)),
                place.eq(place + 1),
                some.eq(1),
            ]
            with m.If(self.full | (words == MAX_FRAME_WORDS)):
                m.d.sync += void.eq(1)
            with m.Elif(place == WORD_BYTES - 1):
                m.d.sync += [self.write.eq(~void), self.index.eq(words), words.eq(words + 1)]
        with m.If(decoder.damaged | (sending & (some | decoder.valid))):
            m.d.sync += void.eq(1)

        # The check takes two cycles: lengths in the first, the CRC in the second.
        ended, whole, matched = Signal(), Signal(), Signal()
        enough = ~(void | decoder.damaged | sending) & (place == 0) & (words >= MIN_FRAME_WORDS)
        m.d.sync += [
            ended.eq(decoder.end & (some | void | decoder.damaged)),
            whole.eq(enough),
            matched.eq(crc.match),
            self.dropped.eq(ended & ~(whole & matched)),
        ]
        with m.If(decoder.end):
            m.d.sync += [place.eq(0), words.eq(0), some.eq(0), void.eq(0)]
            with m.If(enough & ~self.full):
                m.d.sync += self.length.eq(words)
        with m.If(self.release):
            m.d.sync += self.full.eq(0)
        with m.If(ended & whole & matched):
            m.d.sync += self.full.eq(1)
        return ~(decoder.valid | decoder.end | ended | self.full)
