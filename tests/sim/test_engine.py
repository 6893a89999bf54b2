"""The whole engine under Verilator: random programs on several engines.

Every spike is compared with the golden model, every counter with the cycle model.
"""

import numpy as np
import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.sim.verilator.engine import run_engine
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import compile_network
from residuum.sw.golden.golden_model import simulate
from residuum.sw.trace.compare import compare
from tests.sim.random_programs import random_cases

WIDE = {"accumulator_bits": 20, "potential_bits": 32}
MAIN = EngineConfig(lanes=8, tile_lanes=4, weight_rows=4096, feature_rows=2048, **WIDE)

CONFIGS = {
    "1 lane, 1 step": EngineConfig(
        lanes=1,
        tile_lanes=1,
        steps=1,
        weight_rows=8192,
        feature_rows=8192,
        channel_groups=256,
        **WIDE,
    ),
    "2 tiles of 1 lane, 2 steps": EngineConfig(
        lanes=2,
        tile_lanes=1,
        steps=2,
        weight_rows=8192,
        feature_rows=8192,
        channel_groups=256,
        **WIDE,
    ),
    "40 tiles of 1 lane, 2 steps": EngineConfig(
        lanes=40, tile_lanes=1, steps=2, weight_rows=2048, feature_rows=512, **WIDE
    ),
    "5 lanes, 3 steps": EngineConfig(
        lanes=5,
        tile_lanes=5,
        steps=3,
        weight_rows=4096,
        feature_rows=4096,
        channel_groups=64,
        **WIDE,
    ),
    "3 tiles of 4 lanes, 6 steps": EngineConfig(
        lanes=12, tile_lanes=4, steps=6, weight_rows=2048, feature_rows=1024, **WIDE
    ),
    "7 lanes, 12 steps, 4-bit weights": EngineConfig(
        lanes=7, tile_lanes=7, steps=12, weight_bits=4, weight_rows=4096, feature_rows=2048, **WIDE
    ),
    "default": EngineConfig(weight_rows=4096),
}


def differences(
    config: EngineConfig, seed: int, count: int, depth: int | None = None, free: bool = False
) -> list[str]:
    """Differences from the golden model or the cycle model, one line per network."""
    cases = random_cases(seed, config, count, depth=depth, free=free)
    found = []
    for number, (case, engine) in enumerate(zip(cases, run_engine(config, cases), strict=True)):
        network = case.network
        golden = simulate(network, case.images, tau=case.tau, T=case.T)
        wrong = compare(network, engine, golden).first
        program = compile_network(network, config, tau=case.tau, T=case.T)
        predicted = [predict(program, image, golden, n) for n, image in enumerate(case.images)]
        columns = list(Counter)
        if not wrong and not np.array_equal(
            engine.counters[:, :, columns], np.array(predicted)[:, :, columns]
        ):
            wrong = f"counters {engine.counters.tolist()}, predicted {np.array(predicted).tolist()}"
        if wrong:
            found.append(f"seed {seed}, network {number}: {wrong}")
    return found


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))]
)
def test_random_programs(seed):
    """4 x 50 programs on the same engine, without a reset."""
    assert differences(MAIN, seed, 50) == []


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
    assert differences(MAIN, 20, 40, free=True) == []


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
    assert differences(MAIN, 7, 6, depth=16) == []


# Compilation takes most of the time, so `make test` has one of these engines.
SHORT = ("3 tiles of 4 lanes, 6 steps",)


@pytest.mark.parametrize(
    "name",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in CONFIGS],
)
def test_other_engines(name):
    assert differences(CONFIGS[name], 100, 15) == []
