"""WindowGenerator: every window of a layer, in order, from its tables."""

import itertools
import random
from dataclasses import dataclass

import pytest
from amaranth.hdl import Signal

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.hw.scanner.windows import WindowGenerator
from tests.hw.simulation import plain, simulate

NAMES = (
    *("windows_y", "windows_x", "max_y", "max_x", "table_y", "table_x", "table_group", "groups"),
    *("two_sources", "second_shift", "skip_empty"),
)
CONFIG = EngineConfig(lanes=3, tile_lanes=3, weight_rows=50, feature_rows=30, table_entries=60)
TABLE_LATENCY = 2
# Entries of the groups of layers with one source, and with two.
SINGLE, DOUBLE = range(45, 50), range(50, 58)
FLAGS = (
    *("shift", "continues", "shared", "later", "more"),
    *("line_last", "group_last", "layer_last"),
)


@dataclass
class Layer:
    """A layer with actual counts, not counts minus one."""

    lines: int
    positions: int
    groups: int = 1
    pool_lines: int = 1  # of a window of the max-pooling
    pool_positions: int = 1
    table_y: int = 0
    table_x: int = 20
    two_sources: int = 0
    second_shift: int = 0
    skip_empty: int = 0

    @property
    def table_group(self) -> int:
        return (DOUBLE if self.two_sources else SINGLE).start

    def fields(self) -> dict[str, int]:
        counts = {
            "windows_y": self.lines,
            "windows_x": self.positions,
            "max_y": self.pool_lines,
            "max_x": self.pool_positions,
            "groups": self.groups,
        }
        fields = {name: count - 1 for name, count in counts.items()}
        return {name: fields.get(name, getattr(self, name, 0)) for name in NAMES}

    def places(self) -> list[tuple[int, int, bool, bool, bool]]:
        """The windows of a group: vertical and horizontal entry; whether it is the first, the last
        of its max-pooling window, and whether this one is the last of its line."""
        result = []
        for line, position in itertools.product(range(self.lines), range(self.positions)):
            inside = list(itertools.product(range(self.pool_lines), range(self.pool_positions)))
            for dy, dx in inside:
                y = self.table_y + line * self.pool_lines + dy
                x = self.table_x + position * self.pool_positions + dx
                ends = (dy, dx) == inside[0], (dy, dx) == inside[-1]
                result.append((y, x, *ends, position == self.positions - 1))
        return result


def random_table(seed: int) -> list[AxisEntry]:
    """Entries for `LAYERS`. Span and tail of a segment of the first source come from the groups if
    the seed is odd, else from the positions."""
    rng = random.Random(seed)
    widths = AxisEntry.widths(CONFIG)
    table = []
    for number in range(CONFIG.table_entries):
        values = {name: rng.randrange(1 << width) for name, width in widths.items()}
        of_first = number in SINGLE or number in DOUBLE[::2]
        if number not in (*SINGLE, *DOUBLE) if seed % 2 else of_first:
            values |= {"span": 0, "tail": 0}
        table.append(AxisEntry(**values))
    return table


def expected(layer: Layer, table: list[AxisEntry]) -> list[dict | int]:
    """Refills (first weight rows) and windows in the expected order."""
    result: list[dict | int] = []
    entry = itertools.count(layer.table_group)
    for group in range(layer.groups):
        first = table[next(entry)]
        second = table[next(entry)] if layer.two_sources else AxisEntry()
        result.append(first.weight)
        if layer.skip_empty:
            counts = {"count_y": -1, "count_x": -1, "span": -1}
            result.append(counts | dict.fromkeys(FLAGS, 0) | {"shared": 1})
        places = layer.places()
        for number, (y, x, pool_first, pool_last, line_last) in enumerate(places):
            last = number == len(places) - 1
            flags = {
                "shared": 0,
                "later": int(not pool_first),
                "more": int(not pool_last),
                "line_last": int(line_last and pool_last),
                "group_last": int(last),
                "layer_last": int(last and group == layer.groups - 1),
            }
            result.append(
                first_window(first, table[y], table[x])
                | flags
                | {"shift": 0, "continues": layer.two_sources}
            )
            if layer.two_sources:
                result.append(
                    second_window(second, table[y], table[x])
                    | flags
                    | {"shift": layer.second_shift, "continues": 0}
                )
    return result


def wrapped(values: dict[str, int]) -> dict[str, int]:
    """Rows, weight rows and slots wrap."""
    bits = {
        "row": CONFIG.feature_row_bits,
        "weight": CONFIG.weight_row_bits,
        "tail": CONFIG.slot_bits,
    }
    return {n: v % (1 << bits[n]) if n in bits else v for n, v in values.items()}


def first_window(group: AxisEntry, y: AxisEntry, x: AxisEntry) -> dict[str, int]:
    return wrapped(
        {
            "row": group.row + y.row + x.row,
            "weight": group.weight + y.weight + x.weight,
            # Counts minus one in the table, minus two at the output.
            "count_y": y.count - 1,
            "count_x": x.count - 1,
            "span": group.span + x.span - 1,
            "head": x.head,
            "tail": group.tail + x.tail,
            "empty_row": group.second_row,
        }
    )


def second_window(group: AxisEntry, y: AxisEntry, x: AxisEntry) -> dict[str, int]:
    """A single segment, from slot ``second_head``."""
    return wrapped(
        {
            "row": group.row + y.second_row + x.second_row,
            "weight": group.weight - x.second_head,
            "count_y": -1,
            "count_x": -1,
            "span": group.span - 1,
            "head": x.second_head,
            "tail": group.tail + x.second_head,
            "empty_row": group.second_row,
        }
    )


def run(
    layers: list[Layer],
    table: list[AxisEntry],
    *,
    window_ready=lambda: True,
    refill_ready=lambda: True,
    reset_after: int | None = None,
) -> list[list[tuple[int, dict | int]]]:
    """(cycle, refill or window) of every layer. With `reset_after`, a reset ends the first layer
    after so many cycles."""
    dut = WindowGenerator(CONFIG, NAMES)
    reset = Signal()
    seen: list[list[tuple[int, dict | int]]] = []

    async def testbench(ctx):
        addresses = [0] * TABLE_LATENCY
        pending: dict[str, object] = {}

        async def cycle(log: list, now: int) -> None:
            ctx.set(dut.table_data.as_value(), table[addresses[-1]].pack(CONFIG))
            ctx.set(dut.windows.ready, window_ready())
            ctx.set(dut.refill.ready, refill_ready())
            for name, stream in (("refill", dut.refill), ("window", dut.windows)):
                payload = plain(ctx.get(stream.payload)) if ctx.get(stream.valid) else None
                if name in pending:
                    assert payload == pending.pop(name), f"{name} changed before it was taken"
                if payload is not None:
                    if ctx.get(stream.ready):
                        log.append((now, payload))
                    else:
                        pending[name] = payload
            addresses[:] = [ctx.get(dut.table_address), *addresses[:-1]]
            await ctx.tick()

        for number, layer in enumerate(layers):
            ctx.set(dut.layer, layer.fields())
            ctx.set(dut.start, 1)
            log: list = []
            length = len(expected(layer, table))
            for now in itertools.count():
                await cycle(log, now)
                ctx.set(dut.start, 0)
                if number == 0 and now == reset_after:
                    ctx.set(reset, 1)
                    await ctx.tick()
                    ctx.set(reset, 0)
                    pending.clear()
                    break
                if len(log) == length:
                    break
                assert now < 5000, "windows are missing"
            for _ in range(20):
                await cycle(log, -1)
            seen.append(log)

    simulate(dut, testbench, reset=reset)
    return seen


def items(log: list[tuple[int, dict | int]]) -> list[dict | int]:
    """Refills and windows in the form of `expected`.

    Unused fields of shared windows are dropped. A refill that precedes waiting windows of earlier
    groups is moved after them.
    """
    result: list[dict | int] = []
    ahead: list[int] = []
    for _, item in log:
        if isinstance(item, int):
            ahead.append(item)
            continue
        before = result[-1] if result else {"group_last": 1, "continues": 0}
        if ahead and before["group_last"] and not before["continues"]:  # type: ignore[index]
            result.append(ahead.pop(0))
        free = ("row", "weight", "head", "tail", "empty_row") if item["shared"] else ()
        result.append({name: value for name, value in item.items() if name not in free})
    return result + ahead


LAYERS = {
    "one window": Layer(1, 1),
    "one line": Layer(1, 7, table_y=59, table_x=3),
    "one column": Layer(7, 1, groups=2),
    "several groups": Layer(3, 5, groups=5),
    "shared results": Layer(2, 3, groups=3, skip_empty=1),
    "one window, shared": Layer(1, 1, groups=2, skip_empty=1),
    "two sources": Layer(2, 3, groups=3, two_sources=1, second_shift=1),
    "two sources, shared results": Layer(3, 1, groups=2, two_sources=1, skip_empty=1),
    "max-pooling": Layer(2, 3, groups=2, pool_lines=3, pool_positions=2),
    "max-pooling of lines": Layer(3, 2, groups=2, pool_lines=2),
    "max-pooling of positions": Layer(2, 3, groups=2, pool_positions=4),
    "max-pooling of everything": Layer(1, 1, pool_lines=4, pool_positions=5),
    "max-pooling of two sources": Layer(2, 2, pool_lines=2, pool_positions=3, two_sources=1),
}


def sometimes(seed: int, share: float):
    rng = random.Random(seed)
    return lambda: rng.random() < share


@pytest.mark.parametrize("refill", [1.0, 0.2], ids=["refill at once", "refill late"])
@pytest.mark.parametrize("window", [1.0, 0.7, 0.2], ids=["always", "often", "rarely"])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_every_window_in_order(layer, window, refill):
    table = random_table(1)
    (log,) = run(
        [layer], table, window_ready=sometimes(2, window), refill_ready=sometimes(3, refill)
    )
    assert items(log) == expected(layer, table)


def test_layers_follow_each_other():
    table = random_table(4)
    layers = [*LAYERS.values(), *LAYERS.values()]
    logs = run(layers, table, window_ready=sometimes(5, 0.6))
    assert [items(log) for log in logs] == [expected(layer, table) for layer in layers]


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13, 21])
@pytest.mark.parametrize("window", [1.0, 0.3])
def test_a_reset_ends_a_layer(after, window):
    table = random_table(6)
    cut, layer = LAYERS["several groups"], LAYERS["shared results"]
    cut_log, log = run([cut, layer], table, window_ready=sometimes(7, window), reset_after=after)
    windows_seen = [item for _, item in cut_log if isinstance(item, dict)]
    windows = [item for item in expected(cut, table) if isinstance(item, dict)]
    assert windows_seen == windows[: len(windows_seen)]
    assert items(log) == expected(layer, table)


@pytest.mark.parametrize(("lines", "positions"), [(1, 12), (4, 5), (9, 1)])
@pytest.mark.parametrize("sources", [1, 2])
def test_a_window_per_cycle_and_one_cycle_more_per_line(lines, positions, sources):
    layer = Layer(lines, positions, two_sources=sources - 1)
    (log,) = run([layer], random_table(8))
    cycles = [now for now, item in log if isinstance(item, dict)]
    assert cycles[-1] - cycles[0] == sources * lines * positions - 1 + lines - 1


@pytest.mark.parametrize("pool_lines", [1, 2, 4])
def test_one_cycle_more_per_line_of_a_max_pooling_window(pool_lines):
    layer = Layer(2, 4, pool_lines=pool_lines, pool_positions=2)
    (log,) = run([layer], random_table(8))
    cycles = [now for now, item in log if isinstance(item, dict)]
    vertical = 2 if pool_lines == 1 else 2 * 4 * pool_lines
    assert cycles[-1] - cycles[0] == 2 * 4 * 2 * pool_lines - 1 + vertical - 1


@pytest.mark.parametrize("two_sources", [0, 1])
def test_a_group_takes_five_cycles_more(two_sources):
    layer = Layer(1, 1, groups=4, two_sources=two_sources)
    (log,) = run([layer], random_table(8))
    refills = [now for now, item in log if isinstance(item, int)]
    windows = [now for now, item in log if isinstance(item, dict)]
    # A cycle for the vertical entry, and one per source; then the window passes the tables, the
    # adders and the queue.
    assert {after - now for now, after in itertools.pairwise(refills)} == {5 + 2 + two_sources}
    assert refills[0] == 5
    assert windows[0] - refills[0] == 2 + 4 + 2
