"""RowWalker: the rows of windows, one per cycle."""

import itertools
import random

import pytest
from amaranth.hdl import Signal

from residuum.hw.isa.config import EngineConfig
from residuum.hw.scanner.walker import RowWalker
from tests.hw.simulation import plain, simulate

NAMES = (
    *("parts", "two_sources", "pool_y", "pool_x"),
    *("pass_pitch", "pitch_y", "pitch_x", "weight_x", "weight_y"),
)
FLAGS = ("shift", "continues", "shared", "later", "more", "line_last", "group_last", "layer_last")
CONFIG = EngineConfig(lanes=3, tile_lanes=3, steps=5, weight_rows=50, feature_rows=30)


def requests(layer: dict, window: dict) -> list[dict]:
    """The rows of one window. Counts of layers and windows are stored minus one."""
    rows, weights = 1 << CONFIG.feature_row_bits, 1 << CONFIG.weight_row_bits
    passes = 0 if layer["two_sources"] else layer["parts"]
    counts = (passes, window["count_y"], window["count_x"], window["span"])
    result = []
    for p, y, x, index in itertools.product(*(range(count + 1) for count in counts)):
        row = p * layer["pass_pitch"] + y * layer["pitch_y"] + x * layer["pitch_x"] + index
        weight = (
            y // (layer["pool_y"] + 1) * layer["weight_y"]
            + x // (layer["pool_x"] + 1) * layer["weight_x"]
            + index * CONFIG.lanes
        )
        result.append(
            {
                "row": (window["row"] + row) % rows,
                "weight": (window["weight"] + weight) % weights,
                "empty_row": (window["empty_row"] + index) % rows,
                "head": window["head"],
                "tail": window["tail"],
                # The upper bit-planes come first.
                "shift": int(window["shift"] or p < passes),
                "first": int(index == 0),
                "last": int(index == window["span"]),
                # A window that continues ends with the last row of the next one.
                "end": int((p, y, x, index) == counts and not window["continues"]),
                "how": {name: window[name] for name in FLAGS[2:]},
            }
        )
    return result


def layer_of(**fields) -> dict:
    return {**dict.fromkeys(NAMES, 0), **fields}


def random_window(rng: random.Random, *, largest: int = 3) -> dict:
    return {
        "row": rng.randrange(32),
        "weight": rng.randrange(64),
        "count_y": rng.randint(0, largest),
        "count_x": rng.randint(0, largest),
        "span": rng.randint(0, largest),
        "head": rng.randrange(3),
        "tail": rng.randrange(3),
        "empty_row": rng.randrange(32),
        **{name: rng.randrange(2) for name in FLAGS},
    }


def run(
    layer: dict,
    windows: list[dict],
    *,
    valid=lambda: True,
    ready=lambda: True,
    reset_after: int | None = None,
) -> list[tuple[int, dict]]:
    """(cycle, request) of all windows. With `reset_after`, a reset ends a first attempt after so
    many cycles, and the result is that of the second attempt."""
    dut = RowWalker(CONFIG, NAMES)
    reset = Signal()
    seen: list[tuple[int, dict]] = []

    async def feed(ctx, cycles: int) -> None:
        left = list(windows)
        held = False
        for now in range(cycles):
            held = bool(left) and (held or valid())
            ctx.set(dut.windows.valid, held)
            if held:
                # The walker takes the counts of a window minus two.
                counts = {name: left[0][name] - 1 for name in ("count_y", "count_x", "span")}
                ctx.set(dut.windows.payload, left[0] | counts)
            is_ready = ready()
            ctx.set(dut.ready, is_ready)
            if ctx.get(dut.advance):
                assert is_ready
                seen.append((now, plain(ctx.get(dut.request))))
            if held and ctx.get(dut.windows.ready):
                left.pop(0)
                held = False
            await ctx.tick()

    async def testbench(ctx):
        ctx.set(dut.layer, layer)
        await ctx.tick()
        if reset_after is not None:
            await feed(ctx, reset_after)
            ctx.set(reset, 1)
            ctx.set(dut.ready, 0)
            await ctx.tick()
            ctx.set(reset, 0)
            seen.clear()
        total = sum(len(requests(layer, window)) for window in windows)
        await feed(ctx, 8 * (total + len(windows)) + 20)

    simulate(dut, testbench, reset=reset)
    return seen


POOLED = layer_of(pool_y=1, pool_x=3, pitch_y=11, pitch_x=2, weight_y=9, weight_x=5)
LAYERS = {
    "plain": layer_of(pitch_y=7, pitch_x=3, weight_y=31, weight_x=6),
    "pooled": POOLED,
    "passes": layer_of(parts=1, pass_pitch=13, pitch_y=4, pitch_x=1, weight_y=12, weight_x=3),
    "pooled, in passes": POOLED | {"parts": 1, "pass_pitch": 17},
    "two sources": POOLED | {"parts": 1, "two_sources": 1},
}


def sometimes(seed: int, share: float):
    rng = random.Random(seed)
    return lambda: rng.random() < share


@pytest.mark.parametrize("valid", [1.0, 0.3], ids=["windows at once", "windows late"])
@pytest.mark.parametrize("ready", [1.0, 0.5], ids=["always ready", "at times"])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_rows_of_every_window(layer, ready, valid):
    rng = random.Random(1)
    windows = [random_window(rng) for _ in range(8)]
    seen = run(layer, windows, valid=sometimes(2, valid), ready=sometimes(3, ready))
    assert [request for _, request in seen] == [
        request for window in windows for request in requests(layer, window)
    ]


@pytest.mark.parametrize("count", ["count_y", "count_x", "span"])
def test_a_count_to_its_end(count):
    window = random_window(random.Random(4), largest=0) | {count: 255}
    seen = run(POOLED, [window])
    assert [request for _, request in seen] == requests(POOLED, window)


@pytest.mark.parametrize("largest", [0, 2])
def test_no_gap_between_windows(largest):
    rng = random.Random(5)
    windows = [random_window(rng, largest=largest) for _ in range(12)]
    cycles = [now for now, _ in run(LAYERS["passes"], windows)]
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))


@pytest.mark.parametrize("after", [1, 2, 5, 17])
def test_a_reset_forgets_the_window(after):
    rng = random.Random(6)
    windows = [random_window(rng) for _ in range(4)]
    seen = run(LAYERS["pooled, in passes"], windows, reset_after=after)
    assert [request for _, request in seen] == [
        request for window in windows for request in requests(LAYERS["pooled, in passes"], window)
    ]
