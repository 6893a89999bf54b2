"""Runs images on the simulated engine, compares with the golden model, and sums the counters.

The common part of ``residuum sim``, ``verify`` and ``bench``. `measure` splits the images into
parts, runs several in parallel, and keeps each finished part in a `Store`. A measurement of hours
may therefore be interrupted at any time; the next call resumes from the stored parts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sim.verilator.build import Simulation, scratch_folder
from residuum.sw.compiler.program import Program, grow_to_fit
from residuum.sw.errors import ResiduumError
from residuum.sw.files import shown, told, write_json
from residuum.sw.network.corrections import describe_run
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.progress import Task as Progress
from residuum.sw.trace.engine_trace import EngineTrace

if TYPE_CHECKING:
    from residuum.sw.golden.golden_model import Trace

# Multiply-accumulates of one part in the network without spikes. A part takes about half a minute
# on one core, for any network.
PART_MACS = 400_000_000
LARGEST_PART = 200
# Seconds between two reports of progress.
POLL = 0.25

ROOT = Path(__file__).resolve().parents[2]
# Bytes in the wave file per cycle: for the engine, and for each lane. Measured with 8 steps, and 4
# and 16 lanes.
WAVES_BYTES = 3000, 850

# The sources that determine the results. When one of them changes, stored results are dropped.
_SOURCES = (
    *("sw/compiler/axes.py", "sw/compiler/cycles.py", "sw/compiler/maps.py"),
    *("sw/compiler/program.py", "sw/golden/golden_model.py", "sw/network/corrections.py"),
    *("sw/trace/compare.py", "sw/trace/engine_trace.py"),
    *("sim/bench/measure.py", "sim/bench/measure_bench.py"),
    *("sim/verilator/bulk.py", "sim/verilator/driver.py"),
)

Json = dict[str, Any]


@dataclass
class Totals:
    """Sums over images.

    Attributes
    ----------
    counters, predicted
        Counters of the engine and of the cycle model, int64 (layers, COUNTER_WORDS).
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
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), [0] * (layers - 1))

    def add(self, other: Totals) -> None:
        """Add the totals of further images."""
        self.counters += other.counters
        self.predicted += other.predicted
        self.fired = [a + b for a, b in zip(self.fired, other.fired, strict=True)]
        self.images += other.images
        self.mismatches += other.mismatches
        self.first = self.first or other.first
        self.engine_right += other.engine_right
        self.golden_right += other.golden_right
        self.worst_cycles = max(self.worst_cycles, other.worst_cycles)

    def to_json(self) -> Json:
        """The totals as JSON values."""
        arrays = {"counters": self.counters.tolist(), "predicted": self.predicted.tolist()}
        return asdict(self) | arrays

    @classmethod
    def from_json(cls, values: Json) -> Totals:
        """The totals from the values of `to_json`."""
        arrays = {name: np.array(values[name], np.int64) for name in ("counters", "predicted")}
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
    from residuum.sw.compiler.cycles import predict
    from residuum.sw.trace.compare import compare

    totals = Totals.empty(len(program.layers))
    found = compare(program.network, engine, golden, first_image=first)
    totals.mismatches, totals.first = found.mismatches, found.first
    totals.images = len(images)
    totals.engine_right = int((engine.prediction == labels).sum())
    totals.golden_right = int((golden.prediction == labels).sum())
    totals.counters += engine.counters.sum(axis=0)
    for index, image in enumerate(images):
        predicted = predict(program, image, golden, index)
        totals.predicted += predicted
        cycles = int(engine.counters[index, :, Counter.CYCLES].sum())
        off = abs(int(predicted[:, Counter.CYCLES].sum()) - cycles) / max(cycles, 1)
        totals.worst_cycles = max(totals.worst_cycles, off)
    totals.fired = [int(layer.trains.any(axis=1).sum()) for layer in golden.layers]
    return totals


def report(
    name: str, program: Program, totals: Totals, *, tau: int, T: int, correction: str
) -> Json:
    """The report of a command on one network; all quantities are per image."""
    network, images = program.network, totals.images
    layers = []
    for index, plan in enumerate(program.layers):
        counters, predicted = totals.counters[index] / images, totals.predicted[index] / images
        channels, height, width = network.shapes[index]
        neurons = channels * height * width
        # SPIKES counts every spike once per group. A spike adds one weight per output channel.
        sops = counters[Counter.SPIKES] / plan.groups * channels
        layers.append(
            {
                "name": plan.layer.name,
                "neurons": neurons,
                "firing": None
                if index == len(totals.fired)
                else totals.fired[index] / images / neurons,
                "events": counters[Counter.EVENTS],
                "sops": sops,
                "cycles": counters[Counter.CYCLES],
                "predicted_cycles": predicted[Counter.CYCLES],
                "utilisation": counters[Counter.EVENTS] / counters[Counter.CYCLES],
                "windows": counters[Counter.WINDOWS],
                "drain_stalls": counters[Counter.DRAIN_STALLS],
                "scan_stalls": counters[Counter.SCAN_STALLS],
            }
        )

    def total(name: str) -> float:
        return float(sum(layer[name] for layer in layers))

    return {
        "model": name,
        "bits": network.weight_bits,
        "tau": tau,
        "T": T,
        "correction": correction,
        "run": describe_run(network, tau, T, correction),
        "lanes": program.config.lanes,
        "steps": program.config.steps,
        "images": images,
        "mismatches": totals.mismatches,
        "first_mismatch": totals.first,
        "rtl_accuracy": 100 * totals.engine_right / images,
        "golden_accuracy": 100 * totals.golden_right / images,
        "cycles_per_image": total("cycles"),
        "predicted_cycles_per_image": total("predicted_cycles"),
        "worst_cycle_error": totals.worst_cycles,
        "events_per_image": total("events"),
        "cycles_per_event": total("cycles") / max(total("events"), 1),
        "sops_per_image": total("sops"),
        "layers": layers,
    }


def waves_bytes(
    program: Program, image: np.ndarray, *, tau: int, T: int, correction: str | None = None
) -> int:
    """Estimated size of an image's waves in bytes, from the cycle model.

    Accounts for `residuum.sim.verilator.driver.EngineDriver.classify`, which runs each image twice.
    """
    from residuum.sw.compiler.cycles import predict
    from residuum.sw.golden.golden_model import simulate

    golden = simulate(program.network, image[None], tau=tau, T=T, correction=correction)
    cycles = 2 * int(predict(program, image, golden, 0)[:, Counter.CYCLES].sum())
    fixed, for_a_lane = WAVES_BYTES
    return cycles * (fixed + for_a_lane * program.config.lanes)


def engine_for(network: IntegerNetwork, lanes: int, *, steps: int) -> EngineConfig:
    """An engine with these lanes and steps, and with memories large enough for the network.

    Raises
    ------
    ResiduumError
        If no such engine is possible.
    """
    try:
        return grow_to_fit(network, EngineConfig.for_lanes(lanes, steps=steps))
    except ValueError as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None


# ---------------------------------------------------------------------------------------------
# Stored results


def digest(values: object) -> str:
    """A digest of JSON values, 20 characters."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:20]


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """A digest of arrays, 20 characters."""
    sums = hashlib.sha256()
    for array in arrays:
        sums.update(f"{array.dtype} {array.shape}".encode())
        sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()[:20]


class Store:
    """Finished parts of a computation, in a JSON file that is replaced atomically.

    Parameters
    ----------
    path
        Path of the file; the digest of ``key`` is added to its name.
    key
        Everything that determines the parts, in JSON values.

    Raises
    ------
    ResiduumError
        If the file is damaged or cannot be written, or another process uses it.
    """

    def __init__(self, path: Path, key: Json):
        self.path = path.with_name(f"{path.name}-{digest(key)}.json")
        self.key = key
        self.parts: dict[str, Json] = {}
        with told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.path.exists():
                self.parts = json.loads(self.path.read_text())["parts"]
        except BlockingIOError:
            self._lock.close()
            raise ResiduumError(
                f"another command is at work on {shown(self.path)}; wait for it"
            ) from None
        except (OSError, ValueError, KeyError, TypeError):
            self._lock.close()
            raise ResiduumError(f"{shown(self.path)} is damaged; remove it to begin anew") from None

    def put(self, name: str, part: Json) -> None:
        """Store a part."""
        parts = self.parts | {name: part}
        write_json(self.path, {"key": self.key, "parts": parts})
        self.parts = parts

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *what: object) -> None:
        self._lock.close()


def once(path: Path, key: Json, compute: Callable[[], Json]) -> Json:
    """The stored result for this path and key; without one, calls ``compute`` and stores it."""
    with Store(path, key) as store:
        if "all" not in store.parts:
            store.put("all", compute())
        return store.parts["all"]


def software_digest() -> str:
    """A digest of the sources that determine the results."""
    return digest([(ROOT / name).read_text() for name in _SOURCES])


# ---------------------------------------------------------------------------------------------
# Many images


@dataclass(frozen=True)
class Task:
    """Images to run and compare.

    Attributes
    ----------
    name
        Name of the network (`residuum.sw.network.library.network_name`), for messages and files.
    network_digest
        SHA-256 of the network's file.
    correction
        One of `residuum.sw.network.corrections`.
    images, labels
        uint8 (N, C, H, W) and int64 (N,).
    """

    name: str
    network_digest: str
    program: Program
    tau: int
    T: int
    correction: str
    images: np.ndarray
    labels: np.ndarray

    def key(self, simulation: Simulation) -> Json:
        """Everything that determines the results, except the images."""
        return {
            "network": self.network_digest,
            "engine": asdict(self.program.config),
            "simulation": simulation.folder.name,
            "software": software_digest(),
            **self.steps,
        }

    @property
    def steps(self) -> Json:
        """tau, T and correction of the runs."""
        return {"tau": self.tau, "T": self.T, "correction": self.correction}

    @property
    def file_name(self) -> str:
        """The name of the store, without the digest of its key."""
        config = self.program.config
        return (
            f"{self.name}-{config.lanes}x{config.steps}-tau{self.tau}-T{self.T}-{self.correction}"
        )

    def parts(self) -> dict[str, tuple[int, int]]:
        """The half-open range of images of each part, by name, which has a digest of the images."""
        size, count = part_size(self.program.network), len(self.images)
        found = {}
        for first in range(0, count, size):
            last = min(first + size, count)
            content = digest_of_arrays(self.images[first:last], self.labels[first:last])
            found[f"{first}-{last} {content}"] = first, last
        return found


def part_size(network: IntegerNetwork) -> int:
    """Number of images in a part."""
    macs = sum(
        source.weight.size * math.prod(shape[1:]) * source.pool_area
        for layer, shape in zip(network.layers, network.neuron_shapes, strict=True)
        for source in layer.sources
    )
    return min(LARGEST_PART, max(1, PART_MACS // macs))


def measure(
    task: Task,
    simulation: Simulation,
    folder: Path,
    *,
    jobs: int,
    reporter: Reporter = SILENT,
) -> Totals:
    """The totals of all images of a task; runs only the parts that are not stored.

    Parameters
    ----------
    folder
        Folder for finished parts.
    jobs
        Number of parallel simulations.

    Raises
    ------
    ResiduumError
        If a simulation fails. Finished parts are kept.
    Interrupted
        At Ctrl-C, after the running parts are finished and stored; a second Ctrl-C drops them.
    """
    parts, count = task.parts(), len(task.images)
    steps = describe_run(task.program.network, **task.steps)
    name = f"{task.name}, {steps}, {task.program.config.lanes} lanes"
    with Store(folder / task.file_name, task.key(simulation)) as store:
        missing = {part: span for part, span in parts.items() if part not in store.parts}
        left = sum(last - first for first, last in missing.values())
        if 0 < left < count:
            reporter.say(f"{name}: {count - left:,} of {count:,} images were done before")
        if missing:
            with one_core(), reporter.task(name, total=left, unit="images") as progress:
                runner = _Runner(task, simulation, store, missing, progress)
                try:
                    runner.run(jobs, reporter)
                except KeyboardInterrupt:
                    kept = count - left + runner.finished
                    raise Interrupted(
                        f"{kept:,} of {count:,} images of {task.name} are done and kept in "
                        f"{shown(store.path)}; the same command goes on from there"
                    ) from None
        totals = Totals.empty(len(task.program.layers))
        for part in parts:
            totals.add(Totals.from_json(store.parts[part]))
    return totals


class Interrupted(KeyboardInterrupt):
    """An interrupted measurement; the message says what is stored and how to resume."""


class _Dropped(Exception):
    """Ends a simulation whose result is no longer needed."""


class _Runner:
    """Runs the missing parts of a task in order, and stores them."""

    def __init__(
        self,
        task: Task,
        simulation: Simulation,
        store: Store,
        missing: Mapping[str, tuple[int, int]],
        progress: Progress,
    ):
        self._task, self._simulation, self._store = task, simulation, store
        self._missing, self._progress = missing, progress
        self._running: dict[Future[Totals], str] = {}
        # Finished images of each running part.
        self._steps: dict[str, int] = {}
        self._drop = Event()

    @property
    def finished(self) -> int:
        """Number of images in the parts that this run has stored."""
        parts = self._missing.items()
        return sum(last - first for part, (first, last) in parts if part in self._store.parts)

    def run(self, jobs: int, reporter: Reporter) -> None:
        """Run all parts. The first Ctrl-C lets running parts finish, the second drops them."""
        waiting = iter(self._missing)
        pool = ThreadPoolExecutor(jobs, initializer=_use_one_core)
        try:
            while True:
                while len(self._running) < jobs and (part := next(waiting, None)) is not None:
                    self._running[pool.submit(self._run, part)] = part
                if not self._running:
                    return
                self._keep_finished()
        except KeyboardInterrupt:
            reporter.say("finishing what is being simulated; interrupt again to drop it")
            while self._running:
                self._keep_finished()
            raise
        finally:
            self._drop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, part: str) -> Totals:
        def watch(steps: int) -> None:
            if self._drop.is_set():
                raise _Dropped
            self._steps[part] = steps

        return _run_part(self._task, self._simulation, *self._missing[part], watch)

    def _keep_finished(self) -> None:
        """Wait up to `POLL` seconds, store finished parts, and report the progress."""
        done, _ = wait(self._running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in done:
            part = self._running[future]
            self._store.put(part, future.result().to_json())
            self._steps.pop(part, None)
            # This comes last: after a Ctrl-C before it, the part still counts as running and is
            # stored again.
            del self._running[future]
        self._progress.update(done=self.finished + sum(list(self._steps.values())))


def _use_one_core() -> None:
    import torch

    torch.set_num_threads(1)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Run the golden model on one core. Simulations use the other cores, so that several threads
    would mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


def _run_part(
    task: Task, simulation: Simulation, first: int, last: int, watch: Callable[[int], None]
) -> Totals:
    from residuum.sw.golden.golden_model import simulate

    program, images, labels = task.program, task.images[first:last], task.labels[first:last]
    with scratch_folder() as scratch:
        path = scratch / "network.npz"
        program.network.save(path)
        given = simulation.run(
            "residuum.sim.bench.measure_bench",
            parameters={
                "network": str(path),
                "config": asdict(program.config),
                "steps": task.steps,
                "images": np.ascontiguousarray(images),
            },
            watch=watch,
        )
    golden = simulate(program.network, images, **task.steps)
    engine = EngineTrace.from_arrays(given)
    return compared(program, images, labels, engine, golden, first=first)
