"""The refill side of a weight store that is a ring of weight rows, read ahead from an external
memory."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import (
    CHUNK_ROWS,
    EXTERNAL_WORD_BITS,
    EngineConfig,
    bits_for_count,
)
from residuum.hw.isa.host_map import HOST_WORD_BITS
from residuum.hw.layouts import fill_layout
from residuum.hw.logic import delayed

# Cycles from ``hold`` to the cycle in which the second event's weight row of the scanner's token
# would be given to the first tile, less one: a row of the ring takes its place there.
FILL_LATENCY = 4
# Cycles from a word to the same cycle; a row is whole with its last word.
WORD_LATENCY = FILL_LATENCY + 2


class RowsPort(wiring.Signature):
    """The weight rows of an external memory.

    Members
    -------
    reads : Out(stream)
        A chunk of weight rows, by its first burst.
    words : In(16), valid : In(1)
        The words of all chunks, in order. Nothing stops them.
    discard : Out(1)
        The words of chunks that were asked for are not wanted any more; no other chunk is read
        before all of them have come.
    """

    def __init__(self, config: EngineConfig):
        super().__init__(
            {
                "reads": Out(stream.Signature(unsigned(config.burst_bits))),
                "valid": In(1),
                "word": In(EXTERNAL_WORD_BITS),
                "discard": Out(1),
            }
        )


class ExternalHostPort(wiring.Signature):
    """Accesses of the host to an external memory, as on a `HostPort`, with the address inside
    `Region.EXTERNAL`, or with ``test`` inside `Region.MEMORY_TEST`. An answer comes at any time;
    the next access comes after it."""

    def __init__(self, config: EngineConfig):
        super().__init__(
            {
                "address": Out(max(1, config.external - 1)),
                "test": Out(1),
                "write_data": Out(HOST_WORD_BITS),
                "write": Out(1),
                "read": Out(1),
                "read_data": In(HOST_WORD_BITS),
                "read_valid": In(1),
            }
        )


class ExternalPort(wiring.Signature):
    """An external memory, as the engine sees it.

    Members
    -------
    rows : Out(RowsPort)
    host : Out(ExternalHostPort)
    """

    def __init__(self, config: EngineConfig):
        super().__init__({"rows": Out(RowsPort(config)), "host": Out(ExternalHostPort(config))})


class WeightRing(wiring.Component):
    """Reads the weight rows of a run in the order in which the layers need them, ahead of need, and
    writes them into the weight store, one row after another, as long as there is room.

    A group of output channels starts when all its rows are there (``groups`` accepts it), and its
    rows are released with its last window. Rows are counted in chunks. Groups whose rows the store
    holds, without an external memory, are accepted at once.

    Members
    -------
    groups : In(stream of weight rows)
        The first weight row of the next group.
    begin : In(1), running : In(1)
        A run begins, or is in progress.
    chunks : In, burst : In
        Those of the layer (`LayerDescriptor`).
    released : In(1)
        The last window of a group is over.
    hold : Out(1)
        No second event in the next token but one.
    fill : Out(fill_layout)
        The row that takes the place of the second event's.
    valid : Out(1), word : Out(16)
        The words of the rows, for the first tile.
    external : Out(RowsPort)
    stall : Out(1)
        A group waits for its rows.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "groups": In(stream.Signature(unsigned(config.weight_row_bits))),
                "begin": In(1),
                "running": In(1),
                "chunks": In(config.chunk_bits),
                "burst": In(config.burst_bits),
                "released": In(1),
                "hold": Out(1),
                "fill": Out(fill_layout(config)),
                "valid": Out(1),
                "word": Out(EXTERNAL_WORD_BITS),
                "external": Out(RowsPort(config)),
                "stall": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        # `fresh`: no row of this run has been asked for.
        active, fresh, starting = Signal(), Signal(), Signal()
        resident = Signal(reset_less=True)
        m.d.sync += resident.eq(self.chunks == 0)
        m.d.comb += starting.eq(self.groups.valid & fresh & ~resident)
        with m.If(starting):
            m.d.sync += [fresh.eq(0), active.eq(1)]
        with m.If(self.begin):
            m.d.sync += fresh.eq(1)
        with m.If(~self.running):
            m.d.sync += active.eq(0)
        m.d.comb += self.external.discard.eq(~active)
        chunk_there = self._fill(m, active, starting)
        self._ask(m, active, starting)
        self._grant(m, active, resident, chunk_there)
        return m

    def _ask(self, m: Module, active: Signal, starting: Value) -> None:
        """Reads chunk after chunk while the store has room."""
        c = self.config
        reads = self.external.reads
        room = Signal(c.chunk_bits, reset_less=True)
        asking, taken, took = Signal(), Signal(), Signal()
        m.d.comb += [
            reads.valid.eq(asking & active),
            reads.payload.eq(self._next_burst(m, starting, taken)),
            taken.eq(reads.valid & reads.ready),
        ]
        released = Signal.like(self.chunks, reset_less=True)
        m.d.sync += [
            released.eq(Mux(self.released, self.chunks, 0)),
            took.eq(taken),
            room.eq(room + released - took),
            asking.eq(active & ~taken & (asking | (~took & (room != 0)))),
        ]
        with m.If(starting):
            m.d.sync += room.eq(c.weight_rows // CHUNK_ROWS)

    def _next_burst(self, m: Module, starting: Value, taken: Value) -> Signal:
        burst = Signal(self.config.burst_bits, reset_less=True)
        with m.If(starting):
            m.d.sync += burst.eq(self.burst)
        with m.Elif(taken):
            # A chunk takes as many bursts as a row has words.
            m.d.sync += burst.eq(burst + self.config.row_words)
        return burst

    def _fill(self, m: Module, active: Signal, starting: Value) -> Signal:
        """Puts words together to rows. Returns a pulse for each chunk in the store."""
        c, external = self.config, self.external
        words = Signal(range(c.row_words), reset_less=True)
        rows = Signal(c.weight_row_bits, reset_less=True)
        last, whole, there = Signal(reset_less=True), Signal(), Signal()
        came = external.valid & active
        with m.If(came):
            m.d.sync += [words.eq(words + 1), last.eq(words == c.row_words - 2)]
        with m.If(came & last):
            m.d.sync += [words.eq(0), last.eq(c.row_words == 1)]
        m.d.sync += whole.eq(came & last)
        written = delayed(m, whole, FILL_LATENCY, "whole") & self.running
        with m.If(written):
            m.d.sync += rows.eq(rows + 1)
        with m.If(starting):
            m.d.sync += [words.eq(0), last.eq(c.row_words == 1), rows.eq(self.groups.payload)]
        m.d.comb += [
            self.hold.eq(whole),
            self.fill.valid.eq(written),
            self.fill.row.eq(rows),
            self.valid.eq(delayed(m, came, WORD_LATENCY, "came")),
            self.word.eq(delayed(m, external.word, WORD_LATENCY, "word")),
        ]
        m.d.sync += there.eq(written & rows[: bits_for_count(CHUNK_ROWS)].all())
        return there

    def _grant(self, m: Module, active: Signal, resident: Signal, chunk_there: Signal) -> None:
        """Accepts a group when its chunks are there."""
        ahead = Signal(self.config.chunk_bits, reset_less=True)
        enough, granted = Signal(), Signal()
        accepted = self.groups.valid & granted
        m.d.sync += [
            enough.eq(active & ~accepted & (ahead >= self.chunks)),
            granted.eq(self.groups.valid & active & enough & ~granted),
            ahead.eq(ahead + chunk_there - Mux(accepted, self.chunks, 0)),
            self.stall.eq(self.groups.valid & ~(resident | granted)),
        ]
        with m.If(~active):
            m.d.sync += ahead.eq(0)
        m.d.comb += self.groups.ready.eq(resident | granted)
