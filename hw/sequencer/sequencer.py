"""Runs the layers of a program one after another."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.isa.descriptors import (
    DESCRIPTOR_WORDS,
    DRAIN_FIELDS,
    FIELDS,
    SCAN_FIELDS,
    LayerDescriptor,
)
from residuum.hw.isa.host_map import COUNTER_WORDS, HOST_WORD_BITS
from residuum.hw.layouts import scan_layout

FETCH_LATENCY = 2


class Sequencer(wiring.Component):
    """Fetches descriptors, starts layers, waits for their last result, stores their counters.

    ``run`` starts layers ``first`` to ``last``; ``busy`` is high until the last one is done. While
    the neurons of a layer still drain (from ``events_done`` on), the sequencer fetches the
    descriptor of the next layer: ``scan`` shows it at once, and ``prepare`` starts the window
    generator. When all results are stored (``results_done``), ``start`` pulses: the scanner begins
    to read rows, and ``counting`` is high until ``events_done``. In the next cycle ``load`` pulses,
    and ``drain`` shows the new layer. ``load`` also pulses after a reset, to reset the tiles.

    The counters of a layer are written to the counter memory word by word, from the layer's last
    event on (the cycle count after its last result) and before the next layer's ``start``.
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
                "prepare": Out(1),
                "start": Out(1),
                "load": Out(1, init=1),
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
        finished = Signal()

        counted = Signal(c.layer_bits)
        filing = Signal(range(COUNTER_WORDS + 1), init=COUNTER_WORDS)
        filed = self._file_counters(m, filing, counted, finished)
        places = LayerDescriptor.places(c)
        word = Signal(range(DESCRIPTOR_WORDS + 1))
        fetching = Signal()
        arriving = self._arrivals(m, fetching, word)
        m.d.comb += self.descriptor_address.eq(Cat(word[: bits_for_count(DESCRIPTOR_WORDS)], layer))
        self._store_fields(m, *arriving[-1])

        with m.If(self.results_done):
            m.d.sync += finished.eq(1)
        m.d.comb += self.finish.eq(self.results_done)

        fetched = Signal()
        m.d.comb += fetched.eq(
            (word == len(places)) & ~Cat(valid for valid, _ in arriving[1:]).any()
        )

        # The counters lag behind the events.
        ended, file = Signal(), Signal()
        m.d.sync += file.eq(ended)
        with m.If(file):
            m.d.sync += filing.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [layer.eq(self.first), final.eq(self.last), word.eq(0)]
                with m.If(self.run):
                    m.d.comb += self.begin.eq(1)
                    # The first layer has no predecessor to wait for or to count.
                    m.d.sync += [finished.eq(1), filing.eq(COUNTER_WORDS), self.busy.eq(1)]
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += fetching.eq(word != len(places))
                with m.If(fetching):
                    m.d.sync += word.eq(word + 1)
                with m.If(fetched):
                    m.d.comb += self.prepare.eq(1)
                    m.next = "WAIT"
            with m.State("WAIT"), m.If(finished & filed):
                m.next = "START"
            with m.State("START"):
                m.d.comb += self.start.eq(1)
                m.d.sync += [finished.eq(0), self.counting.eq(1)]
                m.next = "SCAN"
            with m.State("SCAN"):
                m.d.sync += [word.eq(0), counted.eq(layer)]
                with m.If(self.events_done):
                    m.d.comb += ended.eq(1)
                    m.d.sync += self.counting.eq(0)
                    m.next = "FETCH"
                    with m.If(layer == final):
                        m.next = "FINISH"
                    with m.Else():
                        m.d.sync += layer.eq(layer + 1)
            with m.State("FINISH"), m.If(finished & filed):
                m.d.sync += [finished.eq(0), self.busy.eq(0)]
                m.next = "IDLE"
        m.d.sync += self.load.eq(self.start)
        return m

    def _file_counters(self, m: Module, filing: Signal, counted: Signal, finished: Signal) -> Value:
        """Writes the counters of the layer ``counted`` to their memory, word ``filing`` in this
        cycle. The cycle count, final with the last result, is the last word. Returns whether all
        are written."""
        filed = filing == COUNTER_WORDS
        can_file = ~filed & ((filing != COUNTER_WORDS - 1) | finished)
        with m.If(can_file):
            m.d.sync += filing.eq(filing + 1)
        m.d.comb += [
            self.counter_select.eq(filing),
            self.counter_write.eq(can_file),
            self.counter_address.eq(Cat(filing[: bits_for_count(COUNTER_WORDS)], counted)),
        ]
        return filed

    def _arrivals(self, m: Module, fetching: Signal, word: Signal) -> list[tuple[Signal, Signal]]:
        """Whether a word arrives, and its index, 0, 1, ... `FETCH_LATENCY` cycles after the request
        for ``word``."""
        arriving = [(fetching, word)]
        for stage in range(FETCH_LATENCY):
            fetching_next = Signal(name=f"fetching_{stage}")
            word_next = Signal.like(word, name=f"word_{stage}")
            m.d.sync += [fetching_next.eq(arriving[-1][0]), word_next.eq(arriving[-1][1])]
            arriving.append((fetching_next, word_next))
        return arriving

    def _store_fields(self, m: Module, valid: Signal, word: Signal) -> None:
        """Registers of all descriptor fields, loaded when the word that holds them arrives. Fields
        of the drain have a second register, loaded at the start of the layer."""
        c, host_word = self.config, self.descriptor_data
        fetched = Signal(scan_layout(c, FIELDS), reset_less=True)
        for index, place in enumerate(LayerDescriptor.places(c)):
            with m.If(valid & (word == index)):
                m.d.sync += [fetched[name].eq(host_word[low:]) for name, low in place.items()]
        used = Signal(scan_layout(c, DRAIN_FIELDS), reset_less=True)
        with m.If(self.start):
            m.d.sync += [used[name].eq(fetched[name]) for name in DRAIN_FIELDS]
        m.d.comb += self.drain.eq(used)
        m.d.comb += [self.scan[name].eq(fetched[name]) for name in SCAN_FIELDS]
