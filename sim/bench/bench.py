"""Accuracy, cycles, clock and area of the committed networks on the engines of boards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, digest_of_file
from residuum.sw.progress import Reporter

if TYPE_CHECKING:
    from residuum.sim.bench.measure import Task
    from residuum.sw.compiler.program import Program
    from residuum.sw.data.data_sets import Access

# Images over which the bytes on the wire are averaged; the number of escapes depends on the image.
TRANSFER_IMAGES = 20
LARGEST_CYCLE_ERROR = 0.01


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network, and the board and engine on which it runs."""

    model: str
    bits: int
    board: str
    preset: str


ROWS: tuple[Row, ...] = (
    Row(model="digits", bits=8, board="ulx3s-12f", preset="12f"),
    Row(model="mnist", bits=8, board="ulx3s-12f", preset="12f"),
    # An engine with 8-bit weights also runs networks with 4-bit weights.
    Row(model="mnist", bits=4, board="ulx3s-12f", preset="12f"),
    Row(model="mnist", bits=8, board="ulx3s", preset="85f"),
    Row(model="mnist", bits=4, board="ulx3s", preset="85f"),
    Row(model="fashion", bits=4, board="ulx3s", preset="85f-4bit"),
    Row(model="cifar10", bits=4, board="ulx3s", preset="85f-4bit"),
)
# (tau, T): with the probe, and plain conversion with the same total number of steps.
STAGES = ((4, 4), (0, 8))

Json = dict[str, Any]


def bench_folder() -> Path:
    """The folder for stored measurements."""
    return build_folder() / "bench"


def bench(
    rows: Sequence[Row], *, images: int, jobs: int, tries: int | None, access: Access
) -> list[Json]:
    """Measure rows with all `STAGES`.

    Parameters
    ----------
    images
        Number of held-out images on the simulated engine.
    jobs
        Number of parallel simulations.
    tries
        Seeds of place and route; None skips place and route.
    access
        How the images are obtained; its reporter shows the progress of everything.

    Raises
    ------
    ResiduumError
        Before the long work if something is missing or does not fit; later if a tool fails.
    residuum.sim.bench.measure.Interrupted
        At Ctrl-C; finished parts are kept.
    """
    reporter = access.reporter
    with reporter.task("reading networks and images"):
        work = [(row, prepare(row, tau, T, images, access)) for row in rows for tau, T in STAGES]
    results = [measured(row, task, images, jobs=jobs, reporter=reporter) for row, task in work]
    builds: dict[tuple[str, str], Json] = {}
    if tries is not None:
        pairs = dict.fromkeys((row.board, row.preset) for row in rows)
        builds = {pair: routed(*pair, tries, reporter) for pair in pairs}
    for result in results:
        add_build(result, builds.get((result["board"], result["preset"])))
    return results


def chosen(models: str | None) -> list[Row]:
    """The rows of the networks in a comma-separated list, or all rows."""
    known = {row.model for row in ROWS}
    wanted = known if models is None else {name.strip() for name in models.split(",")}
    if unknown := sorted(wanted - known):
        raise ResiduumError(
            f"{unknown[0]!r} is not measured; there are {', '.join(sorted(known))}, "
            "given with commas between them"
        )
    return [row for row in ROWS if row.model in wanted]


def prepare(row: Row, tau: int, T: int, count: int, access: Access) -> Task:
    """The task of a row for one tau and T, on all held-out images of its network.

    Raises
    ------
    ResiduumError
        If network or preset is unknown, the network does not fit, or there are fewer than ``count``
        images.
    """
    from residuum.sim.bench.measure import Task
    from residuum.sw.compiler.fit import preset_named
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.data.held_out import held_out
    from residuum.sw.network.corrections import default_correction
    from residuum.sw.network.library import load_network, network_file, network_name

    network = load_network(row.model, row.bits)
    digest = digest_of_file(network_file(row.model, row.bits))
    # Memory sizes of the board, but behavioural memories for the simulation.
    config = preset_named(row.preset).with_changes(memory="inferred")
    try:
        program = compile_network(network, config, tau=tau, T=T)
    except ResiduumError as error:
        raise ResiduumError(f"{row.model} does not fit the preset {row.preset}: {error}") from None
    images, labels = held_out(network, row.model, access=access)
    if count > len(images):
        raise ResiduumError(
            f"{count} images are wanted, but {row.model} has {len(images)} held-out images"
        )
    name, correction = network_name(row.model, row.bits), default_correction(network, tau)
    return Task(name, digest, program, tau, T, correction, images, labels)


def measured(row: Row, task: Task, count: int, *, jobs: int, reporter: Reporter) -> Json:
    """The results of a row, without place and route; quantities are per image."""
    from residuum.boards.catalogue import find
    from residuum.sim.bench import measure
    from residuum.sim.verilator.engine import build_engine

    program, tau, T = task.program, task.tau, task.T
    accuracy = _accuracy(task, reporter)
    part = replace(task, images=task.images[:count], labels=task.labels[:count])
    with reporter.task(f"building the engine: {program.config.lanes} lanes"):
        simulation = build_engine(program.config)
    totals = measure.measure(part, simulation, bench_folder(), jobs=jobs, reporter=reporter)
    engine = measure.report(task.name, program, totals, **task.steps)
    baud = find(row.board).baud
    return {
        **asdict(row),
        "lanes": program.config.lanes,
        "tau": tau,
        "T": T,
        "accuracy": accuracy,
        "test_images": len(task.images),
        "rtl_images": engine["images"],
        "mismatches": engine["mismatches"],
        "first_mismatch": engine["first_mismatch"],
        "cycles": engine["cycles_per_image"],
        "predicted_cycles": engine["predicted_cycles_per_image"],
        "worst_cycle_error": engine["worst_cycle_error"],
        "events": engine["events_per_image"],
        "sops": engine["sops_per_image"],
        "utilisation": engine["events_per_image"] / engine["cycles_per_image"],
        "memory": memory(program),
        "host": {"baud": baud, **_transfer(task, baud)},
        "layers": engine["layers"],
    }


def _accuracy(task: Task, reporter: Reporter) -> float:
    """Accuracy of the golden model on all held-out images, in percent."""
    from residuum.sim.bench.measure import digest_of_arrays, once, one_core, software_digest
    from residuum.sw.golden.accuracy import evaluate

    network = task.program.network
    key = {
        "network": task.network_digest,
        "images": digest_of_arrays(task.images, task.labels),
        "software": software_digest(),
        **task.steps,
    }

    def compute() -> Json:
        with (
            one_core(),
            reporter.task(f"{task.name}, tau {task.tau}, T {task.T}: accuracy of all images"),
        ):
            tally = evaluate(network, task.images, task.labels, **task.steps)
        return {"accuracy": tally.accuracy}

    name = f"accuracy-{task.name}-tau{task.tau}-T{task.T}"
    return float(once(bench_folder() / name, key, compute)["accuracy"])


def _transfer(task: Task, baud: int) -> Json:
    """Bytes on the wire, per image and for loading the network, and their transfer time."""
    from residuum.sim.bench.measure import digest_of_arrays, once, software_digest
    from residuum.sim.bench.transfer import Transfer, count_transfer

    images = task.images[:TRANSFER_IMAGES]
    key = {
        "network": task.network_digest,
        "engine": asdict(task.program.config),
        "images": digest_of_arrays(images),
        "software": software_digest(),
        **task.steps,
    }
    kept = once(
        bench_folder() / f"transfer-{task.name}-{task.program.config.lanes}lanes",
        key,
        lambda: asdict(count_transfer(task.program, images, **task.steps)),
    )
    counted = Transfer(**kept)
    return {
        "bytes_sent": counted.sent,
        "bytes_received": counted.received,
        "milliseconds": 1e3 * counted.image_seconds(baud),
        "load_bytes": counted.load,
        "load_seconds": counted.load_seconds(baud),
    }


def memory(program: Program) -> Json:
    """Rows of weight and feature memory: used by the network, and in the engine."""
    config = program.config
    return {
        "weight_rows": program.weight_rows,
        "weight_rows_there": config.weight_rows,
        "weight_kbit": program.weight_rows * config.lanes * config.weight_bits / 1024,
        "feature_rows": program.feature_rows,
        "feature_rows_there": config.feature_rows,
    }


def routed(board_name: str, preset_name: str, tries: int, reporter: Reporter) -> Json:
    """The report (`boards/build/layout.py`) of place and route of an engine on a board.

    Reuses an earlier build of the same design, also one of ``residuum bitstream``. The memories
    hold the digits network; their contents affect neither clock nor area.
    """
    from residuum.boards.build.bitstream import prepare as prepare_design
    from residuum.boards.build.layout import MISSED, REPORT, build
    from residuum.boards.catalogue import find
    from residuum.sw.compiler.fit import preset_named

    board = find(board_name)
    folder = (bench_folder() / f"{board_name}-{preset_name}").resolve()
    with reporter.task(f"{board_name}, {preset_name}: elaborating"):
        order, design = prepare_design(
            board,
            model="digits",
            bits=preset_named(preset_name).weight_bits,
            preset_name=preset_name,
            tries=tries,
        )

    def found(*paths: Path) -> Json | None:
        reports = (_read(path) for path in paths)
        return next((r for r in reports if r and r.get("digest") == design.digest.hex()), None)

    report = found(folder / REPORT, build_folder() / board_name / REPORT)
    if report is None:
        # A build that misses its clock still reports its Fmax. More seeds may meet the clock.
        missed = found(folder / MISSED)
        if missed is not None and missed.get("tries", 0) >= tries:
            return missed
        try:
            report = build(order, design, folder, reporter)
        except ResiduumError:
            report = found(folder / MISSED)
            if report is None:
                raise
    return report


def _read(path: Path) -> Json | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def add_build(result: Json, build: Json | None) -> None:
    """Add the report of place and route to a row, and the values derived from the clock.

    Without a report, these values are None.
    """
    kept = ("device", "speed_grade", "fmax_mhz", "target_mhz", "met", "seed", "digest", "tools")
    counts = ("lut", "ff", "ebr", "dsp", "available")
    result["build"] = build and {key: build[key] for key in (*kept, *counts)}
    fmax = build["fmax_mhz"] if build else None
    result["latency_us"] = fmax and result["cycles"] / fmax
    result["images_per_second"] = fmax and 1e6 * fmax / result["cycles"]
    result["gsops"] = fmax and 1e-3 * fmax * result["sops"] / result["cycles"]


def complaints(results: Sequence[Json]) -> list[str]:
    """One sentence for each fault in the results."""
    said = []
    for row in results:
        name = f"{row['model']} on {row['lanes']} lanes, tau {row['tau']}, T {row['T']}"
        if row["mismatches"]:
            first = row["first_mismatch"]
            said.append(f"{name}: {row['mismatches']} values differ; the first: {first}")
        if row["worst_cycle_error"] > LARGEST_CYCLE_ERROR:
            off = f"off by {100 * row['worst_cycle_error']:.2f} % for an image"
            said.append(f"{name}: the cycle model is {off}")
    return said
