"""Core: images through its streams, the bus, errors and resets."""

from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Signal

from residuum.hw.core import Core
from residuum.hw.host.images import ImageBuffer
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Control, Counter, HostMap, Region, steps_word
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.exact import engine_code
from residuum.sw.compiler.program import compile_network, grow_to_fit
from residuum.sw.data.data_sets import load_dataset
from residuum.sw.golden.golden_model import simulate as golden
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.library import load_network
from tests.hw.core import ERROR, Bench, classify, core_of, expected, memory_of
from tests.hw.simulation import refusal
from tests.hw.streams import PAUSES
from tests.sim.random_graphs import random_graph_cases

SMALL = EngineConfig(lanes=4, tile_lanes=2, weight_rows=256, feature_rows=256, layers=8)
ENGINES = {
    "two tiles": SMALL,
    "two events": SMALL.with_changes(event_width=2),
    "two passes": SMALL.with_changes(steps=4, weight_bits=4, accumulator_bits=12),
    "three tiles": SMALL.with_changes(lanes=6),
}


@cache
def random_cases(engine: EngineConfig, count: int, seed: int = 3) -> list:
    """Cases with images that a device can pack, those with the fewest neurons of many."""
    found = []
    for case in random_graph_cases(seed, engine, 40, images=2):
        network = case.network
        if network.input == IMAGE and len(network.layers) > 1:
            program = compile_network(
                network, engine, tau=case.tau, T=case.T, correction=case.correction
            )
            if program.takes_pixels:
                found.append((case, program))

    def work(pair) -> int:
        return sum(np.prod(shape) for shape in pair[0].network.neuron_shapes)

    return sorted(found, key=work)[3 : 3 + count]


def steps_of(case) -> dict:
    return {"tau": case.tau, "T": case.T, "correction": case.correction}


# The others take half a minute of a core each.
SHORT = ("two passes",)


@pytest.mark.parametrize(
    "name",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in ENGINES],
)
def test_random_networks_give_the_results_of_the_golden_model(name):
    for index, (case, program) in enumerate(random_cases(ENGINES[name], 2)):
        found = classify(core_of(program, **steps_of(case)), case.images)
        assert (index, found) == (index, expected(case.network, case.images, **steps_of(case)))


@pytest.mark.parametrize(
    "name",
    [name if name == "uneven" else pytest.param(name, marks=pytest.mark.long) for name in PAUSES],
)
def test_images_wait_for_each_other(name):
    case, program = random_cases(SMALL, 1)[0]
    images = np.random.default_rng(1).integers(0, 256, (5, *case.network.input_shape), np.uint8)
    found = classify(core_of(program, **steps_of(case)), images, pauses=PAUSES[name])
    assert found == expected(case.network, images, **steps_of(case))


def test_the_logits_of_a_network_with_fewer_fraction_bits_than_the_engine():
    shifted = [pair for pair in random_cases(SMALL, 40) if pair[1].logit_shift > 1]
    case, program = shifted[0]
    found = classify(core_of(program, **steps_of(case)), case.images)
    assert found == expected(case.network, case.images, **steps_of(case))


def test_the_next_image_is_taken_during_a_run():
    case, program = random_cases(SMALL, 1)[0]
    core = core_of(program, **steps_of(case))
    bench, seen = Bench(core), []
    image = case.images[0].tobytes()

    async def testbench(ctx):
        await bench.send(ctx, [image] * 2)
        seen.append(len(bench.results))
        await bench.until(ctx, 2)

    bench.run(testbench)
    assert seen == [0]


def test_an_image_of_a_wrong_size_is_answered_with_an_error():
    case, program = random_cases(SMALL, 1)[0]
    core, good = core_of(program, **steps_of(case)), case.images[0].tobytes()
    images = [good[:-1], good, good + b"\0", good, good * 9, good[:1], good]
    bench = Bench(core)

    async def testbench(ctx):
        await bench.send(ctx, images)
        await bench.until(ctx, len(images))

    bench.run(testbench)
    (result,) = expected(case.network, case.images[:1], **steps_of(case))
    assert bench.results == [ERROR, result, ERROR, result, ERROR, ERROR, result]


def test_a_program_through_the_bus():
    """An image before the program is an error; the program may be replaced by another one."""
    cases = random_cases(SMALL, 2, seed=4)
    bench, results = Bench(Core(SMALL, image_bytes=1024)), []

    async def testbench(ctx):
        await bench.send(ctx, [b"\1\2\3"])
        await bench.until(ctx, 1)
        for index, (case, program) in enumerate(cases):
            word = steps_word(case.tau, case.T, engine_code(case.correction))
            steps = {HostMap(SMALL).address(Region.CONTROL, word=Control.STEPS): word}
            await bench.write(ctx, memory_of(program) | steps)
            await bench.send(ctx, [image.tobytes() for image in case.images])
            await bench.until(ctx, 1 + 2 * (index + 1))

    bench.run(testbench)
    for case, _ in cases:
        results += expected(case.network, case.images, **steps_of(case))
    assert bench.results == [ERROR, *results]


def test_the_bus_waits_for_a_run_and_reads_program_and_counters():
    case, program = random_cases(SMALL, 1)[0]
    bench, seen = Bench(core_of(program, **steps_of(case))), []
    host_map = HostMap(SMALL)
    counters = [
        host_map.address(Region.COUNTERS, layer=layer, word=word)
        for layer in range(len(program.layers))
        for word in Counter
    ]

    async def testbench(ctx):
        await bench.send(ctx, [case.images[0].tobytes()])
        await ctx.tick().repeat(3)
        assert not ctx.get(bench.core.bus.ready)
        await bench.access(ctx, counters[0])
        seen.append(len(bench.results))
        await ctx.tick().repeat(50)
        seen.append(await bench.read(ctx, counters))
        seen.append(await bench.read(ctx, program.addresses[:40].tolist()))

    bench.run(testbench)
    results, counted, words = seen
    assert (results, words) == (1, program.words[:40].tolist())
    trace = golden(case.network, case.images[:1], **steps_of(case))
    predicted = predict(program, case.images[0], trace, 0)
    assert counted == predicted[:, list(Counter)].reshape(-1).tolist()


def test_steps_that_the_engine_refuses_are_an_error():
    case, program = random_cases(SMALL, 1)[0]
    bench = Bench(core_of(program, **steps_of(case)))
    address = HostMap(SMALL).address(Region.CONTROL, word=Control.STEPS)

    async def testbench(ctx):
        image = case.images[0].tobytes()
        await bench.write(ctx, {address: 0})
        await bench.send(ctx, [image])
        await bench.until(ctx, 1)
        await bench.write(ctx, {address: bench.core.inference.steps})
        await bench.send(ctx, [image])
        await bench.until(ctx, 2)

    bench.run(testbench)
    (result,) = expected(case.network, case.images[:1], **steps_of(case))
    assert bench.results == [ERROR, result]


@pytest.mark.long
def test_a_reset_at_any_moment_leaves_nothing_behind():
    case, program = random_cases(SMALL, 1)[0]
    bench, reset = Bench(core_of(program, **steps_of(case))), Signal()
    first, second = (image.tobytes() for image in case.images)

    async def testbench(ctx):
        for cycles in (1, 60, 130, 220, 450):
            await bench.send(ctx, [first, first[:2]])
            await ctx.tick().repeat(cycles)
            ctx.set(reset, 1)
            await ctx.tick().repeat(30)
            ctx.set(reset, 0)
            bench.results.clear()
            await bench.send(ctx, [second])
            await bench.until(ctx, 1)
            results.append(bench.results[-1])

    results: list = []
    simulate_without_checks(bench, testbench, reset)
    wanted = expected(case.network, case.images[1:], **steps_of(case))
    assert results == wanted * 5


def simulate_without_checks(bench: Bench, testbench, reset: Signal) -> None:
    """A reset withdraws a result that is offered, which `take` does not allow."""
    from tests.hw.simulation import simulate

    async def take(ctx):
        ctx.set(bench.core.results.ready, 1)
        while True:
            _, _, valid, payload, resetting = await ctx.tick().sample(
                bench.core.results.valid, bench.core.results.payload, reset
            )
            if resetting:
                bench._words.clear()
            elif valid:
                bench._took(payload)

    simulate(bench.core, testbench, background=[take], reset=reset)


@pytest.mark.long
def test_twenty_digits():
    network, images = load_network("digits"), load_dataset("digits").test_images[:20]
    config = grow_to_fit(network, EngineConfig())
    program = compile_network(network, config, tau=4, T=4)
    found = classify(core_of(program, tau=4, T=4, correction="mask"), images)
    assert found == expected(network, images, tau=4, T=4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Core(SMALL, image_bytes=100),
            ValueError,
            "depth must be a power of two in 2..65536, not 100",
        ),
        (lambda: ImageBuffer(depth="64"), TypeError, "depth must be an integer, not '64'"),
        (
            lambda: Core(SMALL, tau=8),
            ValueError,
            "tau >= 0 and T >= 1 must be at most 8 together, not (8, 0)",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused(make, error, message):
    assert refusal(make) == (error, message)
