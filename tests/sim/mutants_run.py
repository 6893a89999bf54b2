"""A program that runs the cases on an engine with sources in another folder::

    PYTHONPATH=FOLDER:ROOT python -m tests.sim.mutants_run FOLDER CONFIG

FOLDER has ``residuum/`` with a faulty ``hw/``, CONFIG is an `EngineConfig` as JSON. The program
writes the traces of the engine to ``traces.npz`` in FOLDER, or the message of a failed simulation
to ``failure.txt``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from residuum import hw
from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator import build as verilator
from residuum.sim.verilator.engine import build_engine, run_engine
from tests.sim.mutants_cases import cases


class _Bounded:
    """Runs `tests.sim.mutants_bench` in place of the requested bench."""

    def __init__(self, simulation: verilator.Simulation) -> None:
        self.simulation = simulation

    def run(self, module: str, **options: Any) -> dict[str, Any]:
        return self.simulation.run("tests.sim.mutants_bench", **options)


def main(folder: Path, config: EngineConfig) -> None:
    if folder not in Path(hw.__file__).parents:
        raise RuntimeError(f"hw was imported from {hw.__file__}, not from {folder}")
    # Compile without optimisation: for these short runs, compiling takes longer than running.
    verilator._MAKE_FLAGS = tuple(  # type: ignore[assignment]
        "OPT_FAST=-O0" if flag.startswith("OPT_FAST") else flag for flag in verilator._MAKE_FLAGS
    )
    simulation = build_engine(config)
    try:
        traces = run_engine(config, cases(), simulation=_Bounded(simulation))  # type: ignore[arg-type]
    except verilator.SimulationError as error:
        (folder / "failure.txt").write_text(str(error))
        return
    arrays = {
        f"{index}_{name}": values
        for index, trace in enumerate(traces)
        for name, values in trace.to_arrays().items()
    }
    np.savez(folder / "traces.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), EngineConfig(**json.loads(sys.argv[2])))
