"""``residuum bench``: accuracy, cycles, clock and area of all networks in one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from residuum.commands.arguments import add_allow_modified, add_pool, pool, positive_number

IMAGES = 200

DESCRIPTION = """\
Measure the committed networks: accuracy of the integer network on all held-out images; cycles on
the simulated engine of a board, with every spike compared, and in the cycle model; clock and area
of the engine after place and route; bytes between host and board. Writes build/bench/report.json
and docs/results.md; ends with status 1 if a value differs or the error of the cycle model exceeds
1 %. Finished parts are kept in build/pieces, so the command may be interrupted at any time
(Ctrl-C). They run again if network, engine or sources have changed."""
EXAMPLES = """\
examples:
  residuum bench                               all networks; an hour on two cores
  residuum bench --models digits               one network; the page is build/bench/results.md
  residuum bench --models digits,mnist --page docs/results.md
  residuum bench --images 20 --no-build        quick: few images, no clock and no area
  residuum bench --bitstreams                  seconds of a bitstream: full build and replacement
  residuum bench --sdram                       VGG-16 and ResNet-18 with weights in an SDRAM
  residuum bench --wire --models mnist,cifar10  images per second through the wire to a board
  residuum bench --cluster tcp://host:8786     on a Dask cluster, see docs/cluster.md

`make bench` does the same as the first example, from a fresh clone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.sim.bench.bench import ROWS

    models = list(dict.fromkeys(row.model for row in ROWS))
    parser.add_argument(
        "--models",
        metavar="NAMES",
        help=f"comma-separated list of {','.join(models)} (default: all)",
    )
    parser.add_argument(
        "--images",
        type=positive_number,
        default=None,
        metavar="N",
        help=f"run the first N held-out images on the simulated engine (default {IMAGES})",
    )
    parser.add_argument(
        "--wire",
        action="store_true",
        help="measure images per second from end to end instead, through a model of the serial "
        "port of the board: before and after images were one request each (default: 40 images)",
    )
    parser.add_argument(
        "--no-build", action="store_true", help="skip place and route: no clock, no area"
    )
    parser.add_argument(
        "--tries",
        type=positive_number,
        default=3,
        metavar="N",
        help="try at most N seeds of place and route until the board's clock is met "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--bitstreams",
        action="store_true",
        help="instead, build the bitstreams of two boards with three networks, in full and by "
        "replacement of the memory contents, and compare the files; takes over an hour, once",
    )
    parser.add_argument(
        "--sdram",
        action="store_true",
        help="instead, run VGG-16 and ResNet-18 with random weights in a simulated SDRAM, an image "
        "and a batch of each, every value compared; takes half an hour",
    )
    add_allow_modified(parser)
    add_pool(parser)
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
        help="page (default docs/results.md, or build/bench/results.md with --models)",
    )


def _wire(args: argparse.Namespace) -> int:
    """Measure the way from host to engine and back; print the table, write the report."""
    from residuum.commands.console import ConsoleReporter, data_access, say_written, write_report
    from residuum.commands.tables import print_records
    from residuum.sim.bench import wire
    from residuum.sim.bench.bench import bench_folder, chosen, prepare, stages_of
    from residuum.sw.files import require_writable, write_whole

    report_path = args.json or bench_folder() / "wire.json"
    page = args.page or bench_folder() / "wire.md"
    for path in (report_path, page):
        require_writable(path)
    images, reporter, access = args.images or wire.IMAGES, ConsoleReporter(), data_access(args)
    results = []
    for row in chosen(args.models):
        tau, T = stages_of(row)[0]
        task = prepare(row, tau, T, row.images(images), access)
        results += wire.measure(row, task, images=row.images(images), reporter=reporter)
    rows = [wire.cells(result) for result in results]
    print_records(
        rows, numbers=[heading for heading in rows[0] if heading not in ("network", "board")]
    )
    models = f" --models {args.models}" if args.models else ""
    command = f"residuum bench --wire --images {images}{models}"
    write_report(report_path, {"command": command, "rows": results})
    write_whole(page, wire.page(results, command).encode())
    say_written(page)
    wrong = sum(result["wrong"] for result in results)
    if wrong:
        print(f"residuum: {wrong} images have another class or other logits", file=sys.stderr)
    return int(wrong > 0)


def _page(*, whole: bool) -> Path:
    """Where the page goes: into the docs of a checkout if it has all networks."""
    from residuum.sim.bench.bench import bench_folder
    from residuum.sw.files import checkout

    folder = checkout()
    return (folder / "docs" if folder and whole else bench_folder()) / "results.md"


def run(args: argparse.Namespace) -> int:
    """Measure all rows, write report and page, print the table."""
    if args.bitstreams:
        return _bitstreams(args)
    from residuum.commands.console import data_access, say_written, write_report
    from residuum.commands.tables import print_records
    from residuum.sim.bench.bench import bench, bench_folder, chosen, complaints
    from residuum.sim.bench.bench_page import COLUMNS, render
    from residuum.sw.files import require_writable, write_whole

    if args.wire:
        return _wire(args)
    if args.sdram:
        return _sdram(args)
    images = args.images or IMAGES
    tries = None if args.no_build else args.tries
    report_path = args.json or bench_folder() / "report.json"
    page = args.page or _page(whole=args.models is None)
    rows = chosen(args.models)
    for path in (report_path, page):
        require_writable(path)
    where = pool(args, in_threads=True)
    results = bench(rows, images=images, pool=where, tries=tries, access=data_access(args))

    options = (f" --models {args.models}" if args.models else "") + (
        " --no-build" if args.no_build else ""
    )
    report = {
        "command": f"residuum bench --images {images}{options}",
        "images": images,
        "rows": results,
    }
    columns = [column for column in COLUMNS if column.on_terminal]
    print_records(
        [{column.heading: column.cell(row) for column in columns} for row in results],
        numbers=[column.heading for column in columns[1:]],
    )
    write_report(report_path, report)
    write_whole(page, render(report).encode())
    say_written(page)
    complained = complaints(results)
    for sentence in complained:
        print(f"residuum: {sentence}", file=sys.stderr)
    return int(bool(complained))


def _sdram(args: argparse.Namespace) -> int:
    from residuum.commands.console import data_access, write_report
    from residuum.commands.tables import print_records
    from residuum.sim.bench import sdram
    from residuum.sim.bench.bench import bench_folder
    from residuum.sw.files import require_writable

    path = args.json or bench_folder() / "sdram.json"
    require_writable(path)
    results = sdram.measure(pool=pool(args, in_threads=True), access=data_access(args))
    print_records(
        [sdram.cells(result) for result in results],
        numbers=[heading for heading, _, _ in sdram.COLUMNS[1:]],
    )
    write_report(path, {"command": "residuum bench --sdram", "rows": results})
    wrong = [result for result in results if result["mismatches"]]
    for result in wrong:
        print(f"residuum: {result['network']}: {result['first_mismatch']}", file=sys.stderr)
    return int(bool(wrong))


def _bitstreams(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter, write_report
    from residuum.commands.tables import print_records
    from residuum.sim.bench.bench import bench_folder
    from residuum.sim.bench.bitstreams import BOARDS, NETWORKS, complaints, measure
    from residuum.sw.files import require_writable

    path = args.json or bench_folder() / "bitstreams.json"
    require_writable(path)
    rows = measure(BOARDS, NETWORKS, tries=args.tries, reporter=ConsoleReporter())
    headings = ("full build s", "replacement s")
    print_records(
        [
            {
                "board": row["board"],
                "network": row["network"],
                headings[0]: f"{row['full_seconds']:.0f}",
                headings[1]: f"{row['replaced_seconds']:.1f}",
                "the same file": "yes" if row["equal"] else "no",
            }
            for row in rows
        ],
        numbers=headings,
    )
    write_report(path, {"command": "residuum bench --bitstreams", "rows": rows})
    complained = complaints(rows)
    for sentence in complained:
        print(f"residuum: {sentence}", file=sys.stderr)
    return int(bool(complained))
