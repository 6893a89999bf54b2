"""Every deliberate fault of the engine must be found by its named oracle."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.sim.verilator.build import Simulation, SimulationError
from residuum.sim.verilator.engine import run_engine
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import compile_network
from residuum.sw.golden.golden_model import Trace, simulate
from residuum.sw.trace.compare import compare
from residuum.sw.trace.engine_trace import EngineTrace
from tests.sim.mutants import MUTANTS, Mutant, Oracle
from tests.sim.mutants_cases import CONFIGS, RING, cases
from tests.sim.mutants_select import FAULT_BITS
from tests.sim.mutants_syntax import MutationError, Place, Whole, mutate_all, read_room
from tests.sim.random_graphs import coverage

# Counters that do not depend on time.
WORK = (Counter.EVENTS, Counter.WINDOWS, Counter.SPIKES)
ROOT = Path(__file__).resolve().parents[2]

# Mutants that always run, one per folder and oracle; the others are marked `long`.
SHORT = {
    "threshold-not-reached-by-equality",
    "sums-with-those-of-the-window-before",
    "shared-occupancy-of-the-latest-row",
    "dropped-rows-not-given-back",
    "pitch-x-for-y",
    "stages-swapped",
    "scan-before-the-results",
    "cycles-one-less",
}


def in_engine(config: EngineConfig) -> list[Mutant]:
    """The mutants of a configuration; they are in one engine, numbered from 1."""
    return [mutant for mutant in MUTANTS if mutant.config == config]


@functools.cache
def faulty_engine(config: EngineConfig) -> Simulation:
    """The engine with all faults of a configuration."""
    ignore = shutil.ignore_patterns("__pycache__")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "hw", folder / "hw", ignore=ignore)
        # The link residuum/hw leads to the faulty copy, the other links to the original folders.
        shutil.copytree(ROOT / "residuum", folder / "residuum", symlinks=True, ignore=ignore)
        for other in ("sw", "sim", "boards"):
            (folder / other).symlink_to(ROOT / other)
        faults = [(mutant.place, mutant.operator) for mutant in in_engine(config)]
        texts = mutate_all(
            read_room(ROOT / "hw", ""), faults, "tests.sim.mutants_select.choose_fault"
        )
        for file, text in texts.items():
            (folder / "hw" / file).write_text(text)
        path = os.pathsep.join([str(folder), str(ROOT)])
        sizes = json.dumps(dataclasses.asdict(config))
        run = subprocess.run(
            [sys.executable, "-m", "tests.sim.mutants_build", str(folder), sizes],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if run.returncode != 0:
        pytest.fail(f"the engine could not be built:\n{run.stdout}")
    return Simulation(name="mutants", folder=Path(run.stdout.splitlines()[-1]))


@functools.cache
def expected(config: EngineConfig) -> list[tuple[Trace, np.ndarray]]:
    """The results of golden model and cycle model for each case."""
    answers = []
    for case in cases():
        steps: dict[str, Any] = {"tau": case.tau, "T": case.T, "correction": case.correction}
        golden = simulate(case.network, case.images, **steps)
        program = compile_network(case.network, config, **steps)
        counters = [predict(program, image, golden, i) for i, image in enumerate(case.images)]
        answers.append((golden, np.stack(counters)))
    return answers


class _Faulty:
    """Runs `tests.sim.mutants_bench` with a fault, in place of the requested bench."""

    def __init__(self, simulation: Simulation, fault: int):
        self.simulation, self.fault = simulation, fault

    def run(self, module: str, *, parameters: dict[str, Any], **options: Any) -> dict[str, Any]:
        return self.simulation.run(
            "tests.sim.mutants_bench", parameters=parameters | {"fault": self.fault}, **options
        )


def told_by(mutant: Mutant | None, config: EngineConfig) -> tuple[Oracle | None, str]:
    """The oracle that finds the fault, or None, and its message."""
    number = in_engine(config).index(mutant) + 1 if mutant else 0
    simulation: Any = _Faulty(faulty_engine(config), number)
    try:
        traces = run_engine(config, cases(), simulation=simulation)
    except SimulationError as error:
        return _kind_of_failure(str(error))
    return _first_difference(traces, config)


def _kind_of_failure(message: str) -> tuple[Oracle, str]:
    for oracle, pattern in {
        Oracle.HANG: r"(busy was still high|words were answered, then none)",
        Oracle.REPETITION: r"the same layer by layer",
    }.items():
        if re.search(pattern, message):
            return oracle, message
    pytest.fail(f"the simulation did not end well, for another reason:\n{message}")


def _first_difference(traces: list[EngineTrace], config: EngineConfig) -> tuple[Oracle | None, str]:
    wrong_counters = ""
    for case, trace, (golden, counters) in zip(cases(), traces, expected(config), strict=True):
        comparison = compare(case.network, trace, golden)
        if comparison.mismatches:
            return Oracle.VALUES, f"{case.network.name}: {comparison.first}"
        different = trace.counters != counters
        if config.external:
            # Cycles depend on when the rows come.
            different[:, :, [c for c in Counter if c not in WORK]] = False
        for image, layer, word in np.argwhere(different):
            wrong_counters = wrong_counters or (
                f"{case.network.name}: image {image}, layer {layer}, counter {word} is "
                f"{trace.counters[image, layer, word]}, predicted {counters[image, layer, word]}"
            )
    return (Oracle.COUNTERS if wrong_counters else None), wrong_counters


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name, marks=() if name == "small" else pytest.mark.long)
        for name, config in CONFIGS.items()
    ],
)
def test_engine_without_a_fault_is_right(config):
    assert told_by(None, config) == (None, "")


@pytest.mark.parametrize("config", [pytest.param(c, id=name) for name, c in CONFIGS.items()])
def test_the_cases_have_what_the_engine_has(config):
    ways = "two_sources second_shift skip_empty fraction strict passes carry mask spikes"
    corners = (
        "option A, residual, projection, depthwise, start zero, packed map, shared weight rows"
    )
    more = "several groups, max-pooling, max-pool with overlap, max-pool with padding, all bits"
    found = coverage(cases(), config)
    assert not {*ways.split(), *corners.split(", "), *more.split(", ")} - set(found)


def parameter(mutant: Mutant):  # type: ignore[no-untyped-def]
    marks = [] if mutant.name in SHORT else [pytest.mark.long]
    return pytest.param(mutant, id=mutant.name, marks=marks)


@pytest.mark.parametrize("mutant", [parameter(mutant) for mutant in MUTANTS])
def test_fault_is_told(mutant):
    oracle, words = told_by(mutant, mutant.config)
    assert oracle == mutant.caught_by, words


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS])
def test_the_place_of_a_fault_is_found_once(mutant):
    mutant.mutated(ROOT / "hw")


def test_a_mutant_whose_place_is_gone_is_named(tmp_path):
    (tmp_path / "adder.py").write_text("x.eq(1)\nx.eq(2)")
    mutant = Mutant("gone", Place("adder.py", "x"), Whole("0"))
    with pytest.raises(MutationError, match=r"^mutant gone: .* assignments to x, found 2: "):
        mutant.mutated(tmp_path)


def test_names_are_unique_and_every_oracle_is_needed():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.caught_by for mutant in MUTANTS} == set(Oracle)
    assert {mutant.config for mutant in MUTANTS} == set(CONFIGS.values())
    assert all(len(in_engine(config)) < 1 << FAULT_BITS for config in CONFIGS.values())


def test_short_runs_need_every_oracle_and_most_rooms():
    short = [mutant for mutant in MUTANTS if mutant.name in SHORT]
    assert len(short) == len(SHORT)
    assert {mutant.caught_by for mutant in short} == set(Oracle)
    # The engine with a ring takes a minute to build.
    assert {m.place.room for m in short} == {m.place.room for m in MUTANTS if m.config != RING}
