"""Images on the simulated engine, compared with the golden model and added up.

What ``residuum sim``, ``verify`` and ``bench`` have in common. `measure` works through many images
in parts, several side by side, and keeps every part that is finished in a `Store`; so a measurement
of hours may be broken off at any time and goes on where it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sim.verilator.build import Simulation
from residuum.sw.compiler.program import Program, grow_to_fit
from residuum.sw.errors import ResiduumError
from residuum.sw.files import write_json
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.trace.engine_trace import EngineTrace

if TYPE_CHECKING:
    from rich.console import Console

    from residuum.sw.golden.golden_model import Trace

# A part is as many images as take about so many multiplications of a network without spikes, so
# that a part takes about half a minute of a core whatever the network.
PART_MACS = 400_000_000
LARGEST_PART = 200
# Seconds between two looks at how far the simulations are, and between two lines in a log.
POLL, LOG_EVERY = 0.25, 60.0

ROOT = Path(__file__).resolve().parents[2]
# What is compared and how: a result that another version of these found is not kept.
_SOURCES = (
    *("sw/compiler/cycles.py", "sw/compiler/program.py", "sw/golden/golden_model.py"),
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
        int64 (layers, COUNTER_WORDS): the engine's, and the cycle model's.
    fired
        Neurons that fired at least once, per hidden layer.
    mismatches, first
        Values that differ, and a sentence on the first of them ('' if none).
    engine_right, golden_right
        Images that the engine, and the golden model, classify correctly.
    worst_cycles
        The largest share (0..1) by which the cycle model is off for an image.
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
        """Of no image, for a network with so many layers."""
        shape = (layers, COUNTER_WORDS)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), [0] * (layers - 1))

    def add(self, other: Totals) -> None:
        """Add those of further images."""
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
        """As values that JSON can hold."""
        arrays = {"counters": self.counters.tolist(), "predicted": self.predicted.tolist()}
        return asdict(self) | arrays

    @classmethod
    def from_json(cls, values: Json) -> Totals:
        """What `to_json` gave."""
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
    """Compare what the engine and the golden model made of some images.

    Parameters
    ----------
    images, labels
        uint8 (N, C, H, W) and int64 (N,).
    first
        Number of the first image, for the sentence on a mismatch.
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


def report(name: str, program: Program, totals: Totals, *, tau: int, T: int) -> Json:
    """What a report of the commands holds; all amounts per image."""
    network, images = program.network, totals.images
    layers = []
    for index, plan in enumerate(program.layers):
        counters, predicted = totals.counters[index] / images, totals.predicted[index] / images
        channels, height, width = network.shapes[index]
        neurons = channels * height * width
        # Every group of lanes sees the same spikes; a synaptic operation is one weight for one.
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


def print_report(network: IntegerNetwork, report: Json) -> None:
    """A table of the layers, and the sums, of a `report`."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{network.name}, {network.weight_bits}-bit weights, per image")
    for column in ("layer", "neurons", "fire", "events", "SOPs", "cycles", "utilisation"):
        table.add_column(column, justify="left" if column == "layer" else "right")

    def row(name: str, neurons: str, fire: str, of: Json, share: float) -> None:
        amounts = (f"{of[key]:,.0f}" for key in ("events", "sops", "cycles"))
        table.add_row(name, neurons, fire, *amounts, f"{100 * share:.1f} %")

    for layer in report["layers"]:
        firing = layer["firing"]
        fire = "" if firing is None else f"{100 * firing:.1f} %"
        row(layer["name"], f"{layer['neurons']:,}", fire, layer, layer["utilisation"])
    table.add_section()
    keys = ("events", "sops", "cycles")
    whole = {key: report[f"{key}_per_image"] for key in keys}
    neurons = sum(layer["neurons"] for layer in report["layers"])
    row("all", f"{neurons:,}", "", whole, whole["events"] / whole["cycles"])
    Console().print(table)

    print(
        f"{report['images']} images, tau {report['tau']}, T {report['T']}, {report['lanes']} lanes "
        f"x {report['steps']} steps: {report['mismatches']} mismatches"
    )
    print(
        f"accuracy {report['rtl_accuracy']:.2f} % on the engine, "
        f"{report['golden_accuracy']:.2f} % in the golden model"
    )
    cycles, predicted = report["cycles_per_image"], report["predicted_cycles_per_image"]
    print(
        f"{cycles:,.1f} cycles per image ({predicted:,.1f} in the cycle model), "
        f"{report['cycles_per_event']:.3f} per event"
    )


def engine_for(network: IntegerNetwork, lanes: int, *, steps: int) -> EngineConfig:
    """An engine with so many lanes and steps, and memories that are large enough for the network.

    Raises
    ------
    ResiduumError
        If there is no such engine.
    """
    try:
        config = EngineConfig.for_lanes(lanes, steps=steps)
    except ValueError as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None
    return grow_to_fit(network, config)


# ---------------------------------------------------------------------------------------------
# Results that are kept


def digest(values: object) -> str:
    """20 characters that tell one set of JSON values from another."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:20]


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """The same of arrays."""
    sums = hashlib.sha256()
    for array in arrays:
        sums.update(f"{array.dtype} {array.shape}".encode())
        sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()[:20]


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file; ``ResiduumError`` if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ResiduumError(f"{path} cannot be read: {error.strerror}") from None


class Store:
    """Finished parts of a piece of work, in one JSON file that is replaced whole after each.

    Parameters
    ----------
    path
        The digest of ``key`` is added to its name, so that other work has another file.
    key
        All that the parts depend on, as values that JSON can hold.

    Raises
    ------
    ResiduumError
        If the file is damaged or cannot be written, or if another process is at the same work.
    """

    def __init__(self, path: Path, key: Json):
        self.path = path.with_name(f"{path.name}-{digest(key)}.json")
        self.key = key
        self.parts: dict[str, Json] = {}
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.path.exists():
                self.parts = json.loads(self.path.read_text())["parts"]
        except BlockingIOError:
            self._lock.close()
            raise ResiduumError(f"another command is at work on {self.path}; wait for it") from None
        except (OSError, ValueError, KeyError, TypeError):
            self._lock.close()
            raise ResiduumError(f"{self.path} is damaged; remove it to begin anew") from None

    def put(self, name: str, part: Json) -> None:
        """Keep a part."""
        self.parts[name] = part
        with self._told():
            write_json(self.path, {"key": self.key, "parts": self.parts})

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResiduumError(f"{self.path} cannot be written: {error.strerror}") from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *what: object) -> None:
        self._lock.close()


def once(path: Path, key: Json, compute: Callable[[], Json]) -> Json:
    """What ``compute`` gives, or gave in an earlier call with the same path and key."""
    with Store(path, key) as store:
        if "all" not in store.parts:
            store.put("all", compute())
        return store.parts["all"]


def software_digest() -> str:
    """Of the sources that decide what a comparison finds."""
    return digest([(ROOT / name).read_text() for name in _SOURCES])


# ---------------------------------------------------------------------------------------------
# Many images


@dataclass(frozen=True)
class Task:
    """Images to be run and compared.

    Attributes
    ----------
    name
        In messages and names of files.
    network_digest
        SHA-256 of the network's file.
    images, labels
        uint8 (N, C, H, W) and int64 (N,).
    """

    name: str
    network_digest: str
    program: Program
    tau: int
    T: int
    images: np.ndarray
    labels: np.ndarray

    def key(self, simulation: Simulation) -> Json:
        """All that the results depend on, but for how many images there are."""
        return {
            "network": self.network_digest,
            "engine": asdict(self.program.config),
            "simulation": simulation.folder.name,
            "software": software_digest(),
            "tau": self.tau,
            "T": self.T,
        }

    @property
    def file_name(self) -> str:
        """Of what is kept."""
        config, bits = self.program.config, self.program.network.weight_bits
        return f"{self.name}-{bits}bit-{config.lanes}x{config.steps}-tau{self.tau}-T{self.T}"

    def parts(self) -> dict[str, tuple[int, int]]:
        """First image and the one behind the last of every part, by a name that tells its images
        from others."""
        size, count = part_size(self.program.network), len(self.images)
        found = {}
        for first in range(0, count, size):
            last = min(first + size, count)
            content = digest_of_arrays(self.images[first:last], self.labels[first:last])
            found[f"{first}-{last} {content}"] = first, last
        return found


def part_size(network: IntegerNetwork) -> int:
    """Images of one part."""
    macs = sum(
        layer.weight.size * math.prod(shape[1:]) * layer.pool_area
        for layer, shape in zip(network.layers, network.shapes, strict=True)
    )
    return min(LARGEST_PART, max(1, PART_MACS // macs))


def measure(
    task: Task,
    simulation: Simulation,
    folder: Path,
    *,
    jobs: int,
    console: Console,
) -> Totals:
    """Run all images of a task that have not been run yet, and add up all.

    Parameters
    ----------
    folder
        Where finished parts are kept.
    jobs
        Simulations side by side.
    console
        For the progress.

    Raises
    ------
    ResiduumError
        If a simulation fails. What was finished before is kept.
    Interrupted
        If the user breaks it off. What was finished before is kept.
    """
    parts = task.parts()
    with Store(folder / task.file_name, task.key(simulation)) as store:
        missing = {name: span for name, span in parts.items() if name not in store.parts}
        if missing:
            with (
                tempfile.TemporaryDirectory(prefix="residuum-") as scratch,
                _Progress(task, parts, missing, Path(scratch), console) as progress,
                one_core(),
            ):
                _run_parts(task, simulation, store, missing, progress, jobs)
        totals = Totals.empty(len(task.program.layers))
        for name in parts:
            totals.add(Totals.from_json(store.parts[name]))
    return totals


class Interrupted(KeyboardInterrupt):
    """A measurement was broken off; the message says what is kept and how to go on."""


def _run_parts(
    task: Task,
    simulation: Simulation,
    store: Store,
    missing: Mapping[str, tuple[int, int]],
    progress: _Progress,
    jobs: int,
) -> None:
    """Run the missing parts, the first ones first, and put them into the store."""
    waiting = iter(missing.items())
    running: dict[Future[Totals], str] = {}

    def keep(done: set[Future[Totals]]) -> None:
        for future in done:
            name = running.pop(future)
            store.put(name, future.result().to_json())
            progress.finished(name)

    pool = ThreadPoolExecutor(jobs, initializer=_use_one_core)
    try:
        while True:
            while len(running) < jobs and (following := next(waiting, None)) is not None:
                name, (first, last) = following
                sign = progress.sign(name)
                running[pool.submit(_run_part, task, simulation, first, last, sign)] = name
            if not running:
                return
            done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
            keep(done)
            progress.look()
    except KeyboardInterrupt:
        progress.say("finishing what is being simulated; interrupt again to drop it")
        pool.shutdown(wait=True)
        # A simulation that was interrupted too has failed.
        keep({future for future in running if future.exception() is None})
        images, total = progress.images_kept, len(task.images)
        raise Interrupted(
            f"{images:,} of {total:,} images of {task.name} are done and kept in {store.path}; "
            "the same command goes on from there"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _use_one_core() -> None:
    import torch

    torch.set_num_threads(1)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """The golden model on one core: beside simulations that take the others, threads of it that
    wait for each other cost a hundred times what they save."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


def _run_part(task: Task, simulation: Simulation, first: int, last: int, sign: Path) -> Totals:
    from residuum.sw.golden.golden_model import simulate

    program, images, labels = task.program, task.images[first:last], task.labels[first:last]
    with tempfile.TemporaryDirectory(prefix="residuum-") as scratch:
        path = Path(scratch) / "network.npz"
        program.network.save(path)
        given = simulation.run(
            "residuum.sim.bench.measure_bench",
            parameters={
                "network": str(path),
                "config": asdict(program.config),
                "tau": task.tau,
                "T": task.T,
                "images": np.ascontiguousarray(images),
                "sign": str(sign),
            },
        )
    golden = simulate(program.network, images, tau=task.tau, T=task.T)
    engine = EngineTrace.from_arrays(given)
    return compared(program, images, labels, engine, golden, first=first)


class _Progress:
    """How far a measurement is, image by image: a bar, or a line a minute where it is no terminal.

    Every part has a file, its sign, that grows by a byte with every image.
    """

    def __init__(
        self,
        task: Task,
        parts: Mapping[str, tuple[int, int]],
        missing: Mapping[str, tuple[int, int]],
        folder: Path,
        console: Console,
    ):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._name = f"{task.name}, tau {task.tau}, T {task.T}, {task.program.config.lanes} lanes"
        self._sizes = {name: last - first for name, (first, last) in parts.items()}
        self._signs = {name: folder / str(number) for number, name in enumerate(missing)}
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # Images may take a minute each.
            speed_estimate_period=3600,
        )
        self.images_kept = sum(self._sizes[name] for name in parts if name not in missing)
        self._before = self.images_kept
        self._total = sum(self._sizes.values())
        self._row = self._bar.add_task(self._name, total=self._total, completed=self._before)
        self._started = self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        if self._before:
            self.say(f"{self._before:,} of {self._total:,} images were done before")
        self._bar.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """A line above the bar."""
        self._console.print(f"{self._name}: {sentence}", highlight=False, soft_wrap=True)

    def sign(self, name: str) -> Path:
        """The file in which a part tells how many of its images are done."""
        return self._signs[name]

    def finished(self, name: str) -> None:
        """A part is kept."""
        self.images_kept += self._sizes[name]
        del self._signs[name]

    def look(self) -> None:
        """Show how far all parts are."""
        done = self.images_kept
        for sign in self._signs.values():
            with contextlib.suppress(FileNotFoundError):
                done += os.stat(sign).st_size
        self._bar.update(self._row, completed=done)
        now = time.monotonic()
        if self._console.is_terminal or now - self._told < LOG_EVERY or done == self._before:
            return
        self._told = now
        left = (now - self._started) / (done - self._before) * (self._total - done)
        self.say(f"{done:,} of {self._total:,} images, about {left / 60:,.0f} min left")
