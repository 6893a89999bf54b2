"""Which oracle finds a deliberate fault of the engine: one piece of work for each fault."""

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

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import compile_network
from residuum.sw.golden.golden_model import Trace, simulate
from residuum.sw.trace.compare import compare
from residuum.sw.trace.engine_trace import EngineTrace
from tests.sim.mutants import MUTANTS, Mutant, Oracle
from tests.sim.mutants_cases import cases

ROOT = Path(__file__).resolve().parents[2]


def told(mutant: str, config: EngineConfig) -> list[str]:
    """The name of the oracle that finds the fault of a mutant ('' for none), and its message."""
    chosen = next(each for each in MUTANTS if each.name == mutant)
    with tempfile.TemporaryDirectory(prefix="residuum-") as folder:
        oracle, words = told_by(Path(folder), chosen, config)
    return [oracle.name if oracle else "", words]


@functools.cache
def expected(config: EngineConfig) -> list[tuple[Trace, np.ndarray]]:
    """The results of golden model and cycle model for each case."""
    answers = []
    for case in cases():
        golden = simulate(case.network, case.images, tau=case.tau, T=case.T)
        program = compile_network(case.network, config, tau=case.tau, T=case.T)
        counters = [predict(program, image, golden, i) for i, image in enumerate(case.images)]
        answers.append((golden, np.stack(counters)))
    return answers


def told_by(folder: Path, mutant: Mutant | None, config: EngineConfig) -> tuple[Oracle | None, str]:
    """The oracle that finds the fault, or None, and its message."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hw", folder / "hw", ignore=ignore)
    # The link residuum/hw leads to the faulty copy, the other links to the original folders.
    shutil.copytree(ROOT / "residuum", folder / "residuum", symlinks=True, ignore=ignore)
    for name in ("sw", "sim", "boards"):
        (folder / name).symlink_to(ROOT / name)
    if mutant is not None:
        mutant.apply(folder / "hw")
    path = os.pathsep.join([str(folder), str(ROOT)])
    sizes = json.dumps(dataclasses.asdict(config))
    run = subprocess.run(
        [sys.executable, "-m", "tests.sim.mutants_run", str(folder), sizes],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"the engine could not be built or loaded:\n{run.stdout}")
    failure = folder / "failure.txt"
    if failure.exists():
        return _kind_of_failure(failure.read_text())
    return _first_difference(folder / "traces.npz", config)


def _kind_of_failure(message: str) -> tuple[Oracle, str]:
    for oracle, pattern in {
        Oracle.HANG: r"(busy was still high|words were answered, then none)",
        Oracle.REPETITION: r"the same layer by layer",
    }.items():
        if re.search(pattern, message):
            return oracle, message
    raise RuntimeError(f"the simulation did not end well, for another reason:\n{message}")


def _first_difference(file: Path, config: EngineConfig) -> tuple[Oracle | None, str]:
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    wrong_counters = ""
    for index, (case, (golden, counters)) in enumerate(zip(cases(), expected(config), strict=True)):
        prefix = f"{index}_"
        trace = EngineTrace.from_arrays(
            {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        )
        comparison = compare(case.network, trace, golden)
        if comparison.mismatches:
            return Oracle.VALUES, f"{case.network.name}: {comparison.first}"
        for image, layer, word in np.argwhere(trace.counters != counters):
            wrong_counters = wrong_counters or (
                f"{case.network.name}: image {image}, layer {layer}, counter {word} is "
                f"{trace.counters[image, layer, word]}, predicted {counters[image, layer, word]}"
            )
    return (Oracle.COUNTERS if wrong_counters else None), wrong_counters
