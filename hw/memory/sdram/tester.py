"""Tests an SDRAM: writes a pattern to a range of addresses, reads it back, counts wrong words.
Also gives the CRC of the words that it reads."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.crc import CRC_BITS, Crc32
from residuum.hw.isa.host_map import Pattern
from residuum.hw.memory.sdram.layouts import WORDS, address_layout, read_layout, write_layout
from residuum.hw.memory.sdram.parts import BURST, WIDTH, Part
from residuum.hw.memory.sdram.patterns import SEED_BITS, PatternWords


class MemoryTester(wiring.Component):
    """Writes a pattern, or reads and compares it, or both, one after the other.

    Writing and reading are two runs where time shall pass in between, for rows that lose their
    words. All inputs but the streams hold still while ``busy``.

    Members
    -------
    start : In(1)
        Begins a run, while not ``busy``; clears the results.
    writing, reading : In(1)
        What the run does; with both, it writes first.
    pattern : In(Pattern), seed : In(32)
        The seed of random words, not 0.
    first, count : In
        A range of bursts of 8 words, as in `read_layout`; not empty.
    busy : Out(1)
    errors : Out
        Number of wrong words.
    bad_bits : Out(16)
        The bits that were wrong in some word.
    first_bad : Out(address_layout), first_expected, first_read : Out(16)
        The first wrong word: its address, what it should be, and what it was. For ``errors`` > 0.
    crc : Out(32)
        CRC-32 of the words of the last reading, the lower byte of each first.
    reads, writes, words
        To the controller, which has nothing else to do meanwhile.
    """

    def __init__(self, part: Part):
        self.part = part
        read, write, address = read_layout(part), write_layout(part), address_layout(part)
        super().__init__(
            {
                "start": In(1),
                "writing": In(1),
                "reading": In(1),
                "pattern": In(Pattern),
                "seed": In(SEED_BITS),
                "first": In(read["first"].shape),
                "count": In(read["count"].shape),
                "busy": Out(1),
                "errors": Out(address.size + 1),
                "bad_bits": Out(WIDTH),
                "first_bad": Out(address),
                "first_expected": Out(WIDTH),
                "first_read": Out(WIDTH),
                "crc": Out(CRC_BITS),
                "reads": Out(stream.Signature(read)),
                "writes": Out(stream.Signature(write)),
                "words": In(WORDS),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        address_bits = address_layout(self.part).size
        m.submodules.patterns = patterns = PatternWords(address_bits)
        write: Any = self.writes.payload
        left = Signal(address_bits + 1)
        taken = self.writes.valid & self.writes.ready
        m.d.comb += [
            patterns.pattern.eq(self.pattern),
            patterns.seed.eq(self.seed),
            patterns.first.eq(self.first * BURST),
            write.address.as_value().eq(patterns.address),
            write.data.eq(patterns.word),
            self.reads.payload.first.eq(self.first),
            self.reads.payload.count.eq(self.count),
            patterns.following.eq(taken | self.words.valid),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += patterns.restart.eq(1)
                m.d.sync += left.eq(self.count * BURST)
                with m.If(self.start & self.writing):
                    m.next = "WRITE"
                with m.Elif(self.start & self.reading):
                    m.next = "ASK"
            with m.State("WRITE"):
                m.d.comb += self.writes.valid.eq(1)
                with m.If(taken):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += patterns.restart.eq(1)
                m.next = "IDLE"
                with m.If(self.reading):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.reads.valid.eq(1)
                with m.If(self.reads.ready):
                    m.next = "READ"
            with m.State("READ"), m.If(self.words.valid & self.words.payload.last):
                m.next = "COMPARE"
            with m.State("COMPARE"):
                # Two cycles later than the last word.
                m.next = "COUNT"
            with m.State("COUNT"):
                m.next = "IDLE"
        m.submodules.crc = crc = Crc32(bytes_at_once=WIDTH // 8)
        m.d.comb += [self.busy.eq(~fsm.ongoing("IDLE")), self.crc.eq(crc.crc)]
        m.d.sync += [
            crc.data.eq(self.words.payload.data),
            crc.valid.eq(self.words.valid),
            crc.clear.eq(fsm.ongoing("ASK")),
        ]
        self._compare(m, patterns, clear=self.start & fsm.ongoing("IDLE"))
        return m

    def _compare(self, m: Module, patterns: PatternWords, *, clear: Any) -> None:
        """Compares the words in two stages, and keeps the results."""
        valid, read, expected = Signal(), Signal(WIDTH), Signal(WIDTH)
        address, address_1 = Signal.like(patterns.address), Signal.like(patterns.address)
        wrong, differences = Signal(), Signal(WIDTH)
        read_1, expected_1 = Signal(WIDTH), Signal(WIDTH)
        m.d.sync += [
            valid.eq(self.words.valid),
            read.eq(self.words.payload.data),
            expected.eq(patterns.word),
            address.eq(patterns.address),
            wrong.eq(valid & (read != expected)),
            differences.eq(read ^ expected),
            read_1.eq(read),
            expected_1.eq(expected),
            address_1.eq(address),
        ]
        with m.If(clear):
            m.d.sync += [self.errors.eq(0), self.bad_bits.eq(0)]
        with m.Elif(wrong):
            m.d.sync += [
                self.errors.eq(self.errors + 1),
                self.bad_bits.eq(self.bad_bits | differences),
            ]
            with m.If(self.bad_bits == 0):
                m.d.sync += [
                    self.first_bad.as_value().eq(address_1),
                    self.first_expected.eq(expected_1),
                    self.first_read.eq(read_1),
                ]
        return
