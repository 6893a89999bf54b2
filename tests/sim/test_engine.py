"""The whole engine under Verilator: random programs on several engines.

Every spike is compared with the golden model, every counter with the cycle model.
"""

from collections import Counter as Counting

import numpy as np
import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.sim.verilator.engine import Case, run_engine
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import compile_network
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.corrections import CARRY, MASK
from residuum.sw.trace.compare import compare
from tests.sim.random_graphs import coverage, random_graph_cases
from tests.sim.random_programs import random_cases
from tests.sw.networks import CORNERS

WIDE = {"accumulator_bits": 20, "potential_bits": 32, "layers": 64}
MAIN = EngineConfig(
    lanes=8, tile_lanes=4, event_width=2, weight_rows=4096, feature_rows=2048, **WIDE
)

CONFIGS = {
    "1 lane, 1 step": EngineConfig(
        lanes=1, tile_lanes=1, steps=1, weight_rows=8192, feature_rows=8192, **WIDE
    ),
    "40 tiles of 1 lane, 2 steps": EngineConfig(
        lanes=40, tile_lanes=1, event_width=2, steps=2, weight_rows=2048, feature_rows=512, **WIDE
    ),
    "3 lanes, 12 steps, no shift": EngineConfig(
        lanes=3, tile_lanes=3, steps=12, shift_bits=0, weight_rows=4096, feature_rows=2048, **WIDE
    ),
    "3 tiles of 4 lanes, 6 steps": EngineConfig(
        lanes=12, tile_lanes=4, event_width=2, steps=6, weight_rows=2048, feature_rows=64, **WIDE
    ),
    "15 lanes": EngineConfig(lanes=15, tile_lanes=15, weight_rows=4096, feature_rows=1024, **WIDE),
    "2 tiles of 16 lanes, 4 steps, 4-bit weights": EngineConfig(
        lanes=32,
        tile_lanes=16,
        event_width=2,
        steps=4,
        weight_bits=4,
        weight_rows=2048,
        feature_rows=64,
        **WIDE,
    ),
    # So few rows that maps are packed and sums are written over what they add to.
    "4 tiles of 16 lanes, 4-bit weights": EngineConfig(
        lanes=64,
        tile_lanes=16,
        event_width=2,
        weight_bits=4,
        weight_rows=1024,
        feature_rows=64,
        layers=64,
    ),
    "default": EngineConfig(weight_rows=4096),
}
# What the graphs on the odd engines, and on the main one, must have.
WAYS = (
    "packed map", "overwritten map", "shared weight rows", "several groups", "skipped rows",
    "passes", "skip_empty", "max-pooling", "two_sources", "second_shift", "fraction", "all bits",
    MASK, CARRY,
)  # fmt: skip


def differences(config: EngineConfig, cases: list[Case]) -> list[str]:
    """Differences from the golden model or the cycle model, one line per network."""
    found = []
    for number, (case, engine) in enumerate(zip(cases, run_engine(config, cases), strict=True)):
        network = case.network
        steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
        golden = simulate(network, case.images, **steps)
        wrong = compare(network, engine, golden).first
        program = compile_network(network, config, **steps)
        predicted = [predict(program, image, golden, n) for n, image in enumerate(case.images)]
        columns = list(Counter)
        if not wrong and not np.array_equal(
            engine.counters[:, :, columns], np.array(predicted)[:, :, columns]
        ):
            wrong = f"counters {engine.counters.tolist()}, predicted {np.array(predicted).tolist()}"
        if wrong:
            found.append(f"network {number}: {wrong}")
    return found


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))]
)
def test_random_programs(seed):
    """4 x 50 programs on the same engine, without a reset."""
    assert differences(MAIN, random_cases(seed, MAIN, 50)) == []


def test_random_programs_use_every_freedom():
    cases = [case for seed in range(4) for case in random_cases(seed, MAIN, 50)]
    layers = [layer for case in cases for layer in case.network.layers]
    sources = [layer.source for layer in layers]
    assert len(cases) == 200
    assert {size for source in sources for size in source.kernel} >= set(range(1, 8))
    assert {size for source in sources for size in source.stride} == {1, 2, 3, 4}
    assert {size for source in sources for size in source.padding} >= set(range(7))
    assert {source.pool for source in sources} >= {(1, 1), (2, 2), (4, 4), (1, 2), (4, 1)}
    assert {layer.out_channels % MAIN.lanes == 0 for layer in layers} == {False, True}
    assert {(case.tau > 0, case.tau + case.T < MAIN.steps) for case in cases} == {
        *((probe, short) for probe in (False, True) for short in (False, True))
    }


def test_free_geometry():
    """Axes and sides of their own, dilation, groups and a border of the image."""
    assert differences(MAIN, random_cases(20, MAIN, 40, free=True)) == []


def test_free_geometry_uses_every_freedom():
    cases = random_cases(20, MAIN, 40, free=True)
    sources = [layer.source for case in cases for layer in case.network.layers]
    firsts = [case.network.layers[0].source for case in cases]
    for chosen in (sources, firsts):
        assert any(source.stride[0] != source.stride[1] for source in chosen)
        assert any(source.padding[0] != source.padding[1] for source in chosen)
        assert any(source.padding[2] != source.padding[3] for source in chosen)
        assert any(source.padding[0] != source.padding[2] for source in chosen)
        assert any(source.groups > 1 for source in chosen)
        assert any(source.dilation[0] > 1 and source.kernel[0] > 1 for source in chosen)
        assert any(source.dilation[1] > 1 and source.kernel[1] > 1 for source in chosen)
    assert any(source.stride == (1, 2) for source in firsts)
    assert any(any(case.network.pad.sides) for case in cases)


@pytest.mark.long
def test_sixteen_layers():
    assert differences(MAIN, random_cases(7, MAIN, 6, depth=16)) == []


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 8))]
)
def test_random_graphs(seed):
    """8 x 40 graphs on the same engine, without a reset."""
    assert differences(MAIN, random_graph_cases(seed, MAIN, 40)) == []


def test_wide_windows():
    cases = random_graph_cases(5, MAIN, 30, images=1, narrow=True)
    assert coverage(cases, MAIN)["wide windows"] > 15
    assert differences(MAIN, cases) == []


@pytest.mark.parametrize("layers", [1, 17, 21, pytest.param(64, marks=pytest.mark.long)])
def test_graphs_of_many_layers(layers):
    cases = random_graph_cases(layers, MAIN, 2, images=1, layers=layers)
    assert [len(case.network.layers) for case in cases] == [layers, layers]
    assert differences(MAIN, cases) == []


@pytest.mark.long
def test_graphs_have_every_corner():
    found = Counting()
    for seed in range(8):
        found += coverage(random_graph_cases(seed, MAIN, 40), MAIN)
    for name, config in CONFIGS.items():
        found += coverage(random_graph_cases(len(name), config, 40), config)
    assert {corner: found[corner] for corner in (*CORNERS, *WAYS) if found[corner] < 3} == {}


# Compilation takes most of the time, so `make test` has one of these engines.
SHORT = ("3 tiles of 4 lanes, 6 steps",)


@pytest.mark.parametrize(
    "name",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in CONFIGS],
)
def test_other_engines(name):
    """15 chains and 40 graphs on each; chains read images."""
    config = CONFIGS[name]
    chains = random_cases(100, config, 15) if config.pixel_planes else []
    graphs = random_graph_cases(len(name), config, 40)
    if config.tile_lanes > 1:
        graphs += random_graph_cases(len(name), config, 20, narrow=True)
    assert differences(config, [*chains, *graphs]) == []
