"""Several images at a time: every value and every counter, on weights of both kinds."""

from dataclasses import replace

import numpy as np
import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.sim.verilator.engine import Case, build_engine, run_engine
from residuum.sw.compiler.batch import Batch
from residuum.sw.compiler.cycles import predict_batch
from residuum.sw.compiler.program import compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.graph import INPUT, last_readers
from residuum.sw.trace.compare import compare
from tests.sim.engines import ON_CHIP, TIGHT, TIGHT_PAUSES
from tests.sim.random_graphs import random_graph_cases


def batches(config: EngineConfig, seed: int, count: int) -> list[Case]:
    """Random graphs, each with a batch of 2 to 5 images that is possible for it."""
    rng, found = np.random.default_rng(seed), []
    for case in random_graph_cases(seed, ON_CHIP, count, images=5):
        layers = case.network.layers
        first = last_readers(layers)[INPUT] + 1
        if first == len(layers):
            continue
        batch = Batch(int(rng.integers(2, 6)), int(rng.integers(first, len(layers))))
        chosen = replace(case, batch=batch, images=case.images[: batch.images])
        try:
            program(chosen, config)
        except ResiduumError:
            continue
        found.append(chosen)
    return found


def program(case: Case, config: EngineConfig):
    steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
    return compile_network(case.network, config, **steps, batch=case.batch)


def faults(config: EngineConfig, cases: list[Case], **how) -> list[str]:
    """The first difference of each case that has one, also of counters: with an external memory of
    those that do not depend on its pauses."""
    compared = [Counter.EVENTS, Counter.WINDOWS, Counter.SPIKES] if config.external else Counter
    columns, found = list(compared), []
    for case, engine in zip(cases, run_engine(config, cases, **how), strict=True):
        golden = simulate(
            case.network, case.images, tau=case.tau, T=case.T, correction=case.correction
        )
        predicted = predict_batch(program(case, config), case.images, golden, 0)[0][:, columns]
        counters = engine.counters.sum(axis=0)[:, columns]
        if not np.array_equal(counters, predicted):
            found.append(f"counters of {case.network.name}: {counters}, not {predicted}")
        if wrong := compare(case.network, engine, golden).first:
            found.append(wrong)
    return found


@pytest.mark.long
def test_batches_of_random_graphs():
    cases = batches(ON_CHIP, 200, 200)
    assert len(cases) >= 100
    assert faults(ON_CHIP, cases) == []
    # Maps that joint layers read and write, with one source and two, below each other and apart.
    programs = [program(case, ON_CHIP) for case in cases]
    joint = [
        (program, plan)
        for program in programs
        for plan in program.layers
        if len(plan.turn.images) > 1
    ]
    assert {len(plan.inputs) for _, plan in joint} == {1, 2}
    starts = [program.starts[plan.layer.source.map] for program, plan in joint]
    assert {len(set(np.diff(rows).tolist())) > 1 for rows in starts} == {False, True}


@pytest.mark.parametrize("count", [40, pytest.param(150, marks=pytest.mark.long)])
def test_batches_with_an_external_memory(count):
    cases = [case for case in batches(TIGHT, 3, count) if len(program(case, TIGHT).external)]
    assert len(cases) >= count // 8
    assert faults(TIGHT, cases, simulation=build_engine(TIGHT, pauses=TIGHT_PAUSES)) == []
