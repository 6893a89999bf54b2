"""Measures cycles on the simulated engine, for the page about a network."""

import dataclasses

import numpy as np

from residuum.sim.verilator.engine import Case, build_engine, run_engine
from residuum.sw.compiler.program import Program
from residuum.sw.golden.golden_model import simulate
from residuum.sw.look.page import Cycles
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.trace.compare import compare


def measure_cycles(
    program: Program,
    images: np.ndarray,
    predicted: Cycles,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    reporter: Reporter = SILENT,
) -> Cycles:
    """Run images on the simulated engine and compare every value with the golden model."""
    network, config = program.network, program.config
    with reporter.task(f"simulated engine, {config.lanes} lanes x {config.steps} steps"):
        case = Case(network, images, tau, T, correction)
        (trace,) = run_engine(config, [case], simulation=build_engine(config))
    golden = simulate(network, images, tau=tau, T=T, correction=correction)
    found = compare(network, trace, golden)
    return dataclasses.replace(
        predicted,
        counters=trace.counters.mean(axis=0),
        measured=True,
        mismatches=found.mismatches,
        first=found.first,
    )
