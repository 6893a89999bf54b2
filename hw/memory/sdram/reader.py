"""The reads of an engine's weight ring, as commands of the SDRAM controller."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.memory.ring import RowsPort
from residuum.hw.memory.sdram.layouts import WORDS, read_layout
from residuum.hw.memory.sdram.parts import Part

# Reads of chunks that are under way at a time.
MAX_READS = 3


class WeightReader(wiring.Component):
    """Reads chunks of weight rows, and drops the words that the engine has asked for before a reset
    or the end of its run. The reset of the engine must not reset this.

    Members
    -------
    rows : In(RowsPort)
        Of the engine.
    reads : Out(stream of read_layout), words : In(WORDS)
        Of the controller.
    hold : In(1)
        The controller has another user.
    busy : Out(1)
        Words are still to come.
    """

    def __init__(self, config: EngineConfig, part: Part):
        self.config = config
        super().__init__(
            {
                "rows": In(RowsPort(config)),
                "reads": Out(stream.Signature(read_layout(part))),
                "words": In(WORDS),
                "hold": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        rows = self.rows
        under_way = Signal(range(MAX_READS + 1))
        dropping, ready = Signal(), Signal()
        asked, ended = rows.reads.valid & ready, Signal()
        # A read waits in a register: the controller is far from the engine.
        waiting, first = Signal(), Signal.like(rows.reads.payload)
        with m.If(self.reads.ready & self.reads.valid):
            m.d.sync += waiting.eq(0)
        with m.If(asked):
            m.d.sync += [waiting.eq(1), first.eq(rows.reads.payload)]
        m.d.sync += [
            ready.eq(
                ~(ready | waiting | dropping | rows.discard | self.hold) & (under_way != MAX_READS)
            ),
            ended.eq(self.words.valid & self.words.payload.last),
            under_way.eq(under_way + asked - ended),
            dropping.eq((dropping | rows.discard) & self.busy),
        ]
        m.d.comb += [
            self.reads.valid.eq(waiting),
            rows.reads.ready.eq(ready),
            self.reads.payload.first.eq(first),
            self.reads.payload.count.eq(self.config.row_words),
            rows.valid.eq(self.words.valid & ~dropping),
            rows.word.eq(self.words.payload.data),
            self.busy.eq(under_way != 0),
        ]
        return m
