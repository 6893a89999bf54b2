"""Engines whose weights come from an external memory, through rings of any size, and an SDRAM.

Every spike is compared with the golden model. Counters of work are exact; the cycles have the
bounds that docs/engine.md states.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from residuum.hw.isa.config import (
    CHUNK_ROWS,
    EXTERNAL_BURST_WORDS,
    LABEL_BURSTS,
    EngineConfig,
)
from residuum.hw.isa.host_map import Counter
from residuum.sim.verilator.engine import Case, build_engine, run_engine
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.layout import lay_out
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.integer_network import RADIX, RATE
from residuum.sw.network.library import load_network
from residuum.sw.trace.compare import compare
from residuum.sw.trace.engine_trace import EngineTrace
from tests.sim.engines import ON_CHIP, TIGHT, TIGHT_PAUSES, ring
from tests.sim.random_graphs import random_graph_cases
from tests.sim.random_programs import random_cases

# Engine, longest pause of the memory between two bursts, seed of the networks.
RINGS = {
    "tight": (TIGHT, TIGHT_PAUSES, 0),
    "steady": (ring(256), 0, 1),
    "slow": (ring(256), 127, 2),
    "late": (ring(1024), 15, 3),
}
SHORT = "tight"
COUNT = 240


def compiled(case: Case, config: EngineConfig) -> Program | None:
    """The program of a case whose weights are in the external memory; None if there is none."""
    steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
    try:
        program = compile_network(case.network, config, **steps)
    except ResiduumError:
        return None
    return program if len(program.external) else None


@cache
def cases(config: EngineConfig, seed: int, count: int) -> list[Case]:
    """Random chains and graphs whose weights do not fit the store, but whose groups do."""
    found = [*random_cases(seed, ON_CHIP, count), *random_graph_cases(seed, ON_CHIP, count)]
    return [case for case in found if compiled(case, config)]


def with_all_rows(program: Program) -> Program:
    """The program as it would run if all weight rows were there from the start."""
    return replace(
        program,
        layers=tuple(
            replace(plan, descriptor=replace(plan.descriptor, chunks=0)) for plan in program.layers
        ),
    )


def fault(case: Case, config: EngineConfig, engine: EngineTrace) -> str:
    """The first difference from the golden model, or of a counter; empty if there is none."""
    steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
    golden = simulate(case.network, case.images, **steps)
    if wrong := compare(case.network, engine, golden).first:
        return wrong
    program = compile_network(case.network, config, **steps)
    resident = with_all_rows(program)
    for number, image in enumerate(case.images):
        found, inside = engine.counters[number], predict(resident, image, golden, number)
        for counter in (Counter.EVENTS, Counter.WINDOWS, Counter.SPIKES):
            if not np.array_equal(found[:, counter], inside[:, counter]):
                return f"{counter.name} {found[:, counter]}, not {inside[:, counter]}"
        lost = (found - inside)[:, Counter.CYCLES].sum()
        most = found[:, Counter.WEIGHT_STALLS].sum() + program.weight_rows
        if not 0 <= lost <= most:
            return f"{lost} cycles lost, not 0 to {most}"
    return ""


@pytest.mark.parametrize(
    "name",
    [name if name == SHORT else pytest.param(name, marks=pytest.mark.long) for name in RINGS],
)
def test_rings(name):
    """Networks one after another, without a reset."""
    config, pauses, seed = RINGS[name]
    chosen = cases(config, seed, 20 if name == SHORT else COUNT)
    simulation = build_engine(config, pauses=pauses)
    engines = run_engine(config, chosen, simulation=simulation)
    faults = [fault(case, config, engine) for case, engine in zip(chosen, engines, strict=True)]
    assert [found for found in faults if found] == []
    assert len(chosen) >= (5 if name == SHORT else 30)


@pytest.mark.long
def test_rings_have_every_corner():
    shares, layers = [], set()
    for config, _, seed in RINGS.values():
        for case in cases(config, seed, COUNT):
            shares.append(config.weight_rows / lay_out(case.network, config).ring_rows)
            layers.add(len(case.network.layers))
    # A ring of a single group, or of a little more.
    assert min(shares) == 1
    assert sum(1 <= share <= 1.1 for share in shares) >= 3
    assert sum(share > 3 for share in shares) >= 3
    assert len(shares) >= 300
    assert {1, 2, 3} <= layers


@pytest.mark.long
@pytest.mark.parametrize("number", [0, 1, 2])
def test_sdram(number):
    """With the controller and the model of a chip, which checks every rule; `test_external_device`
    has them behind the link, in the short runs too."""
    case = cases(TIGHT, 0, 20)[number]
    program = compiled(case, TIGHT)
    assert program is not None
    (engine,) = run_engine(TIGHT, [case], external=program.external)
    assert fault(case, TIGHT, engine) == ""
    steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
    golden = simulate(case.network, case.images, **steps)
    for number, image in enumerate(case.images):
        cycles = engine.counters[number][:, Counter.CYCLES].sum()
        predicted = predict(program, image, golden, number)[:, Counter.CYCLES].sum()
        assert abs(predicted - cycles) < 0.1 * cycles


def test_a_network_that_fits_the_store_needs_no_external_memory():
    config, pauses, seed = RINGS[SHORT]
    case = next(
        case
        for case in random_graph_cases(seed, config, 20)
        if lay_out(case.network, config).weight_rows <= config.weight_rows
    )
    steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
    program = compile_network(case.network, config, **steps)
    assert len(program.external) == 0
    assert {plan.descriptor.chunks for plan in program.layers} == {0}
    (engine,) = run_engine(config, [case], simulation=build_engine(config, pauses=pauses))
    golden = simulate(case.network, case.images, **steps)
    assert compare(case.network, engine, golden).first == ""
    predicted = [predict(program, image, golden, n) for n, image in enumerate(case.images)]
    columns = list(Counter)
    assert np.array_equal(engine.counters[:, :, columns], np.array(predicted)[:, :, columns])


def test_an_engine_without_masks():
    found = random_graph_cases(4, TIGHT, 20)
    kinds = {(case.network.code, bool(case.tau)) for case in found}
    assert kinds == {(RATE, False), (RATE, True), (RADIX, False)}
    with pytest.raises(ResiduumError, match="'mask'.* take 'carry', or tau = 0"):
        compile_network(load_network("digits"), TIGHT.with_changes(weight_rows=1024), tau=4, T=4)
    engines = run_engine(TIGHT, found, simulation=build_engine(TIGHT, pauses=TIGHT_PAUSES))
    faults = [fault(case, TIGHT, engine) for case, engine in zip(found, engines, strict=True)]
    assert [sentence for sentence in faults if sentence] == []


def test_a_group_that_exceeds_the_ring_is_refused():
    case = max(random_cases(0, ON_CHIP, 20), key=lambda c: lay_out(c.network, ring(16)).ring_rows)
    with pytest.raises(ResiduumError, match="a group of output channels of layer .* 16 at a time"):
        compile_network(case.network, ring(16), tau=case.tau, T=case.T)
    assert lay_out(case.network, ring(16)).ring_rows % CHUNK_ROWS == 0


def test_weights_that_exceed_the_external_memory_are_refused():
    found = [case for case in random_cases(0, ON_CHIP, 60) if compiled(case, ring(64))]
    case = max(found, key=lambda case: lay_out(case.network, ring(64)).weight_rows)
    layout = lay_out(case.network, ring(64))
    # The words of the weights and of the label, rounded up to a power of two.
    words = layout.weight_rows // CHUNK_ROWS * ring(64).row_words * EXTERNAL_BURST_WORDS
    bits = (words + LABEL_BURSTS * EXTERNAL_BURST_WORDS - 1).bit_length()
    steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
    program = compile_network(case.network, ring(64).with_changes(external=bits), **steps)
    assert len(program.external) == words
    with pytest.raises(
        ResiduumError, match=r"takes .* weight rows; the external memory of .* hold"
    ):
        compile_network(case.network, ring(64).with_changes(external=bits - 1), **steps)
