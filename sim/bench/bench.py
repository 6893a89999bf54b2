"""``residuum bench``: accuracy, cycles, clock and area of all networks in one table."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import add_jobs, positive_number
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder

if TYPE_CHECKING:
    from rich.console import Console

    from residuum.sim.bench.measure import Task
    from residuum.sw.compiler.program import Program

DESCRIPTION = """\
Measure the committed networks: accuracy of the integer network on all held-out images, images on
the simulated engine of a board with every spike compared, the cycle model beside it, the clock and
area of the engine after place and route, and the bytes between host and board. Writes
build/bench/report.json and docs/results.md; ends with status 1 if a value differs or the cycle
model is off by more than 1 %. What is finished is kept in build/bench, so that the command may be
broken off at any time (Ctrl-C); it is done anew where network, engine or sources have changed."""
EXAMPLES = """\
examples:
  residuum bench                               all networks; an hour on two cores
  residuum bench --models digits               one of them; the page is build/bench/results.md
  residuum bench --models digits,mnist --page docs/results.md
  residuum bench --images 20 --no-build        quick: few images, no clock and no area

`make bench` is the same as the first from a fresh clone.
"""

PAGE = Path("docs") / "results.md"
# Images over which the bytes on the wire are averaged; what is escaped depends on them.
TRANSFER_IMAGES = 20
LARGEST_CYCLE_ERROR = 0.01


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network on the engine of a board; measured with all `STAGES`."""

    model: str
    bits: int
    board: str
    preset: str


ROWS: tuple[Row, ...] = (
    Row(model="digits", bits=8, board="ulx3s-12f", preset="12f"),
    Row(model="mnist", bits=8, board="ulx3s-12f", preset="12f"),
    # Weights of 4 bits run on an engine for 8 bits too.
    Row(model="mnist", bits=4, board="ulx3s-12f", preset="12f"),
    Row(model="mnist", bits=8, board="ulx3s", preset="85f"),
    Row(model="mnist", bits=4, board="ulx3s", preset="85f"),
    Row(model="fashion", bits=4, board="ulx3s", preset="85f-4bit"),
    Row(model="cifar10", bits=4, board="ulx3s", preset="85f-4bit"),
)
# (tau, T): with the probe, and plain conversion with as many steps.
STAGES = ((4, 4), (0, 8))

Json = dict[str, Any]


def bench_folder() -> Path:
    """Where what is finished is kept."""
    return build_folder() / "bench"


def configure(parser: argparse.ArgumentParser) -> None:
    models = list(dict.fromkeys(row.model for row in ROWS))
    parser.add_argument(
        "--models",
        metavar="NAMES",
        help=f"some of {','.join(models)}, with commas between them (default: all)",
    )
    parser.add_argument(
        "--images",
        type=positive_number,
        default=200,
        metavar="N",
        help="held-out images on the simulated engine, from the first (default %(default)s)",
    )
    parser.add_argument(
        "--no-build", action="store_true", help="leave out place and route: no clock, no area"
    )
    parser.add_argument(
        "--tries",
        type=positive_number,
        default=3,
        metavar="N",
        help="seeds of place and route, from 1 on, until the board's clock is met "
        "(default %(default)s)",
    )
    add_jobs(parser)
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="report (default build/bench/report.json)",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help=f"page (default {PAGE}, or build/bench/results.md with --models)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure all rows, write report and page, print the table."""
    from rich.console import Console

    from residuum.commands.console import write_report
    from residuum.sim.bench.bench_page import print_table, render
    from residuum.sim.bench.measure import Interrupted

    console = Console(stderr=True)
    rows = chosen(args.models)
    with console.status("reading networks and images"):
        # All of them first: what is missing or does not fit shows before the long work.
        work = [(row, [prepare(row, tau, T, args.images) for tau, T in STAGES]) for row in rows]
    try:
        results = [
            measured(row, task, args.images, jobs=args.jobs, console=console)
            for row, tasks in work
            for task in tasks
        ]
    except Interrupted as interrupted:
        print(f"residuum: interrupted; {interrupted}", file=sys.stderr)
        return 130
    pairs = dict.fromkeys((row.board, row.preset) for row in rows)
    builds = {} if args.no_build else {pair: routed(*pair, args.tries, console) for pair in pairs}
    for result in results:
        add_build(result, builds.get((result["board"], result["preset"])))

    options = (f" --models {args.models}" if args.models else "") + (
        " --no-build" if args.no_build else ""
    )
    report: Json = {
        "command": f"residuum bench --images {args.images}{options}",
        "images": args.images,
        "rows": results,
    }
    print_table(report)
    write_report(args.json or bench_folder() / "report.json", report)
    write_page(
        args.page or (bench_folder() / "results.md" if args.models else PAGE), render(report)
    )
    return complain(results)


def chosen(models: str | None) -> list[Row]:
    """The rows of the networks with these names, with commas between them; of all without."""
    known = {row.model for row in ROWS}
    wanted = known if models is None else {name.strip() for name in models.split(",")}
    if unknown := sorted(wanted - known):
        raise ResiduumError(
            f"{unknown[0]!r} is not measured; there are {', '.join(sorted(known))}, "
            "given with commas between them"
        )
    return [row for row in ROWS if row.model in wanted]


def prepare(row: Row, tau: int, T: int, count: int) -> Task:
    """A row with one choice of steps, and all held-out images of its network.

    Raises
    ------
    ResiduumError
        If there is no such network or preset, if they do not fit, or if there are fewer images
        than ``count``.
    """
    from residuum.hw.isa.presets import preset
    from residuum.sim.bench.measure import Task, digest_of_file
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.data.held_out import held_out
    from residuum.sw.network.library import load_network, network_file

    network = load_network(row.model, row.bits)
    digest = digest_of_file(network_file(row.model, row.bits))
    # Of a board's memories the simulation has the sizes; block memories are described.
    config = preset(row.preset).with_changes(memory="inferred")
    try:
        program = compile_network(network, config, tau=tau, T=T)
    except ResiduumError as error:
        raise ResiduumError(f"{row.model} does not fit the preset {row.preset}: {error}") from None
    images, labels = held_out(network, row.model, None)
    if count > len(images):
        raise ResiduumError(
            f"{count} images are wanted, but {row.model} has {len(images)} held-out images"
        )
    return Task(row.model, digest, program, tau, T, images, labels)


def measured(row: Row, task: Task, count: int, *, jobs: int, console: Console) -> Json:
    """All that is known of a row without its build; amounts per image."""
    from residuum.boards.catalogue import find
    from residuum.sim.bench import measure
    from residuum.sim.verilator.engine import build_engine

    program, tau, T = task.program, task.tau, task.T
    accuracy = _accuracy(task, console)
    part = measure.Task(
        task.name, task.network_digest, program, tau, T, task.images[:count], task.labels[:count]
    )
    with console.status(f"building the engine: {program.config.lanes} lanes"):
        simulation = build_engine(program.config)
    totals = measure.measure(part, simulation, bench_folder(), jobs=jobs, console=console)
    engine = measure.report(task.name, program, totals, tau=tau, T=T)
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


def _accuracy(task: Task, console: Console) -> float:
    """Percent of all held-out images that the golden model classifies correctly."""
    from residuum.sim.bench.measure import digest_of_arrays, once, one_core, software_digest
    from residuum.sw.golden.accuracy import evaluate

    network = task.program.network
    key = {
        "network": task.network_digest,
        "images": digest_of_arrays(task.images, task.labels),
        "software": software_digest(),
        "tau": task.tau,
        "T": task.T,
    }

    def compute() -> Json:
        with one_core():
            tally = evaluate(network, task.images, task.labels, tau=task.tau, T=task.T)
        return {"accuracy": tally.accuracy}

    name = f"accuracy-{task.name}-{network.weight_bits}bit-tau{task.tau}-T{task.T}"
    console.print(
        f"{task.name}, tau {task.tau}, T {task.T}: accuracy of {len(task.images):,} images"
    )
    return float(once(bench_folder() / name, key, compute)["accuracy"])


def _transfer(task: Task, baud: int) -> Json:
    """Bytes on the wire per image and to load the network, and what they take."""
    from residuum.sim.bench.measure import digest_of_arrays, once, software_digest
    from residuum.sim.bench.transfer import Transfer, count_transfer

    images = task.images[:TRANSFER_IMAGES]
    key = {
        "network": task.network_digest,
        "engine": asdict(task.program.config),
        "images": digest_of_arrays(images),
        "software": software_digest(),
    }
    kept = once(
        bench_folder() / f"transfer-{task.name}-{task.program.config.lanes}lanes",
        key,
        lambda: asdict(count_transfer(task.program, images, tau=task.tau, T=task.T)),
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
    """Rows of both large memories that a network takes, and how many the engine has."""
    config = program.config
    weight_rows = max(
        plan.descriptor.weight_row
        + plan.groups * plan.layer.in_channels * math.prod(plan.layer.kernel)
        for plan in program.layers
    )
    maps = [plan.input for plan in program.layers]
    return {
        "weight_rows": weight_rows,
        "weight_rows_there": config.weight_rows,
        "weight_kbit": weight_rows * config.lanes * config.weight_bits / 1024,
        "feature_rows": max(plan.row + plan.rows_taken for plan in maps),
        "feature_rows_there": config.feature_rows,
    }


def routed(board_name: str, preset_name: str, tries: int, console: Console) -> Json:
    """The report (`boards/build/layout.py`) of the board with an engine after place and route.

    An earlier build of the same design counts, from this command or from ``residuum bitstream``.
    The digits network is in the memories; what they hold changes neither clock nor area.
    """
    from residuum.boards.build.bitstream import prepare as prepare_design
    from residuum.boards.build.layout import MISSED, REPORT, build
    from residuum.boards.catalogue import find
    from residuum.commands.console import ConsoleReporter
    from residuum.hw.isa.presets import preset

    board = find(board_name)
    folder = (bench_folder() / f"{board_name}-{preset_name}").resolve()
    with console.status(f"{board_name}, {preset_name}: elaborating"):
        order, design = prepare_design(
            board,
            model="digits",
            bits=preset(preset_name).weight_bits,
            preset_name=preset_name,
            tries=tries,
        )

    def found(places: Sequence[Path]) -> Json | None:
        reports = (_read(place / name) for place in places for name in (REPORT, MISSED))
        return next((r for r in reports if r and r.get("digest") == design.digest.hex()), None)

    report = found([folder, build_folder() / board_name])
    if report is None:
        try:
            report = build(order, design, folder, ConsoleReporter(console))
        except ResiduumError:
            # A build that misses its clock has told the clock that it reaches.
            report = found([folder])
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
    """Put what place and route came to into a row, and what follows from the clock; None of each
    without a build."""
    kept = ("device", "speed_grade", "fmax_mhz", "target_mhz", "met", "seed", "digest", "tools")
    counts = ("lut", "ff", "ebr", "dsp", "available")
    result["build"] = build and {key: build[key] for key in (*kept, *counts)}
    fmax = build["fmax_mhz"] if build else None
    result["latency_us"] = fmax and result["cycles"] / fmax
    result["images_per_second"] = fmax and 1e6 * fmax / result["cycles"]
    result["gsops"] = fmax and 1e-3 * fmax * result["sops"] / result["cycles"]


def write_page(path: Path, text: str) -> None:
    """Write the page whole or not at all; ``ResiduumError`` if that is not possible."""
    from residuum.sw.files import write_whole

    write_whole(path, text.encode())
    print(f"written: {path}")


def complain(results: Sequence[Json]) -> int:
    """The exit status; says on stderr which rows are wrong."""
    status = 0
    for row in results:
        name = f"{row['model']} on {row['lanes']} lanes, tau {row['tau']}, T {row['T']}"
        if row["mismatches"]:
            first = row["first_mismatch"]
            message = f"{row['mismatches']} values differ; the first: {first}"
            print(f"residuum: {name}: {message}", file=sys.stderr)
            status = 1
        if row["worst_cycle_error"] > LARGEST_CYCLE_ERROR:
            off = f"off by {100 * row['worst_cycle_error']:.2f} % for an image"
            print(f"residuum: {name}: the cycle model is {off}", file=sys.stderr)
            status = 1
    return status
