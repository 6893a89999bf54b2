"""Runs the whole engine under Verilator: networks and images in, traces out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.hw.engine import Engine
from residuum.hw.isa.config import EngineConfig
from residuum.sim.external.engine import STORAGE, ExternalEngine, SdramEngine
from residuum.sim.verilator.build import Simulation, build, scratch_folder
from residuum.sw.compiler.batch import SINGLE, Batch
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.trace.engine_trace import EngineTrace


@dataclass(frozen=True)
class Case:
    """A network, and images, uint8 (N, C, H, W), to classify with it, a ``batch`` at a time.

    ``correction`` is one of `residuum.sw.network.corrections`; None takes the default.
    """

    network: IntegerNetwork
    images: np.ndarray
    tau: int
    T: int
    correction: str | None = None
    batch: Batch = SINGLE


def build_engine(
    config: EngineConfig, *, waves: bool = False, pauses: int | None = None
) -> Simulation:
    """Build the simulation of an engine, or return the cached build; with its SDRAM, if it has one,
    or instead with a memory that ``pauses`` (`ExternalEngine`)."""
    if config.external:
        engine: Any
        if pauses is None:
            engine = SdramEngine(config)
        else:
            engine = ExternalEngine(config, longest_pause=pauses)
        name = f"engine-{config.lanes}-external"
        return build(engine, name=name, bulk=True, waves=waves, verilog=[STORAGE])
    return build(Engine(config), name=f"engine-{config.lanes}", bulk=True, waves=waves)


def sdram_arguments(words: np.ndarray, folder: Path) -> list[str]:
    """Arguments of a simulation whose SDRAM has these words of 16 bits from the start; writes them
    to a file in the folder."""
    if not len(words):
        return []
    path = folder / "sdram.hex"
    text = words.astype(">u2").tobytes().hex("\n", 2)
    path.write_text(f"{text}\n")
    return [f"+sdram={path}"]


def run_engine(
    config: EngineConfig,
    cases: Sequence[Case],
    *,
    simulation: Simulation | None = None,
    reporter: Reporter = SILENT,
    external: np.ndarray | None = None,
) -> list[EngineTrace]:
    """Classify the images of all cases in one simulation, without a reset between them.

    Parameters
    ----------
    simulation
        Simulation of an engine with this configuration; None builds it.
    external
        The words of the SDRAM from the start, instead of writes by the host.

    Raises
    ------
    ResiduumError
        If a network does not fit, or the engine does not answer.
    """
    simulation = simulation or build_engine(config)
    images = sum(len(case.images) for case in cases)
    with (
        scratch_folder() as scratch,
        reporter.task("images on the engine", total=images, unit="images") as task,
    ):
        parameters: dict[str, Any] = {"config": dataclasses.asdict(config), "cases": []}
        parameters["write_external"] = external is None
        for index, case in enumerate(cases):
            path = scratch / f"{index}.npz"
            case.network.save(path)
            steps = {"tau": case.tau, "T": case.T, "correction": case.correction}
            batch = dataclasses.asdict(case.batch)
            parameters["cases"].append({"network": str(path), "steps": steps, "batch": batch})
            parameters[f"{index}_images"] = np.ascontiguousarray(case.images)
        given = simulation.run(
            "residuum.sim.verilator.engine_bench",
            parameters=parameters,
            watch=lambda steps: task.update(done=steps),
            arguments=[] if external is None else sdram_arguments(external, scratch),
        )
    named: list[dict[str, np.ndarray]] = [{} for _ in cases]
    for name, values in given.items():
        number, rest = name.split("_", 1)
        named[int(number)][rest] = values
    return [EngineTrace.from_arrays(arrays) for arrays in named]
