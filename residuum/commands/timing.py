"""``residuum timing``."""

import argparse
import os
from typing import Any

from residuum.commands.arguments import positive_number
from residuum.commands.bitstream import add_design, design_options, tries
from residuum.sw.errors import ResiduumError

DESCRIPTION = """\
Place and route the design of boards with several seeds, and print the clock that it reaches, the
area, the two ends of the slowest path, and how far this is from what the project requires and aims
at. Also written to build/timing/report.json. Ends with status 1 if a board stays below what is
required."""
EXAMPLES = """\
examples:
  residuum timing                               ulx3s-12f and ulx3s, three seeds each
  residuum timing --board ulx3s-12f --seeds 1   the quick one
  residuum timing --freq 150                    asking for 150 MHz instead of the aim

`make timing` is the same from a fresh clone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.boards.build.timing import GOALS

    parser.add_argument(
        "--board",
        action="append",
        metavar="BOARD",
        help=f"may be given several times (default: {' and '.join(GOALS)})",
    )
    parser.add_argument(
        "--seeds",
        type=tries,
        default=3,
        metavar="N",
        help="place and route with seeds 1..N (default %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=positive_number,
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="tools running side by side (default %(default)s)",
    )
    add_design(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and fail if a board stays below what is required."""
    from residuum.boards.build.timing import GOALS, measure
    from residuum.boards.catalogue import find
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.tables import print_records
    from residuum.sw.files import build_folder

    rows = measure(
        [find(name) for name in args.board or GOALS],
        seeds=range(1, args.seeds + 1),
        jobs=args.jobs,
        reporter=ConsoleReporter(),
        **design_options(args),
    )
    print_records(
        [_record(row) for row in rows],
        title="ECP5 after place and route; MHz of the slowest seed against the goals",
        numbers=("lanes", "Fmax", "median", "LUT", "FF", "EBR", "required", "aim"),
    )
    for row in rows:
        seeds = ", ".join(f"{clock:.1f}" for clock in row["fmax_mhz"].values())
        print(f"{row['board']}: asked for {row['asked_mhz']:g} MHz, seeds reached {seeds} MHz")
        print(f"  slowest path: {row['path']['from']} -> {row['path']['to']}")
    say_written(build_folder() / "timing" / "report.json")
    missed = [complaint for row in rows for complaint in row["below_required"]]
    if missed:
        raise ResiduumError("below what is required: " + "; ".join(missed))
    return 0


def _record(row: dict[str, Any]) -> dict[str, str]:
    return {
        "board": row["board"],
        "lanes": str(row["lanes"]),
        "Fmax": f"{row['fmax_min_mhz']:.1f}",
        "median": f"{row['fmax_median_mhz']:.1f}",
        **{kind.upper(): f"{row[kind]:,}" for kind in ("lut", "ff", "ebr")},
        **{kind: _distance(row, kind) for kind in ("required", "aim")},
    }


def _distance(row: dict[str, Any], kind: str) -> str:
    """A goal, and how far the row is from it."""
    goal = row["goal"] or {}
    lines = []
    for key, unit, form in (("fmax_min_mhz", "mhz", "+.1f"), ("lut", "lut", "+,")):
        wanted = goal.get(f"{kind}_{unit}")
        if wanted is not None:
            lines.append(f"{wanted:,} {unit.upper().replace('MHZ', 'MHz')}")
            lines.append(f"{row[key] - wanted:{form}}")
    return "\n".join(lines)
