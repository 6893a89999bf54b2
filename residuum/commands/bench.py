"""``residuum bench``: accuracy, cycles, clock and area of all networks in one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from residuum.commands.arguments import add_jobs, positive_number

DESCRIPTION = """\
Measure the committed networks: accuracy of the integer network on all held-out images, images on
the simulated engine of a board with every spike compared, the cycle model beside it, the clock and
area of the engine after place and route, and the bytes between host and board. Writes
build/bench/report.json and docs/results.md; ends with status 1 if a value differs or the cycle
model is off by more than 1 %. Finished parts are kept in build/bench: the command may be
interrupted at any time (Ctrl-C) and continues when it is called again. A part is measured again
when its network, engine or sources have changed."""
EXAMPLES = """\
examples:
  residuum bench                               all networks; an hour on two cores
  residuum bench --models digits               one of them; the page is build/bench/results.md
  residuum bench --models digits,mnist --page docs/results.md
  residuum bench --images 20 --no-build        quick: few images, no clock and no area

`make bench` is the same as the first from a fresh clone.
"""

PAGE = Path("docs") / "results.md"


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.sim.bench.bench import ROWS

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
    from residuum.commands.console import ConsoleReporter, say_written, write_report
    from residuum.commands.tables import print_records
    from residuum.sim.bench.bench import bench, bench_folder, chosen, complaints
    from residuum.sim.bench.bench_page import COLUMNS, render
    from residuum.sim.bench.measure import Interrupted
    from residuum.sw.files import write_whole

    tries = None if args.no_build else args.tries
    try:
        results = bench(
            chosen(args.models),
            images=args.images,
            jobs=args.jobs,
            tries=tries,
            reporter=ConsoleReporter(),
        )
    except Interrupted as interrupted:
        print(f"residuum: interrupted; {interrupted}", file=sys.stderr)
        return 130

    options = (f" --models {args.models}" if args.models else "") + (
        " --no-build" if args.no_build else ""
    )
    report = {
        "command": f"residuum bench --images {args.images}{options}",
        "images": args.images,
        "rows": results,
    }
    columns = [column for column in COLUMNS if column.on_terminal]
    print_records(
        [{column.heading: column.cell(row) for column in columns} for row in results],
        numbers=[column.heading for column in columns[1:]],
    )
    write_report(args.json or bench_folder() / "report.json", report)
    page = args.page or (bench_folder() / "results.md" if args.models else PAGE)
    write_whole(page, render(report).encode())
    say_written(page)
    complained = complaints(results)
    for sentence in complained:
        print(f"residuum: {sentence}", file=sys.stderr)
    return int(bool(complained))
