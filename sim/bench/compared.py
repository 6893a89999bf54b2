"""Images on the simulated engine, compared with the golden model: one piece of work."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sim.verilator.build import Simulation, scratch_folder
from residuum.sim.verilator.engine import build_engine, sdram_arguments
from residuum.sw.compiler.batch import SINGLE, Batch
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import reporter_here, watch
from residuum.sw.trace.engine_trace import EngineTrace

if TYPE_CHECKING:
    from residuum.sw.golden.golden_model import Trace

Json = dict[str, Any]

_building = Lock()
# Those of `Totals`.
_ARRAYS = ("counters", "predicted", "least")


@dataclass
class Totals:
    """Sums over images.

    Attributes
    ----------
    counters, predicted
        Counters of the engine and of the cycle model, int64 (layers, COUNTER_WORDS).
    least
        Lower bounds of the cycles, int64 (layers,).
    fired
        Neurons that fired at least once, per hidden layer.
    mismatches, first
        Number of differing values, and a sentence on the first of them ('' if none).
    engine_right, golden_right
        Images that the engine, and the golden model, classify correctly.
    worst_cycles
        Largest relative error (0..1) of the cycle model on an image.
    """

    counters: np.ndarray
    predicted: np.ndarray
    least: np.ndarray
    fired: list[int]
    images: int = 0
    mismatches: int = 0
    first: str = ""
    engine_right: int = 0
    golden_right: int = 0
    worst_cycles: float = 0.0

    @classmethod
    def empty(cls, layers: int) -> Totals:
        """The totals of zero images, for a network with ``layers`` layers."""
        shape = (layers, COUNTER_WORDS)
        counters, predicted = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        return cls(counters, predicted, np.zeros(layers, np.int64), [0] * (layers - 1))

    def add(self, other: Totals) -> None:
        """Add the totals of further images."""
        self.counters += other.counters
        self.predicted += other.predicted
        self.least += other.least
        self.fired = [a + b for a, b in zip(self.fired, other.fired, strict=True)]
        self.images += other.images
        self.mismatches += other.mismatches
        self.first = self.first or other.first
        self.engine_right += other.engine_right
        self.golden_right += other.golden_right
        self.worst_cycles = max(self.worst_cycles, other.worst_cycles)

    def to_json(self) -> Json:
        """The totals as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return asdict(self) | arrays

    @classmethod
    def from_json(cls, values: Json) -> Totals:
        """The totals from the values of `to_json`."""
        arrays = {name: np.array(values[name], np.int64) for name in _ARRAYS}
        return cls(**values | arrays)


def compared(
    program: Program,
    images: np.ndarray,
    labels: np.ndarray,
    engine: EngineTrace,
    golden: Trace,
    *,
    first: int = 0,
) -> Totals:
    """Compare engine and golden model on some images.

    Parameters
    ----------
    images, labels
        uint8 (N, C, H, W) and int64 (N,).
    first
        Number of the first image, for the message on a mismatch.
    """
    from residuum.sw.compiler.cycles import predict_batch
    from residuum.sw.trace.compare import compare

    totals = Totals.empty(len(program.network.layers))
    found = compare(program.network, engine, golden, first_image=first)
    totals.mismatches, totals.first = found.mismatches, found.first
    totals.images = len(images)
    totals.engine_right = int((engine.prediction == labels).sum())
    totals.golden_right = int((golden.prediction == labels).sum())
    totals.counters += engine.counters.sum(axis=0)
    together = program.batch.images
    for first_image in range(0, len(images), together):
        values = images[first_image : first_image + together]
        predicted, least = predict_batch(program, values, golden, first_image)
        totals.predicted += predicted
        totals.least += least
        cycles = int(engine.counters[first_image, :, Counter.CYCLES].sum())
        off = abs(int(predicted[:, Counter.CYCLES].sum()) - cycles) / max(cycles, 1)
        totals.worst_cycles = max(totals.worst_cycles, off)
    totals.fired = [int(layer.trains.any(axis=1).sum()) for layer in golden.layers]
    return totals


def on_engine(
    network: IntegerNetwork,
    config: EngineConfig,
    tau: int,
    T: int,
    correction: str,
    images: np.ndarray,
    labels: np.ndarray,
    first: int,
    batch: Batch = SINGLE,
) -> Json:
    """`compared` of images on an engine, which is built if necessary, as `Totals.to_json`.

    Raises
    ------
    ResiduumError
        If the network does not fit, or the simulation cannot be built or fails.
    """
    from residuum.sw.golden.golden_model import simulate

    steps: Json = {"tau": tau, "T": T, "correction": correction}
    program = compile_network(network, config, **steps, batch=batch)
    with (
        _building,
        reporter_here().task(f"building the engine: {config.lanes} lanes x {config.steps} steps"),
    ):
        simulation = _engine(config)
    with scratch_folder() as scratch:
        path = scratch / "network.npz"
        network.save(path)
        given = simulation.run(
            "residuum.sim.bench.measure_bench",
            parameters={
                "network": str(path),
                "config": asdict(config),
                "steps": steps,
                "batch": asdict(batch),
                "images": np.ascontiguousarray(images),
            },
            watch=lambda done: watch(done / len(images)),
            arguments=sdram_arguments(program.external, scratch),
        )
    golden = simulate(network, images, tau=tau, T=T, correction=correction)
    engine = EngineTrace.from_arrays(given)
    return compared(program, images, labels, engine, golden, first=first).to_json()


@functools.cache
def _engine(config: EngineConfig) -> Simulation:
    return build_engine(config)
