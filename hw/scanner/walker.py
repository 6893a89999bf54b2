"""The feature memory rows of a window, one per cycle."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.adder import GatedAdder
from residuum.hw.isa.config import DIMENSION_BITS, EngineConfig
from residuum.hw.layouts import end_layout, scan_layout
from residuum.hw.scanner.windows import window_layout


def request_layout(config: EngineConfig) -> data.StructLayout:
    """One row of the feature memory to be scanned from slot ``head`` to slot ``tail``.

    ``weight`` is the weight row of slot 0. ``index`` counts the rows of the segment (it is the
    group of input channels). ``end`` marks the last row of
    a pass.
    """
    return data.StructLayout(
        {
            "row": unsigned(config.feature_row_bits),
            "weight": unsigned(config.weight_row_bits),
            "index": unsigned(DIMENSION_BITS),
            "head": unsigned(config.slot_bits),
            "tail": unsigned(config.slot_bits),
            "first": 1,
            "last": 1,
            "end": 1,
            "how": end_layout(),
        }
    )


class RowWalker(wiring.Component):
    """Nested counters over passes, input lines, segments of a line and rows of a segment.
    From one row of a segment to the next there are ``lanes`` weight rows.

    One request per cycle in which ``ready`` is high, without a gap between windows.
    ``advance`` tells the cycles in which a request goes out.
    """

    def __init__(self, config: EngineConfig, names: tuple[str, ...]):
        self.config = config
        super().__init__(
            {
                "layer": In(scan_layout(config, names)),
                "windows": In(stream.Signature(window_layout(config))),
                "ready": In(1),
                "advance": Out(1),
                "request": Out(request_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        layer = self.layer
        loaded = self.windows.payload

        active = Signal()
        window = Signal(window_layout(c), reset_less=True)

        def row_signal(name: str) -> Signal:
            return Signal(c.feature_row_bits, name=name, reset_less=True)

        def weight_signal(name: str) -> Signal:
            return Signal(c.weight_row_bits, name=name, reset_less=True)

        def counter(name: str) -> Signal:
            return Signal(signed(DIMENSION_BITS + 1), name=name, reset_less=True)

        row, row_x, row_y, row_pass = (row_signal(f"row{s}") for s in ("", "_x", "_y", "_pass"))
        weight, weight_x, weight_y = (weight_signal(f"weight{s}") for s in ("", "_x", "_y"))
        # All less two, so that the sign tells the last one.
        left, left_x, left_y = (counter(f"left{s}") for s in ("", "_x", "_y"))
        pool_x, pool_y = (counter(f"pool{s}") for s in ("_x", "_y"))
        passes = Signal(signed(len(layer.passes) + 1), reset_less=True)
        index = Signal(DIMENSION_BITS, reset_less=True)
        first_row = Signal(reset_less=True)
        first_pass = Signal(reset_less=True)

        # The loops, innermost first: what is left, and what each starts with again. ``ends[k]``:
        # the present row is the last one of loop k, and so of all inside it.
        loops = [(left, window.span), (left_x, window.count_x), (left_y, window.count_y)]
        if c.passes > 1:
            loops.append((passes, layer.passes - 1))
        ends = Signal(len(loops), init=-1)
        # How many loops end there: the one that goes on, or a new window.
        ended = Signal(range(len(loops) + 1), init=len(loops))
        segment_end, line_end, pass_end, *_ = ends
        window_end = ends[-1]
        last_pass = passes[-1] if c.passes > 1 else Const(1)
        how = self.request.how
        m.d.comb += [
            self.advance.eq(active & self.ready),
            self.request.row.eq(row),
            self.request.weight.eq(weight),
            self.request.index.eq(index),
            self.request.head.eq(window.head),
            self.request.tail.eq(window.tail),
            self.request.first.eq(first_row),
            self.request.last.eq(segment_end),
            self.request.end.eq(pass_end),
            how.partial.eq(~last_pass),
            how.first.eq(first_pass),
            how.shared.eq(window.shared),
            how.group_last.eq(window.group_last & last_pass),
            how.layer_last.eq(window.layer_last & last_pass),
            self.windows.ready.eq(window_end & (~active | self.ready)),
        ]

        start_segment = [left.eq(window.span), index.eq(0), first_row.eq(1)]
        start_line = [left_x.eq(window.count_x), pool_x.eq(layer.pool_x - 1), *start_segment]
        start_pass = [left_y.eq(window.count_y), pool_y.eq(layer.pool_y - 1), *start_line]

        next_row_x = row_x + layer.pitch_x
        next_row_y = row_y + layer.pitch_y
        next_row_pass = row_pass + layer.pass_pitch
        next_weight_x = self._step(m, "x", weight_x, layer.weight_x, stay=~pool_x[-1])
        next_weight_y = self._step(m, "y", weight_y, layer.weight_y, stay=~pool_y[-1])
        steps = [
            [
                row.eq(row + 1),
                weight.eq(weight + c.lanes),
                left.eq(left - 1),
                index.eq(index + 1),
                first_row.eq(0),
            ],
            [
                *start_segment,
                left_x.eq(left_x - 1),
                pool_x.eq(Mux(pool_x[-1], layer.pool_x, pool_x) - 1),
                row_x.eq(next_row_x),
                row.eq(next_row_x),
                weight_x.eq(next_weight_x),
                weight.eq(next_weight_x),
            ],
            [
                *start_line,
                left_y.eq(left_y - 1),
                pool_y.eq(Mux(pool_y[-1], layer.pool_y, pool_y) - 1),
                row_y.eq(next_row_y),
                row_x.eq(next_row_y),
                row.eq(next_row_y),
                weight_y.eq(next_weight_y),
                weight_x.eq(next_weight_y),
                weight.eq(next_weight_y),
            ],
            [
                *start_pass,
                passes.eq(passes - 1),
                first_pass.eq(0),
                row_pass.eq(next_row_pass),
                row_y.eq(next_row_pass),
                row_x.eq(next_row_pass),
                row.eq(next_row_pass),
                weight_y.eq(window.weight),
                weight_x.eq(window.weight),
                weight.eq(window.weight),
            ],
        ][: len(loops)]
        start_window = [
            window.eq(loaded),
            passes.eq(layer.passes - 1),
            first_pass.eq(1),
            left_y.eq(loaded.count_y),
            left_x.eq(loaded.count_x),
            left.eq(loaded.span),
            index.eq(0),
            first_row.eq(1),
            pool_y.eq(layer.pool_y - 1),
            pool_x.eq(layer.pool_x - 1),
            *(signal.eq(loaded.row) for signal in (row, row_x, row_y, row_pass)),
            *(signal.eq(loaded.weight) for signal in (weight, weight_x, weight_y)),
        ]

        def set_ends(lasts):  # type: ignore[no-untyped-def]
            """``ends`` and ``ended`` of the next row, from which loops are in their last then."""
            after = [Cat(lasts[: k + 1]).all() for k in range(len(lasts))]
            number = Const(0)
            for k, end in enumerate(after):
                number = Mux(end, k + 1, number)
            return [ends.eq(Cat(after)), ended.eq(number)]

        # One condition for all registers, two tables deep; which of them change is in `ended`.
        # Between windows all loops have ended.
        go = Mux(window_end, self.windows.valid & (~active | self.ready), self.ready)
        with m.If(self.advance & window_end):
            m.d.sync += active.eq(0)
        with m.If(go), m.Switch(ended):
            for k, step in enumerate(steps):
                lasts = [start[-1] for _, start in loops[:k]]
                lasts += [loops[k][0] == 0, *(count[-1] for count, _ in loops[k + 1 :])]
                with m.Case(k):
                    m.d.sync += [*step, *set_ends(lasts)]
            with m.Default():
                starts = [loaded.span, loaded.count_x, loaded.count_y, layer.passes - 1]
                lasts = [start[-1] for start in starts[: len(loops)]]
                m.d.sync += [*start_window, active.eq(1), *set_ends(lasts)]
        return m

    def _step(self, m: Module, axis: str, weight, pitch, *, stay):  # type: ignore[no-untyped-def]
        """The weight row one kernel position on, or the same one within a pooled position."""
        c = self.config
        m.submodules[f"weight_adder_{axis}"] = adder = GatedAdder(
            width=c.weight_row_bits, b_width=c.weight_row_bits, ecp5=c.memory == "ecp5"
        )
        m.d.comb += [adder.a.eq(pitch), adder.b.eq(weight), adder.clear.eq(stay)]
        return adder.total.as_unsigned()
