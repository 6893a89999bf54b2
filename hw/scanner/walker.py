"""The feature memory rows of a window, one per cycle."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.adder import GatedAdder
from residuum.hw.isa.config import DIMENSION_BITS, EngineConfig
from residuum.hw.layouts import end_layout, scan_layout
from residuum.hw.logic import Statements
from residuum.hw.scanner.windows import window_layout


def request_layout(config: EngineConfig) -> data.StructLayout:
    """One row of the feature memory to be scanned from slot ``head`` to slot ``tail``.

    ``weight`` is the weight row of slot 0; with ``shift`` the weights count 2**H times. If the row
    refers to the shared result of windows without events, this is ``empty_row``. ``first`` and
    ``last`` mark the ends of a segment, ``end`` the last row of a window: of its last pass, or its
    last source; ``how`` belongs to ``end``.
    """
    return data.StructLayout(
        {
            "row": unsigned(config.feature_row_bits),
            "weight": unsigned(config.weight_row_bits),
            "empty_row": unsigned(config.feature_row_bits),
            "head": unsigned(config.slot_bits),
            "tail": unsigned(config.slot_bits),
            "shift": 1,
            "first": 1,
            "last": 1,
            "end": 1,
            "how": end_layout(),
        }
    )


@dataclass(frozen=True)
class Loop:
    """One of the nested loops over a window.

    Attributes
    ----------
    left : Signal
        Remaining iterations, less two: the sign marks the last one.
    less : Signal
        ``left`` - 1.
    again, new : Value
        Initial value of ``left`` in the present window, and in the next one.
    step : statements
        The next iteration; inner loops restart.
    """

    left: Signal
    less: Signal
    again: Value
    new: Value
    step: Statements


class Walk:
    """The registers of a walk.

    ``row``, ``weight`` and ``empty_row`` belong to the present request; with ``_x``, ``_y`` and
    ``_pass`` they are the values at the start of its segment, line and pass. ``left`` counts the
    remaining iterations of each loop, and ``pool`` the remaining input positions that share a
    weight row, all less two, like ``all_passes``. ``less`` is ``left`` of each loop less 1.
    ``ends[k]``: the present row is the last one of loop k and of all loops inside it. ``ended`` is
    the number of these loops, and thus the index of the loop that advances. Between windows all
    loops have ended.
    """

    def __init__(self, config: EngineConfig, *, pass_bits: int):
        row, weight = config.feature_row_bits, config.weight_row_bits
        count = signed(DIMENSION_BITS + 1)
        loops = 4 if config.passes > 1 else 3
        self.active = Signal()
        self.window = Signal(window_layout(config), reset_less=True)
        self.row = Signal(row, reset_less=True)
        self.row_x = Signal(row, reset_less=True)
        self.row_y = Signal(row, reset_less=True)
        self.row_pass = Signal(row, reset_less=True)
        self.weight = Signal(weight, reset_less=True)
        self.weight_x = Signal(weight, reset_less=True)
        self.weight_y = Signal(weight, reset_less=True)
        self.left = Signal(count, reset_less=True)
        self.left_x = Signal(count, reset_less=True)
        self.left_y = Signal(count, reset_less=True)
        self.passes = Signal(signed(pass_bits + 1), reset_less=True)
        self.all_passes = Signal.like(self.passes, reset_less=True)
        counters = (self.left, self.left_x, self.left_y, self.passes)[:loops]
        self.less = [Signal.like(left, name=f"less_{k}") for k, left in enumerate(counters)]
        self.pool_x = Signal(count, reset_less=True)
        self.pool_y = Signal(count, reset_less=True)
        self.empty_row = Signal(row, reset_less=True)
        self.first_row = Signal(reset_less=True)
        self.ends = Signal(loops, init=-1)
        self.ended = Signal(range(loops + 1), init=loops)

    @property
    def last_pass(self) -> Value:
        return self.passes[-1] if len(self.ends) == 4 else Const(1)


class RowWalker(wiring.Component):
    """Nested loops over passes, input lines, segments of a line and rows of a segment. Consecutive
    rows of a segment are ``lanes`` weight rows apart.

    The bit-planes of an image take two passes when S < 8; in the first one, of the upper planes,
    weights count 2**H times. A window of two sources comes as one window of each
    (`window_layout`), and only the second one ends it; an image in two passes is no such source.

    One request per cycle in which ``ready`` is high, without a gap between windows. ``advance`` is
    high in cycles with a request.

    Parameters
    ----------
    config : EngineConfig
        All sizes.
    names : tuple of str
        The fields of the layer descriptor in ``layer``.
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
        walk = Walk(self.config, pass_bits=len(self.layer.parts))
        # The layer is stable long before its first window.
        m.d.sync += walk.all_passes.eq(Mux(self.layer.two_sources, 0, self.layer.parts) - 1)
        self._request(m, walk)
        self._walk(m, walk, self._loops(m, walk))
        return m

    def _request(self, m: Module, walk: Walk) -> None:
        """Drives the request for the present row."""
        window, how = walk.window, self.request.how
        segment_end, _, pass_end, *_ = walk.ends
        m.d.comb += [
            self.advance.eq(walk.active & self.ready),
            self.request.row.eq(walk.row),
            self.request.weight.eq(walk.weight),
            self.request.empty_row.eq(walk.empty_row),
            self.request.head.eq(window.head),
            self.request.tail.eq(window.tail),
            self.request.shift.eq(window.shift | ~walk.last_pass),
            self.request.first.eq(walk.first_row),
            self.request.last.eq(segment_end),
            self.request.end.eq(pass_end & walk.last_pass & ~window.continues),
            *(how[name].eq(window[name]) for name in end_layout().members),
            self.windows.ready.eq(walk.ends[-1] & (~walk.active | self.ready)),
        ]

    def _loops(self, m: Module, walk: Walk) -> list[Loop]:
        """The loops, innermost first."""
        layer, window, new = self.layer, walk.window, self.windows.payload
        segment = [
            walk.left.eq(window.span),
            walk.empty_row.eq(window.empty_row),
            walk.first_row.eq(1),
        ]
        line = [walk.left_x.eq(window.count_x), walk.pool_x.eq(layer.pool_x - 1), *segment]
        whole = [walk.left_y.eq(window.count_y), walk.pool_y.eq(layer.pool_y - 1), *line]

        row_x = walk.row_x + layer.pitch_x
        row_y = walk.row_y + layer.pitch_y
        row_pass = walk.row_pass + layer.pass_pitch
        weight_x = self._step(m, "x", walk.weight_x, layer.weight_x, stay=~walk.pool_x[-1])
        weight_y = self._step(m, "y", walk.weight_y, layer.weight_y, stay=~walk.pool_y[-1])
        next_row = [
            walk.row.eq(walk.row + 1),
            walk.weight.eq(walk.weight + self.config.lanes),
            walk.left.eq(walk.less[0]),
            walk.empty_row.eq(walk.empty_row + 1),
            walk.first_row.eq(0),
        ]
        next_segment = [
            *segment,
            walk.left_x.eq(walk.less[1]),
            walk.pool_x.eq(Mux(walk.pool_x[-1], layer.pool_x, walk.pool_x) - 1),
            *(signal.eq(row_x) for signal in (walk.row_x, walk.row)),
            *(signal.eq(weight_x) for signal in (walk.weight_x, walk.weight)),
        ]
        next_line = [
            *line,
            walk.left_y.eq(walk.less[2]),
            walk.pool_y.eq(Mux(walk.pool_y[-1], layer.pool_y, walk.pool_y) - 1),
            *(signal.eq(row_y) for signal in (walk.row_y, walk.row_x, walk.row)),
            *(signal.eq(weight_y) for signal in (walk.weight_y, walk.weight_x, walk.weight)),
        ]
        loops = [
            Loop(walk.left, walk.less[0], window.span, new.span, next_row),
            Loop(walk.left_x, walk.less[1], window.count_x, new.count_x, next_segment),
            Loop(walk.left_y, walk.less[2], window.count_y, new.count_y, next_line),
        ]
        if self.config.passes > 1:
            rows = (walk.row_pass, walk.row_y, walk.row_x, walk.row)
            weights = (walk.weight_y, walk.weight_x, walk.weight)
            next_pass = [
                *whole,
                walk.passes.eq(walk.less[3]),
                *(signal.eq(row_pass) for signal in rows),
                *(signal.eq(window.weight) for signal in weights),
            ]
            all_passes = walk.all_passes
            loops.append(Loop(walk.passes, walk.less[3], all_passes, all_passes, next_pass))
        return loops

    def _step(self, m: Module, axis: str, weight: Signal, pitch: Value, *, stay: Value) -> Value:
        """The weight row of the next kernel position, or the same one inside a pooling window."""
        c = self.config
        m.submodules[f"weight_adder_{axis}"] = adder = GatedAdder(
            width=c.weight_row_bits, b_width=c.weight_row_bits, ecp5=c.memory == "ecp5"
        )
        m.d.comb += [adder.a.eq(pitch), adder.b.eq(weight), adder.clear.eq(stay)]
        return adder.total.as_unsigned()

    def _walk(self, m: Module, walk: Walk, loops: list[Loop]) -> None:
        """Moves to the next row of the window, or to the first row of the next window.

        All registers share one enable condition, two LUTs deep; ``ended`` selects the loop that
        advances.
        """
        m.d.comb += [loop.less.eq(loop.left - 1) for loop in loops]
        window_end = walk.ends[-1]
        ready = ~walk.active | self.ready
        with m.If(self.advance & window_end):
            m.d.sync += walk.active.eq(0)
        with m.If(Mux(window_end, self.windows.valid & ready, self.ready)), m.Switch(walk.ended):
            for k, loop in enumerate(loops):
                inner = [other.again[-1] for other in loops[:k]]
                outer = [other.left[-1] for other in loops[k + 1 :]]
                with m.Case(k):
                    m.d.sync += loop.step
                    m.d.sync += self._set_ends(walk, [*inner, loop.less[-1], *outer])
            with m.Default():
                m.d.sync += [*self._begin(walk), walk.active.eq(1)]
                m.d.sync += self._set_ends(walk, [loop.new[-1] for loop in loops])

    def _begin(self, walk: Walk) -> Statements:
        """Loads the next window, at its first row."""
        layer, new = self.layer, self.windows.payload
        return [
            walk.window.eq(new),
            walk.passes.eq(walk.all_passes),
            walk.left_y.eq(new.count_y),
            walk.left_x.eq(new.count_x),
            walk.left.eq(new.span),
            walk.empty_row.eq(new.empty_row),
            walk.first_row.eq(1),
            walk.pool_y.eq(layer.pool_y - 1),
            walk.pool_x.eq(layer.pool_x - 1),
            *(signal.eq(new.row) for signal in (walk.row, walk.row_x, walk.row_y, walk.row_pass)),
            *(signal.eq(new.weight) for signal in (walk.weight, walk.weight_x, walk.weight_y)),
        ]

    @staticmethod
    def _set_ends(walk: Walk, lasts: list[Value]) -> Statements:
        """Sets ``ends`` and ``ended`` for the next row: it is the last row of loop k if
        ``lasts[0]`` to ``lasts[k]`` are all high."""
        after = [Cat(lasts[: k + 1]).all() for k in range(len(lasts))]
        number: Value = Const(0)
        for k, end in enumerate(after):
            number = Mux(end, k + 1, number)
        return [walk.ends.eq(Cat(after)), walk.ended.eq(number)]
