"""The windows of a layer, one after another, from its two axis tables."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.hw.layouts import scan_layout
from residuum.hw.scanner.queue import QUEUE_DEPTH, Queue, change

# Cycles from the issue of a table read to its data: an address register, then the block memory.
TABLE_LATENCY = 3


def axis_layout(config: EngineConfig) -> data.StructLayout:
    """An `AxisEntry`, as the table memory holds it."""
    return data.StructLayout({n: unsigned(w) for n, w in AxisEntry.widths(config).items()})


def window_layout(config: EngineConfig) -> data.StructLayout:
    """Where a window starts, and how far it reaches. Counts are signed and stored less two, so that
    the sign marks the last iteration without a comparison.

    A ``shared`` window has no input: it stands for all windows without events.
    """
    widths = AxisEntry.widths(config)
    return data.StructLayout(
        {
            "row": unsigned(widths["row"]),
            "weight": unsigned(widths["weight"]),
            "count_y": signed(widths["count"] + 1),
            "count_x": signed(widths["count"] + 1),
            "span": signed(widths["span"] + 1),
            "head": unsigned(widths["head"]),
            "tail": unsigned(widths["tail"]),
            "shared": 1,
            "group_last": 1,
            "layer_last": 1,
        }
    )


def tag_layout() -> data.StructLayout:
    """The tag of a table read: a ``vertical`` entry starts a line of windows, any other entry makes
    a window; ``shared``, ``group_last`` and ``layer_last`` describe the window.
    """
    return data.StructLayout({"vertical": 1, "shared": 1, "group_last": 1, "layer_last": 1})


class WindowGenerator(wiring.Component):
    """Walks output channel groups (outermost), output lines and output positions.

    A pulse on ``start`` begins the layer that ``layer`` describes. A window is the sum of a
    vertical and a horizontal table entry, so that clipping at the border, stride, padding and
    pooling cost no logic here. One window per cycle, and one cycle more per output line. The path
    from the tables to the queue of windows never stalls: a window is issued only when the queue
    has a place for it.

    Before the first window of a group, the first weight row of the group is sent on ``refill``; a
    weight store that does not hold all rows delays the group by delaying ``ready``.
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
        issue = Signal()
        tag = Signal(tag_layout())
        self._issue(m, issue, tag, credit=self._credit(m, issue & ~tag.vertical))
        valid: Signal = issue
        arrived: data.View = tag
        for index in range(TABLE_LATENCY):
            valid_next = Signal(name=f"valid_{index}")
            tag_next = Signal(tag_layout(), name=f"tag_{index}", reset_less=True)
            m.d.sync += [valid_next.eq(valid), tag_next.eq(arrived)]
            valid, arrived = valid_next, tag_next
        self._add(m, valid, arrived, queue)
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

    def _issue(self, m: Module, issue: Signal, tag: data.View, *, credit: Value) -> None:
        """The walk over groups, lines and positions: reads of the tables, each with its tag."""
        c = self.config
        layer = self.layer
        # Stored less two, like the counts of a window.
        groups = Signal(signed(len(layer.groups) + 1), reset_less=True)
        lines = Signal(signed(len(layer.windows_y) + 1), reset_less=True)
        positions = Signal(signed(len(layer.windows_x) + 1), reset_less=True)
        entry_y = Signal(c.table_bits, reset_less=True)
        entry_x = Signal(c.table_bits, reset_less=True)
        group_weight = Signal(c.weight_row_bits, reset_less=True)

        with m.FSM(name="walk"):
            with m.State("IDLE"):
                m.d.sync += [groups.eq(layer.groups - 1), group_weight.eq(layer.weight_row)]
                with m.If(self.start):
                    m.next = "GROUP"
            with m.State("GROUP"):
                m.d.comb += [self.refill.valid.eq(1), self.refill.payload.eq(group_weight)]
                m.d.sync += [lines.eq(layer.windows_y - 1), entry_y.eq(layer.table_y)]
                with m.If(self.refill.ready):
                    m.d.sync += group_weight.eq(group_weight + layer.weight_group)
                    m.next = "LINE"
                    with m.If(layer.skip_empty):
                        m.next = "SHARED"
            with m.State("SHARED"):
                m.d.comb += [issue.eq(credit), tag.shared.eq(1)]
                with m.If(credit):
                    m.next = "LINE"
            with m.State("LINE"):
                m.d.comb += [issue.eq(credit), tag.vertical.eq(1)]
                m.d.sync += self.table_address.eq(entry_y)
                m.d.sync += [positions.eq(layer.windows_x - 1), entry_x.eq(layer.table_x)]
                with m.If(credit):
                    m.d.sync += entry_y.eq(entry_y + 1)
                    m.next = "POSITION"
            with m.State("POSITION"):
                group_last = positions[-1] & lines[-1]
                m.d.comb += [
                    issue.eq(credit),
                    tag.group_last.eq(group_last),
                    tag.layer_last.eq(group_last & groups[-1]),
                ]
                m.d.sync += self.table_address.eq(entry_x)
                with m.If(credit):
                    m.d.sync += [entry_x.eq(entry_x + 1), positions.eq(positions - 1)]
                    with m.If(positions[-1]):
                        m.d.sync += lines.eq(lines - 1)
                        m.next = "LINE"
                    with m.If(group_last):
                        m.d.sync += groups.eq(groups - 1)
                        m.next = "GROUP"
                    with m.If(tag.layer_last):
                        m.next = "IDLE"

    def _add(self, m: Module, valid: Value, tag: data.View, queue: Queue) -> None:
        """Stores an arriving vertical entry for its line; adds an arriving horizontal entry to it
        to make a window."""
        c = self.config
        layer, entry = self.layer, self.table_data
        base_weight = Signal(c.weight_row_bits, reset_less=True)
        line = Signal(axis_layout(c), reset_less=True)
        window = Signal(window_layout(c), reset_less=True)
        window_valid = Signal()
        m.d.sync += [
            window_valid.eq(valid & ~tag.vertical),
            window.row.eq(line.row + entry.row),
            window.weight.eq(line.weight + entry.weight),
            window.count_y.eq(Mux(tag.shared, 0, line.count) - 1),
            window.count_x.eq(Mux(tag.shared, 0, entry.count) - 1),
            window.span.eq(Mux(tag.shared, 0, entry.span) - 1),
            window.head.eq(entry.head),
            window.tail.eq(entry.tail),
            window.shared.eq(tag.shared),
            window.group_last.eq(tag.group_last),
            window.layer_last.eq(tag.layer_last),
        ]
        with m.If(valid & tag.vertical):
            m.d.sync += [
                line.row.eq(entry.row + layer.input_row),
                line.weight.eq(entry.weight + base_weight),
                line.count.eq(entry.count),
            ]
        with m.If(self.start):
            m.d.sync += base_weight.eq(layer.weight_row)
        with m.Elif(valid & tag.group_last):
            m.d.sync += base_weight.eq(base_weight + layer.weight_group)

        m.d.comb += [queue.write.eq(window_valid), queue.write_data.eq(window)]
