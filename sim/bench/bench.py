"""Accuracy, cycles, clock and area of the committed networks on the engines of boards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, digest_of_file

if TYPE_CHECKING:
    from residuum.sim.bench.measure import Task
    from residuum.sw.compiler.program import Program
    from residuum.sw.data.data_sets import Access
    from residuum.sw.pieces.run import Piece, Pool

# Images over which the bytes on the wire are averaged; the number of escapes depends on the image.
TRANSFER_IMAGES = 20
LARGEST_CYCLE_ERROR = 0.01


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network, and the board and engine on which it runs. ``most``: images of a deep network on
    the simulated engine, at most; 100 take half an hour."""

    model: str
    bits: int
    board: str
    preset: str
    most: int | None = None

    def images(self, wanted: int) -> int:
        """Images on the simulated engine."""
        return wanted if self.most is None else min(wanted, self.most)


ROWS: tuple[Row, ...] = (
    Row(model="digits", bits=8, board="ulx3s-12f", preset="12f"),
    Row(model="mnist", bits=8, board="ulx3s-12f", preset="12f"),
    Row(model="mnist-radix", bits=4, board="ulx3s-12f", preset="12f-4bit"),
    Row(model="mnist", bits=8, board="ulx3s", preset="85f"),
    Row(model="fashion", bits=4, board="ulx3s", preset="85f-4bit"),
    Row(model="cifar10", bits=4, board="ulx3s", preset="85f-4bit"),
    Row(model="resnet20-radix", bits=4, board="ulx3s", preset="85f-4bit", most=20),
)
# (tau, T): with the probe, and plain conversion with the same total number of steps; in radix code
# there are no steps.
STAGES = ((4, 4), (0, 8))
RADIX_STAGES = ((0, 1),)

Json = dict[str, Any]


def bench_folder() -> Path:
    """The folder for stored measurements."""
    return build_folder() / "bench"


def bench(
    rows: Sequence[Row], *, images: int, pool: Pool, tries: int | None, access: Access
) -> list[Json]:
    """Measure rows with all stages of their networks.

    Parameters
    ----------
    images
        Number of held-out images on the simulated engine.
    pool
        Where the pieces run.
    tries
        Seeds of place and route; None skips place and route.
    access
        How the images are obtained; its reporter shows the progress of everything.

    Raises
    ------
    ResiduumError
        Before the long work if something is missing or does not fit; later if a tool fails.
    residuum.sw.pieces.run.Interrupted
        At Ctrl-C; finished pieces are kept.
    """
    from residuum.sw.pieces.run import run

    reporter = access.reporter
    with reporter.task("reading networks and images"):
        work = [
            (row, prepare(row, tau, T, row.images(images), access))
            for row in rows
            for tau, T in stages_of(row)
        ]
    pairs = list(dict.fromkeys((row.board, row.preset) for row in rows))
    # Place and route takes longest, so it begins first.
    pieces = [_build_piece(*pair, tries) for pair in pairs if tries is not None]
    pieces += [piece for row, task in work for piece in _pieces(task, row.images(images))]
    results = iter(run(pieces, pool, title="bench", doing="simulated", reporter=reporter))
    builds = {pair: next(results) for pair in pairs if tries is not None}
    measured = [_result(row, task, row.images(images), results) for row, task in work]
    for result in measured:
        add_build(result, builds.get((result["board"], result["preset"])))
    return measured


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


def stages_of(row: Row) -> tuple[tuple[int, int], ...]:
    """tau and T of the runs of a row."""
    from residuum.sw.network.integer_network import RADIX
    from residuum.sw.network.library import load_network

    return RADIX_STAGES if load_network(row.model, row.bits).code == RADIX else STAGES


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
    from residuum.sw.network.library import load_network, network_name

    network = load_network(row.model, row.bits)
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
    return Task(name, program, tau, T, correction, images, labels)


def _build_piece(board: str, preset: str, tries: int) -> Piece:
    from residuum.sim.bench.routed import FILLING, routed
    from residuum.sw.compiler.fit import preset_named
    from residuum.sw.network.library import widest_bits, zoo_file
    from residuum.sw.pieces.run import Piece

    bits = widest_bits(FILLING, preset_named(preset).weight_bits)
    digest = digest_of_file(zoo_file(FILLING, bits))
    given = {"board_name": board, "preset_name": preset, "tries": tries, "digits": digest}
    return Piece(routed, given, f"place and route of {board}, {preset}")


def _pieces(task: Task, count: int) -> list[Piece]:
    """Accuracy, transfer and the first ``count`` images on the engine, in this order."""
    from residuum.sim.bench.accuracy import accuracy
    from residuum.sim.bench.transfer import transfer
    from residuum.sw.pieces.run import Piece

    given = {"network": task.program.network, "images": task.images, "labels": task.labels}
    wire = {
        "network": task.program.network,
        "config": task.program.config,
        "images": task.images[:TRANSFER_IMAGES],
    }
    parts = [dataclasses.replace(piece, size=1) for piece in task.pieces(count)]
    return [
        Piece(accuracy, given | task.steps, f"accuracy of {task.title}"),
        Piece(transfer, wire | task.steps, f"transfer of {task.title}"),
        *parts,
    ]


def _result(row: Row, task: Task, count: int, results: Iterator[Any]) -> Json:
    """The results of a row, from those of `_pieces`; quantities are per image."""
    from residuum.boards.catalogue import find
    from residuum.sim.bench import measure
    from residuum.sim.bench.transfer import Transfer

    program = task.program
    right, counted = next(results), Transfer(**next(results))
    totals = task.totals(islice(results, len(task.pieces(count))))
    engine = measure.report(task.name, program, totals, **task.steps)
    baud = find(row.board).baud
    return {
        **asdict(row),
        "lanes": program.config.lanes,
        **task.steps,
        "accuracy": right,
        "test_images": len(task.images),
        "rtl_images": engine["images"],
        "mismatches": engine["mismatches"],
        "first_mismatch": engine["first_mismatch"],
        "cycles": engine["cycles_per_image"],
        "predicted_cycles": engine["predicted_cycles_per_image"],
        "worst_cycle_error": engine["worst_cycle_error"],
        "events": engine["events_per_image"],
        "sops": engine["sops_per_image"],
        "utilisation": engine["utilisation"],
        "memory": memory(program),
        "host": {
            "baud": baud,
            "bytes_sent": counted.sent,
            "bytes_received": counted.received,
            "milliseconds": 1e3 * counted.image_seconds(baud),
            "load_bytes": counted.load,
            "load_seconds": counted.load_seconds(baud),
        },
        "layers": engine["layers"],
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


def add_build(result: Json, build: Json | None) -> None:
    """Add the report of place and route to a row, and the values at the clock of the board's PLL,
    or at Fmax where that is lower.

    Without a report, these values are None.
    """
    kept = ("device", "speed_grade", "fmax_mhz", "target_mhz", "met", "seed", "digest", "tools")
    counts = ("lut", "ff", "ebr", "dsp", "available")
    result["build"] = build and {key: build[key] for key in (*kept, *counts)}
    clock = min(build["target_mhz"], build["fmax_mhz"]) if build else None
    result["clock_mhz"] = clock
    result["latency_us"] = clock and result["cycles"] / clock
    result["images_per_second"] = clock and 1e6 * clock / result["cycles"]
    result["gsops"] = clock and 1e-3 * clock * result["sops"] / result["cycles"]


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
