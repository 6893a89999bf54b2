"""WindowGenerator: every window of a layer, in order, from two axis tables."""

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
    *("windows_y", "windows_x", "table_y", "table_x", "groups"),
    *("input_row", "weight_row", "weight_group", "skip_empty"),
)
CONFIG = EngineConfig(
    lanes=3, tile_lanes=3, weight_rows=50, feature_rows=30, table_entries=40, channel_groups=5
)
TABLE_LATENCY = 2


@dataclass
class Layer:
    """A layer with actual counts, not counts minus one."""

    lines: int
    positions: int
    groups: int = 1
    table_y: int = 0
    table_x: int = 20
    input_row: int = 0
    weight_row: int = 0
    weight_group: int = 0
    skip_empty: int = 0

    def fields(self) -> dict[str, int]:
        counts = {"windows_y": self.lines, "windows_x": self.positions, "groups": self.groups}
        fields = {name: count - 1 for name, count in counts.items()}
        return {name: fields.get(name, getattr(self, name, 0)) for name in NAMES}


def random_table(seed: int) -> list[AxisEntry]:
    rng = random.Random(seed)
    widths = AxisEntry.widths(CONFIG)
    return [
        AxisEntry(**{name: rng.randrange(1 << width) for name, width in widths.items()})
        for _ in range(CONFIG.table_entries)
    ]


def expected(layer: Layer, table: list[AxisEntry]) -> list[dict | int]:
    """Refills (first weight rows) and windows in the expected order."""
    rows, weights = 1 << CONFIG.feature_row_bits, 1 << CONFIG.weight_row_bits
    result: list[dict | int] = []
    for group in range(layer.groups):
        base = layer.weight_row + group * layer.weight_group
        result.append(base % weights)
        if layer.skip_empty:
            counts = {"count_y": -1, "count_x": -1, "span": -1}
            result.append({**counts, "shared": 1, "group_last": 0, "layer_last": 0})
        for line, position in itertools.product(range(layer.lines), range(layer.positions)):
            y, x = table[layer.table_y + line], table[layer.table_x + position]
            last = (line, position) == (layer.lines - 1, layer.positions - 1)
            result.append(
                {
                    "row": (layer.input_row + y.row + x.row) % rows,
                    "weight": (base + y.weight + x.weight) % weights,
                    # Counts minus one in the table, minus two at the output.
                    "count_y": y.count - 1,
                    "count_x": x.count - 1,
                    "span": x.span - 1,
                    "head": x.head,
                    "tail": x.tail,
                    "shared": 0,
                    "group_last": int(last),
                    "layer_last": int(last and group == layer.groups - 1),
                }
            )
    return result


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
        if ahead and (not result or result[-1]["group_last"]):  # type: ignore[index]
            result.append(ahead.pop(0))
        free = ("row", "weight", "head", "tail") if item["shared"] else ()
        result.append({name: value for name, value in item.items() if name not in free})
    return result + ahead


LAYERS = {
    "one window": Layer(1, 1),
    "one line": Layer(1, 7, table_y=39, table_x=3, input_row=29),
    "one column": Layer(7, 1, groups=2, weight_row=13, weight_group=45),
    "several groups": Layer(3, 5, groups=5, weight_row=60, weight_group=7, input_row=11),
    "shared results": Layer(2, 3, groups=3, weight_group=3, skip_empty=1),
    "one window, shared": Layer(1, 1, groups=2, skip_empty=1),
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
def test_a_window_per_cycle_and_one_cycle_more_per_line(lines, positions):
    layer = Layer(lines, positions, groups=2)
    (log,) = run([layer], random_table(8))
    cycles = [now for now, item in log if isinstance(item, dict)]
    for group in (cycles[: len(cycles) // 2], cycles[len(cycles) // 2 :]):
        assert group[-1] - group[0] == lines * positions - 1 + lines - 1
