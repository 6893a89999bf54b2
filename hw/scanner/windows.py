"""The windows of a layer, one after another, from its tables."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.hw.layouts import scan_layout
from residuum.hw.queue import QUEUE_DEPTH, Queue, change

# Cycles from the issue of a table read to its data: an address register, then the block memory.
TABLE_LATENCY = 3


def axis_layout(config: EngineConfig) -> data.StructLayout:
    """An `AxisEntry`, as the table memory holds it."""
    return data.StructLayout({n: unsigned(w) for n, w in AxisEntry.widths(config).items()})


def window_layout(config: EngineConfig) -> data.StructLayout:
    """Where a window of one source starts, and how far it reaches. Counts are signed and stored
    less two, so that the sign marks the last iteration without a comparison.

    A layer with two sources has two of these for each position: the first one ``continues`` with
    the second one, which is a single segment and whose weights may count 2**H times (``shift``).
    ``empty_row`` is the row of the shared result that stands for the first row of each segment,
    where this row refers to the shared result.

    A ``shared`` window has no input: it stands for all windows without events. ``later``, ``more``,
    ``line_last``, ``group_last`` and ``layer_last`` are those of `end_layout`.
    """
    widths = AxisEntry.widths(config)
    flags = ("shift", "continues", "shared", "later", "more")
    return data.StructLayout(
        {
            "row": unsigned(widths["row"]),
            "weight": unsigned(widths["weight"]),
            "count_y": signed(widths["count"] + 1),
            "count_x": signed(widths["count"] + 1),
            "span": signed(widths["span"] + 1),
            "head": unsigned(widths["head"]),
            "tail": unsigned(widths["tail"]),
            "empty_row": unsigned(widths["row"]),
            **dict.fromkeys((*flags, "line_last", "group_last", "layer_last"), 1),
        }
    )


def kind_layout() -> data.StructLayout:
    """The kind of a table read, one bit at most: the entry of a ``group`` of output channels, the
    ``vertical`` entry of a line of windows, or the horizontal entry of a ``window``."""
    return data.StructLayout({"group": 1, "vertical": 1, "window": 1})


def tag_layout() -> data.StructLayout:
    """Further properties of a table read: it is for the ``second`` source; those of the window, see
    `window_layout`."""
    flags = ("second", "continues", "shared", "later", "more")
    return data.StructLayout(
        dict.fromkeys((*flags, "line_last", "group_last", "layer_last"), 1),
    )


def source_layout(config: EngineConfig) -> data.StructLayout:
    """What the windows of one source have in common in a group of output channels: its entry in the
    table of groups."""
    widths = AxisEntry.widths(config)
    return data.StructLayout(
        {
            "row": unsigned(widths["row"]),
            "weight": unsigned(widths["weight"]),
            "span": unsigned(widths["span"]),
            "tail": unsigned(widths["tail"]),
            "empty_row": unsigned(widths["row"]),
        }
    )


class WindowGenerator(wiring.Component):
    """Walks groups of output channels (outermost), lines and positions of the output map, and the
    lines and positions of a max-pooling window.

    A pulse on ``start`` begins the layer that ``layer`` describes. A window is the sum of the
    entries of its group, its line and its position (`AxisEntry`), so that clipping at the border,
    stride, padding, pooling and blocks of zeros cost no logic here. The tables are read in
    ascending order, with these exceptions: each group starts again with the first line, each line
    with the first position, and with max-pooling over several lines, each line of a window of the
    max-pooling starts again with the first position of this window.

    One window per cycle (of one source), and one cycle more per vertical entry. A group of output
    channels takes five cycles more: its entry is read and arrives, and its first weight row is sent
    on ``refill``. A weight store that does not hold all rows delays the group by delaying
    ``ready``. The path from the tables to the queue of windows never stalls: a window is issued
    only when the queue has a place for it.
    """

    def __init__(self, config: EngineConfig, names: tuple[str, ...]):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "layer": In(scan_layout(config, names)),
                "table_address": Out(config.table_bits),
                "table_data": In(axis_layout(config)),
                "refill": Out(stream.Signature(unsigned(config.weight_row_bits))),
                "windows": Out(stream.Signature(window_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.queue = queue = Queue(window_layout(self.config).size)
        kind = Signal(kind_layout())
        tag = Signal(tag_layout())
        self._issue(m, kind, tag, credit=self._credit(m, kind.window))
        for index in range(TABLE_LATENCY):
            kind_next = Signal(kind_layout(), name=f"kind_{index}")
            tag_next = Signal(tag_layout(), name=f"tag_{index}", reset_less=True)
            m.d.sync += [kind_next.eq(kind), tag_next.eq(tag)]
            kind, tag = kind_next, tag_next
        self._add(m, kind, tag, self._sources(m, kind, tag), queue)
        m.d.comb += [
            self.windows.valid.eq(queue.valid),
            self.windows.payload.eq(queue.data),
            queue.take.eq(self.windows.ready),
        ]
        return m

    def _credit(self, m: Module, issued: Value) -> Value:
        """Whether the queue has a place for one more window; windows in flight and queued windows
        are counted together."""
        outstanding = Signal(range(QUEUE_DEPTH + 1))
        taken = Signal()
        m.d.sync += [
            outstanding.eq(outstanding + change(issued, taken)),
            taken.eq(self.windows.valid & self.windows.ready),
        ]
        return ~outstanding[-1]

    def _issue(self, m: Module, kind: data.View, tag: data.View, *, credit: Value) -> None:
        """The walk over groups, lines and positions: reads of the tables, each with its tag."""
        c = self.config
        layer = self.layer
        # Remaining iterations of the loops, stored less two like the counts of a window: groups,
        # lines and positions of the output map, lines and positions of a max-pooling window.
        groups = Signal(signed(len(layer.groups) + 1), reset_less=True)
        lines = Signal(signed(len(layer.windows_y) + 1), reset_less=True)
        positions = Signal(signed(len(layer.windows_x) + 1), reset_less=True)
        pool_lines = Signal(signed(len(layer.max_y) + 1), reset_less=True)
        pool_positions = Signal(signed(len(layer.max_x) + 1), reset_less=True)
        # The next entries, and those at the start of the present max-pooling window.
        entry_group = Signal(c.table_bits, reset_less=True)
        entry_y = Signal(c.table_bits, reset_less=True)
        entry_x = Signal(c.table_bits, reset_less=True)
        pool_y = Signal(c.table_bits, reset_less=True)
        pool_x = Signal(c.table_bits, reset_less=True)
        # The next window is not the first one of its max-pooling window; the next table read is the
        # last one for its position.
        later = Signal(reset_less=True)
        whole = Signal(reset_less=True)

        start_pool = [pool_lines.eq(layer.max_y - 1), later.eq(0)]
        start_line = [
            positions.eq(layer.windows_x - 1),
            entry_x.eq(layer.table_x),
            pool_x.eq(layer.table_x),
        ]
        pool_last = pool_positions[-1] & pool_lines[-1]
        line_last = pool_last & positions[-1]
        group_last = line_last & lines[-1]
        layer_last = group_last & groups[-1]

        with m.FSM(name="walk"):
            with m.State("IDLE"):
                m.d.sync += [groups.eq(layer.groups - 1), entry_group.eq(layer.table_group)]
                with m.If(self.start):
                    m.next = "GROUP"
            with m.State("GROUP"):
                m.d.comb += kind.group.eq(1)
                m.d.sync += [*start_line, *start_pool, pool_positions.eq(layer.max_x - 1)]
                m.d.sync += [lines.eq(layer.windows_y - 1), whole.eq(~layer.two_sources)]
                m.d.sync += [entry_y.eq(layer.table_y), pool_y.eq(layer.table_y)]
                m.next = "REFILL"
                with m.If(layer.two_sources):
                    m.next = "SECOND"
            with m.State("SECOND"):
                m.d.comb += [kind.group.eq(1), tag.second.eq(1)]
                m.next = "REFILL"
            with m.State("REFILL"), m.If(self.refill.valid & self.refill.ready):
                m.next = "LINE"
                with m.If(layer.skip_empty):
                    m.next = "SHARED"
            with m.State("SHARED"):
                m.d.comb += [kind.window.eq(credit), tag.shared.eq(1)]
                with m.If(credit):
                    m.next = "LINE"
            with m.State("LINE"):
                m.d.comb += kind.vertical.eq(credit)
                m.d.sync += self.table_address.eq(entry_y)
                with m.If(credit):
                    m.d.sync += entry_y.eq(entry_y + 1)
                    m.next = "POSITION"
            with m.State("POSITION"):
                m.d.comb += [
                    kind.window.eq(credit),
                    tag.second.eq(layer.two_sources & whole),
                    tag.continues.eq(~whole),
                    tag.later.eq(later),
                    tag.more.eq(~pool_last),
                    tag.line_last.eq(line_last),
                    tag.group_last.eq(group_last),
                    tag.layer_last.eq(layer_last),
                ]
                m.d.sync += self.table_address.eq(entry_x)
                with m.If(credit):
                    m.d.sync += whole.eq(~(layer.two_sources & whole))
                with m.If(credit & whole):
                    m.d.sync += [
                        entry_x.eq(entry_x + 1),
                        pool_positions.eq(pool_positions - 1),
                        later.eq(1),
                    ]
                    with m.If(pool_positions[-1]):
                        m.d.sync += [
                            entry_x.eq(pool_x),
                            pool_positions.eq(layer.max_x - 1),
                            pool_lines.eq(pool_lines - 1),
                        ]
                        m.next = "LINE"
                    with m.If(pool_last):
                        m.d.sync += [
                            *start_pool,
                            *(entry.eq(entry_x + 1) for entry in (entry_x, pool_x)),
                            positions.eq(positions - 1),
                        ]
                        # Without max-pooling over several lines, all positions of a line have the
                        # same vertical entry.
                        m.next = "POSITION"
                        with m.If(layer.max_y.any()):
                            m.d.sync += entry_y.eq(pool_y)
                            m.next = "LINE"
                    with m.If(line_last):
                        m.d.sync += [
                            *start_line,
                            *(entry.eq(entry_y) for entry in (entry_y, pool_y)),
                            lines.eq(lines - 1),
                        ]
                        m.next = "LINE"
                    with m.If(group_last):
                        m.d.sync += groups.eq(groups - 1)
                        m.next = "GROUP"
                    with m.If(layer_last):
                        m.next = "IDLE"
        with m.If(kind.group):
            m.d.sync += [self.table_address.eq(entry_group), entry_group.eq(entry_group + 1)]

    def _sources(self, m: Module, kind: data.View, tag: data.View) -> list[data.View]:
        """Stores the arriving entries of a group: its first source, and its second one. The weight
        row of the first is sent on ``refill``."""
        c = self.config
        entry = self.table_data
        sources = [
            Signal(source_layout(c), name=name, reset_less=True) for name in ("first", "second")
        ]
        valid = Signal()
        for source, chosen in zip(sources, (~tag.second, tag.second), strict=True):
            with m.If(kind.group & chosen):
                m.d.sync += [
                    source.row.eq(entry.row),
                    source.weight.eq(entry.weight),
                    source.span.eq(entry.span),
                    source.tail.eq(entry.tail),
                    source.empty_row.eq(entry.second_row),
                ]
        m.d.sync += valid.eq((kind.group & ~tag.second) | (valid & ~self.refill.ready))
        m.d.comb += [self.refill.valid.eq(valid), self.refill.payload.eq(sources[0].weight)]
        return sources

    def _add(
        self, m: Module, kind: data.View, tag: data.View, sources: list[data.View], queue: Queue
    ) -> None:
        """Adds an arriving vertical entry to those of the group, for its line; adds an arriving
        horizontal entry to the sum to make a window."""
        c = self.config
        entry = self.table_data
        first, second = sources
        line = Signal(axis_layout(c), reset_less=True)
        with m.If(kind.vertical):
            m.d.sync += [
                line.row.eq(first.row + entry.row),
                line.weight.eq(first.weight + entry.weight),
                line.count.eq(entry.count),
                line.second_row.eq(second.row + entry.second_row),
            ]

        window = Signal(window_layout(c), reset_less=True)
        window_valid = Signal()
        single = tag.shared | tag.second
        # Either the group or the position gives span and tail; the other one has 0.
        span = Mux(tag.second, second.span, first.span | entry.span)
        of_first = {
            "row": line.row + entry.row,
            "weight": line.weight + entry.weight,
            "head": entry.head,
            "tail": first.tail | entry.tail,
            "empty_row": first.empty_row,
        }
        of_second = {
            "row": line.second_row + entry.second_row,
            "weight": second.weight - entry.second_head,
            "head": entry.second_head,
            "tail": second.tail + entry.second_head,
            "empty_row": second.empty_row,
        }
        m.d.sync += [
            window_valid.eq(kind.window),
            *(window[n].eq(Mux(tag.second, of_second[n], of_first[n])) for n in of_first),
            window.count_y.eq(Mux(single, 0, line.count) - 1),
            window.count_x.eq(Mux(single, 0, entry.count) - 1),
            window.span.eq(Mux(tag.shared, 0, span) - 1),
            window.shift.eq(tag.second & self.layer.second_shift),
            *(window[n].eq(tag[n]) for n in tag_layout().members if n != "second"),
        ]
        m.d.comb += [queue.write.eq(window_valid), queue.write_data.eq(window)]
