"""``residuum timing``: the clock that the engine reaches on two boards, over several seeds."""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

from residuum.boards.build.layout import Build, Layout, Order
from residuum.boards.build.progress import Display
from residuum.boards.build.synth import Resources
from residuum.boards.catalogue import find
from residuum.commands.arguments import positive_number
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, write_json

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


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a board's build must reach, and what it should; `None`: as much as there is."""

    required_mhz: float
    aim_mhz: float
    required_lut: int | None = None
    aim_lut: int | None = None


GOALS = {
    "ulx3s-12f": Goal(required_mhz=150, aim_mhz=190, required_lut=12_000, aim_lut=10_000),
    "ulx3s": Goal(required_mhz=150, aim_mhz=180),
}


def configure(parser: argparse.ArgumentParser) -> None:
    from residuum.boards.build.bitstream import add_design

    parser.add_argument(
        "--board",
        action="append",
        metavar="BOARD",
        help=f"may be given several times (default: {' and '.join(GOALS)})",
    )
    parser.add_argument(
        "--seeds",
        type=positive_number,
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
    """Build, print the table, write the report."""
    from rich.console import Console

    from residuum.boards.build.bitstream import prepare

    console = Console(stderr=True)
    boards = [find(name) for name in args.board or GOALS]
    orders = []
    for board in boards:
        aim = GOALS[board.name].aim_mhz if board.name in GOALS else None
        with console.status(f"{board.name}: elaborating"):
            order, design = prepare(
                board,
                model=args.model,
                bits=args.bits,
                preset_name=args.preset,
                freq=args.freq or aim,
            )
        orders.append((order, design))
    seeds = range(1, args.seeds + 1)
    with Display(console) as display, ThreadPoolExecutor(args.jobs) as pool:
        builds = [
            Build(order.board, design, build_folder() / "timing" / order.board.name, display)
            for order, design in orders
        ]
        netlists = list(pool.map(Build.synthesise, builds))
        layouts = [
            {seed: pool.submit(build.place, seed, order.target_mhz) for seed in seeds}
            for build, (order, _) in zip(builds, orders, strict=True)
        ]
        rows = [
            summarise(order, netlist, {seed: layout.result() for seed, layout in placed.items()})
            for (order, _), netlist, placed in zip(orders, netlists, layouts, strict=True)
        ]
    write_json(build_folder() / "timing" / "report.json", rows)
    _print(rows)
    print("written: build/timing/report.json")
    missed = [complaint for row in rows for complaint in row["below_required"]]
    if missed:
        raise ResiduumError("below what is required: " + "; ".join(missed))
    return 0


def summarise(order: Order, netlist: Resources, layouts: dict[int, Layout]) -> dict[str, Any]:
    """One row of the table: the clocks of all seeds, the largest area, the slowest path."""
    clocks = [layout.fmax_mhz for layout in layouts.values()]
    slowest = min(layouts.values(), key=lambda layout: layout.fmax_mhz)
    lowest, lut = min(clocks), max(layout.lut for layout in layouts.values())
    goal = GOALS.get(order.board.name)
    below = []
    if goal and lowest < goal.required_mhz:
        below.append(f"{order.board.name} {lowest:.1f} of {goal.required_mhz:g} MHz")
    if goal and goal.required_lut and lut > goal.required_lut:
        below.append(f"{order.board.name} {lut:,} LUT, {goal.required_lut:,} allowed")
    return {
        "board": order.board.name,
        "device": order.board.device,
        "speed_grade": order.board.speed_grade,
        "preset": order.preset,
        "lanes": order.lanes,
        "steps": order.steps,
        "asked_mhz": round(order.target_mhz, 3),
        "fmax_mhz": {str(seed): round(layout.fmax_mhz, 2) for seed, layout in layouts.items()},
        "fmax_min_mhz": round(lowest, 2),
        "fmax_median_mhz": round(median(clocks), 2),
        "lut": lut,
        "carry": netlist.carry,
        "ff": max(layout.ff for layout in layouts.values()),
        "ebr": slowest.ebr,
        "path": {"from": slowest.path[0], "to": slowest.path[1]},
        "goal": None
        if goal is None
        else {
            "required_mhz": goal.required_mhz,
            "aim_mhz": goal.aim_mhz,
            "required_lut": goal.required_lut,
            "aim_lut": goal.aim_lut,
        },
        "below_required": below,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Narrow enough for a log; what is not a terminal counts as 80 columns.
    table = Table(
        title="ECP5 after place and route; MHz of the slowest seed against the goals",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("board", "lanes", "Fmax", "median", "LUT", "FF", "EBR", "required", "aim"):
        table.add_column(heading, justify="left" if heading == "board" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["board"],
            str(row["lanes"]),
            f"{row['fmax_min_mhz']:.1f}",
            f"{row['fmax_median_mhz']:.1f}",
            *(f"{row[kind]:,}" for kind in ("lut", "ff", "ebr")),
            *(_distance(row, kind) for kind in ("required", "aim")),
        )
    console = Console()
    console.width = max(console.width, 96)
    console.print(table)
    for row in rows:
        seeds = ", ".join(f"{clock:.1f}" for clock in row["fmax_mhz"].values())
        print(f"{row['board']}: asked for {row['asked_mhz']:g} MHz, seeds reached {seeds} MHz")
        print(f"  slowest path: {row['path']['from']} -> {row['path']['to']}")


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
