"""``residuum timing``."""

import argparse
import os
from typing import Any

from residuum.commands.arguments import positive_number
from residuum.commands.bitstream import add_design, design_options, tries
from residuum.sw.errors import ResiduumError

DESCRIPTION = """\
Place and route engines on boards with several seeds. Prints Fmax, the area, both ends of the
critical path, and the distances from the required values and from the aims of the project. Writes
build/timing/report.json; ends with status 1 if a board misses a required value."""
EXAMPLES = """\
examples:
  residuum timing                               engines with a required clock, three seeds each
  residuum timing --board ulx3s-12f --seeds 1   quick: one board, one seed
  residuum timing --board ulx3s --preset 85f    another engine
  residuum timing --freq 150                    with a target of 150 MHz instead of the aim

From a fresh clone: `make timing`.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.boards.build.timing import GOALS

    parser.add_argument(
        "--board",
        action="append",
        metavar="BOARD",
        help="can be repeated; with its own preset, or that of --preset (default: "
        + ", ".join(f"{board} with {preset}" for board, preset in GOALS)
        + ")",
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
        help="tools running in parallel (default %(default)s)",
    )
    add_design(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, and fail if a board misses a required value."""
    from residuum.boards.build.timing import GOALS, measure
    from residuum.boards.catalogue import find
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.tables import print_records
    from residuum.sw.files import build_folder

    options = design_options(args)
    preset = options.pop("preset_name")
    if args.board or preset:
        boards = [find(name) for name in args.board or dict.fromkeys(board for board, _ in GOALS)]
        designs = [(board, preset or board.preset) for board in boards]
    else:
        designs = [(find(board), name) for board, name in GOALS]
    rows = measure(
        designs,
        seeds=range(1, args.seeds + 1),
        jobs=args.jobs,
        reporter=ConsoleReporter(),
        **options,
    )
    print_records(
        [_record(row) for row in rows],
        title="ECP5 after place and route; MHz of the slowest seed against the goals",
        numbers=("lanes", "Fmax", "median", "LUT", "FF", "EBR", "required", "aim"),
    )
    for row in rows:
        seeds = ", ".join(f"{clock:.1f}" for clock in row["fmax_mhz"].values())
        asked = f"asked for {row['asked_mhz']:g} MHz, seeds reached {seeds} MHz"
        print(f"{row['board']}, {row['preset']}: {asked}")
        print(f"  slowest path: {row['path']['from']} -> {row['path']['to']}")
    say_written(build_folder() / "timing" / "report.json")
    missed = [complaint for row in rows for complaint in row["below_required"]]
    if missed:
        raise ResiduumError("below what is required: " + "; ".join(missed))
    return 0


def _record(row: dict[str, Any]) -> dict[str, str]:
    return {
        "board": row["board"],
        "preset": row["preset"],
        "lanes": str(row["lanes"]),
        "Fmax": f"{row['fmax_min_mhz']:.1f}",
        "median": f"{row['fmax_median_mhz']:.1f}",
        **{kind.upper(): f"{row[kind]:,}" for kind in ("lut", "ff", "ebr")},
        **{kind: _distance(row, kind) for kind in ("required", "aim")},
    }


def _distance(row: dict[str, Any], kind: str) -> str:
    """A goal, and the difference between row and goal."""
    goal = row["goal"] or {}
    lines = []
    for key, unit, form in (("fmax_min_mhz", "mhz", "+.1f"), ("lut", "lut", "+,")):
        wanted = goal.get(f"{kind}_{unit}")
        if wanted is not None:
            lines.append(f"{wanted:,} {unit.upper().replace('MHZ', 'MHz')}")
            lines.append(f"{row[key] - wanted:{form}}")
    return "\n".join(lines)
