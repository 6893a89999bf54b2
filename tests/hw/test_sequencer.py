"""Sequencer: order of pulses, descriptors at their outputs, stored counters."""

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Signal

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import (
    DESCRIPTOR_WORDS,
    DRAIN_FIELDS,
    SCAN_FIELDS,
    LayerDescriptor,
)
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.hw.sequencer.sequencer import Sequencer
from tests.hw.simulation import plain, simulate

CONFIG = EngineConfig(lanes=6, tile_lanes=2, layers=5, weight_rows=99)
FETCH_LATENCY = 2
PULSES = ("begin", "prepare", "start", "load", "finish")


def descriptors(seed: int) -> list[dict[str, int]]:
    rng = random.Random(seed)
    widths = LayerDescriptor.widths(CONFIG)
    return [
        {name: rng.randrange(1 << width) for name, width in widths.items()}
        for _ in range(CONFIG.layers)
    ]


@dataclass
class Run:
    """The pulses and outputs of a run, with their cycles."""

    pulses: list[tuple[int, str]] = field(default_factory=list)
    counting: list[int] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    filed: list[tuple[int, int, int]] = field(default_factory=list)  # cycle, layer, word
    scans: list[dict] = field(default_factory=list)
    drains: list[dict] = field(default_factory=list)
    events_done: list[int] = field(default_factory=list)
    results_done: list[int] = field(default_factory=list)

    def order(self) -> list[str]:
        return [name for _, name in self.pulses]

    def when(self, name: str) -> list[int]:
        return [now for now, pulse in self.pulses if pulse == name]


def run_layers(
    runs: list[tuple[int, int]],
    *,
    events=lambda: 9,
    results=lambda: 5,
    reset_after: int | None = None,
    fields: bool = False,
    seed: int = 1,
) -> list[Run]:
    """Runs layers (first, last), with given numbers of cycles from a layer's start to the end of
    its events, and from there to the end of its results. With `reset_after` a reset ends the first
    run; with `fields` the descriptor outputs of every cycle are kept."""
    dut = Sequencer(CONFIG)
    reset = Signal()
    layers = descriptors(seed)
    memory = {
        layer * DESCRIPTOR_WORDS + index: word
        for layer, values in enumerate(layers)
        for index, word in enumerate(LayerDescriptor(**values).words(CONFIG))
    }
    done: list[Run] = []

    async def one(ctx, first: int, last: int, cycles: int | None) -> Run:
        run = Run()
        read = [0] * FETCH_LATENCY
        events_at = results_at = None
        quiet = 0
        for now in range(3000):
            if now == cycles or quiet == 10:
                break
            ctx.set(dut.run, now == 0)
            ctx.set(dut.first, first if now == 0 else 0)
            ctx.set(dut.last, last if now == 0 else 0)
            ctx.set(dut.descriptor_data, memory.get(read[-1], 0xFFFF_FFFF))
            ctx.set(dut.events_done, now == events_at)
            ctx.set(dut.results_done, now == results_at)
            for name in PULSES:
                # The first `load` comes from the reset, before any layer.
                if ctx.get(getattr(dut, name)) and (name, now) != ("load", 0):
                    run.pulses.append((now, name))
            if ctx.get(dut.counting):
                run.counting.append(now)
            if ctx.get(dut.busy):
                run.busy.append(now)
                quiet = 0
            quiet += 1
            if ctx.get(dut.counter_write):
                address = ctx.get(dut.counter_address)
                word = ctx.get(dut.counter_select)
                assert address % COUNTER_WORDS == word
                run.filed.append((now, address // COUNTER_WORDS, word))
            if fields:
                run.scans.append(plain(ctx.get(dut.scan)))
                run.drains.append(plain(ctx.get(dut.drain)))
            if now == events_at:
                run.events_done.append(now)
                results_at = now + results()
            if now == results_at:
                run.results_done.append(now)
            if ctx.get(dut.start):
                events_at = now + events()
            read = [ctx.get(dut.descriptor_address), *read[:-1]]
            await ctx.tick()
        return run

    async def testbench(ctx):
        for number, (first, last) in enumerate(runs):
            cycles = reset_after if number == 0 else None
            done.append(await one(ctx, first, last, cycles))
            if cycles is not None:
                ctx.set(dut.events_done, 0)
                ctx.set(dut.results_done, 0)
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)

    simulate(dut, testbench, reset=reset)
    return done


def numbers(low: int, high: int, seed: int):
    rng = random.Random(seed)
    return lambda: rng.randint(low, high)


def pulses(count: int) -> list[str]:
    """The order of all pulses if a layer's results end before the next descriptor is fetched."""
    return ["begin", *["prepare", "start", "load", "finish"] * count]


SPANS = pytest.mark.parametrize("span", [(0, 0), (0, 4), (1, 3), (4, 4)])


@SPANS
def test_pulses_in_order(span):
    (run,) = run_layers([span])
    assert run.order() == pulses(span[1] - span[0] + 1)


@SPANS
@pytest.mark.parametrize("results", [(1, 3), (1, 60), (50, 90)], ids=["soon", "mixed", "late"])
def test_a_layer_starts_behind_the_results_of_the_one_before(span, results):
    count = span[1] - span[0] + 1
    (run,) = run_layers([span], events=numbers(1, 30, 2), results=numbers(*results, 3))
    starts, finished = run.when("start"), run.when("finish")
    assert (len(starts), len(run.when("prepare"))) == (count, count)
    assert finished == run.results_done
    assert all(finish < start for finish, start in zip(finished, starts[1:], strict=False))
    assert run.when("load") == [start + 1 for start in starts]


def test_the_next_layer_is_prepared_while_neurons_drain():
    (run,) = run_layers([(0, 2)], results=lambda: 80)
    prepared, finished = run.when("prepare"), run.when("finish")
    assert all(now < after for now, after in zip(prepared[1:], finished, strict=False))


def test_rows_are_read_from_the_cycle_after_start_until_the_events_are_done():
    (run,) = run_layers([(0, 3)], events=numbers(1, 20, 4))
    spans = zip(run.when("start"), run.events_done, strict=True)
    assert run.counting == [now for start, done in spans for now in range(start + 1, done + 1)]


def test_busy_from_the_cycle_after_run_until_everything_is_filed():
    (run,) = run_layers([(1, 2)])
    end = max(run.results_done[-1], run.filed[-1][0])
    assert run.busy == list(range(1, run.busy[-1] + 1))
    assert end <= run.busy[-1] <= end + 2


@SPANS
def test_scan_and_drain_show_the_layer(span):
    (run,) = run_layers([span], events=numbers(3, 20, 5), results=numbers(1, 60, 6), fields=True)
    layers = descriptors(1)[span[0] : span[1] + 1]
    loads = [*run.when("load"), len(run.drains)]
    for number, layer in enumerate(layers):
        scan = {name: layer[name] for name in SCAN_FIELDS}
        reading = slice(run.when("prepare")[number], run.events_done[number] + 1)
        assert all(shown == scan for shown in run.scans[reading])
        drain = {name: layer[name] for name in DRAIN_FIELDS}
        assert all(shown == drain for shown in run.drains[loads[number] : loads[number + 1]])


@SPANS
@pytest.mark.parametrize("results", [1, 4, 8, 70])
def test_counters_are_filed_once_and_before_the_next_start(span, results):
    (run,) = run_layers([span], results=lambda: results)
    layers = range(span[0], span[1] + 1)
    written = [(layer, word) for _, layer, word in run.filed]
    assert written == [(layer, word) for layer in layers for word in range(COUNTER_WORDS)]
    starts = [*run.when("start")[1:], 1 << 30]
    for number, layer in enumerate(layers):
        times = {word: now for now, at, word in run.filed if at == layer}
        assert run.events_done[number] < min(times.values())
        assert max(times.values()) < starts[number]
        assert times[Counter.CYCLES] > run.results_done[number]


def test_a_run_after_a_run():
    spans = [(0, 4), (2, 3), (0, 4)]
    runs = run_layers(spans, results=lambda: 30)
    alone = [run_layers([span], results=lambda: 30)[0] for span in spans]
    assert [(run.pulses, run.filed) for run in runs] == [(run.pulses, run.filed) for run in alone]


@pytest.mark.parametrize("after", [1, 2, 20, 32, 36, 44, 50, 52, 60, 90])
def test_a_run_after_a_reset(after):
    (clean,) = run_layers([(1, 3)], results=lambda: 12)
    _, again = run_layers([(0, 4), (1, 3)], results=lambda: 12, reset_after=after)
    assert (again.pulses, again.filed, again.busy) == (clean.pulses, clean.filed, clean.busy)


def test_only_the_tiles_are_reset_without_a_run():
    seen = []
    dut = Sequencer(CONFIG)
    names = (*PULSES, "busy", "counter_write")

    async def testbench(ctx):
        for now in range(20):
            seen.extend((now, name) for name in names if ctx.get(getattr(dut, name)))
            await ctx.tick()

    simulate(dut, testbench)
    assert seen == [(0, "load")]
