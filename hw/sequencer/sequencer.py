"""Runs the layers of a program one after another."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import EngineConfig, bits_for_count
from hw.program import (
    COUNTER_WORDS,
    DESCRIPTOR_WORDS,
    DRAIN_FIELDS,
    HOST_WORD_BITS,
    SCAN_FIELDS,
    LayerDescriptor,
)
from hw.scanner.windows import scan_layout

FETCH_LATENCY = 2


class Sequencer(wiring.Component):
    """Fetches descriptors, starts layers, waits for their last result, files their counters.

    ``run`` starts layers ``first`` to ``last``; ``busy`` is high until the last one is done. The scan
    fields of the next layer are fetched as soon as the last event of the present one is on its way
    (``events_done``), while its neurons still drain; its drain fields when all results are stored
    (``results_done``). Then ``load`` and ``start`` pulse together.

    Counters of a layer are written to the counter memory word by word while the next layer's drain
    fields are fetched.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "run": In(1),
                "first": In(config.layer_bits),
                "last": In(config.layer_bits),
                "busy": Out(1),
                "begin": Out(1),
                "start": Out(1),
                "counting": Out(1),
                "finish": Out(1),
                "events_done": In(1),
                "results_done": In(1),
                "descriptor_address": Out(config.layer_bits + bits_for_count(DESCRIPTOR_WORDS)),
                "descriptor_data": In(HOST_WORD_BITS),
                "scan": Out(scan_layout(config, SCAN_FIELDS)),
                "drain": Out(scan_layout(config, DRAIN_FIELDS)),
                "counter_select": Out(range(COUNTER_WORDS)),
                "counter_write": Out(1),
                "counter_address": Out(config.layer_bits + bits_for_count(COUNTER_WORDS)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config

        layer = Signal(c.layer_bits)
        final = Signal(c.layer_bits)
        filed = Signal(c.layer_bits)
        has_counters = Signal()
        finished = Signal()

        # A word asked for now arrives FETCH_LATENCY cycles later, with its index beside it.
        word = Signal(range(DESCRIPTOR_WORDS))
        fetching = Signal()
        arriving = [(fetching, word)]
        for stage in range(FETCH_LATENCY):
            fetching_next = Signal(name=f"fetching_{stage}")
            word_next = Signal.like(word, name=f"word_{stage}")
            m.d.sync += [fetching_next.eq(arriving[-1][0]), word_next.eq(arriving[-1][1])]
            arriving.append((fetching_next, word_next))
        m.d.comb += self.descriptor_address.eq(Cat(word, layer))
        self._store_fields(m, *arriving[-1])

        with m.If(self.results_done):
            m.d.sync += finished.eq(1)
        m.d.comb += self.finish.eq(self.results_done)

        def fetch_until(names: tuple[str, ...], offset: int) -> Signal:
            """Steps `word` through the fields; high when the last has been stored."""
            end = offset + len(names)
            m.d.comb += fetching.eq(word < end)
            with m.If(word < end):
                m.d.sync += word.eq(word + 1)
            return (word == end) & ~Cat(valid for valid, _ in arriving[1:]).any()

        with m.FSM(name="state") as fsm:
            with m.State("IDLE"):
                m.d.sync += [layer.eq(self.first), final.eq(self.last), word.eq(0)]
                m.d.sync += has_counters.eq(0)
                with m.If(self.run):
                    m.d.comb += self.begin.eq(1)
                    # There is no layer before the first one to wait for.
                    m.d.sync += finished.eq(1)
                    m.next = "FETCH_SCAN"
            with m.State("FETCH_SCAN"):
                with m.If(fetch_until(SCAN_FIELDS, 0) & finished):
                    m.d.sync += finished.eq(0)
                    m.next = "FETCH_DRAIN"
            with m.State("FETCH_DRAIN"):
                self._file_counters(m, word - len(SCAN_FIELDS), filed, has_counters)
                with m.If(fetch_until(DRAIN_FIELDS, len(SCAN_FIELDS))):
                    m.d.comb += self.start.eq(1)
                    m.next = "SCAN"
            with m.State("SCAN"):
                m.d.comb += self.counting.eq(1)
                m.d.sync += [word.eq(0), has_counters.eq(1), filed.eq(layer)]
                with m.If(self.events_done):
                    m.next = "FETCH_SCAN"
                    with m.If(layer == final):
                        m.next = "FINISH"
                    with m.Else():
                        m.d.sync += layer.eq(layer + 1)
            with m.State("FINISH"):
                with m.If(finished):
                    m.d.sync += finished.eq(0)
                    m.next = "FILE"
            with m.State("FILE"):
                self._file_counters(m, word, filed, has_counters)
                m.d.sync += word.eq(word + 1)
                with m.If(word == COUNTER_WORDS - 1):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m

    def _store_fields(self, m: Module, valid: Signal, word: Signal) -> None:
        """Registers of all descriptor fields, each loaded when its word arrives."""
        widths = LayerDescriptor.widths(self.config)
        for index, name in enumerate(SCAN_FIELDS + DRAIN_FIELDS):
            port = self.scan if name in SCAN_FIELDS else self.drain
            field = Signal(unsigned(widths[name]), name=name, reset_less=True)
            with m.If(valid & (word == index)):
                m.d.sync += field.eq(self.descriptor_data)
            m.d.comb += port[name].eq(field)

    def _file_counters(self, m: Module, index, layer: Signal, enable: Signal) -> None:  # type: ignore[no-untyped-def]
        word = Signal(range(COUNTER_WORDS))
        m.d.comb += [
            word.eq(index),
            self.counter_select.eq(word),
            self.counter_write.eq(enable),
            self.counter_address.eq(Cat(word, layer)),
        ]
