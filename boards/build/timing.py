"""The clock of engines on boards, over several seeds of place and route."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from residuum.boards.board import Board
from residuum.boards.build.flow import Order
from residuum.boards.build.layout import Layout
from residuum.boards.build.placed import network_digest, placed, synthesised
from residuum.boards.build.synth import Resources
from residuum.sw.compiler.fit import engine_named
from residuum.sw.files import build_folder, write_json
from residuum.sw.pieces.run import Piece, Pool, run
from residuum.sw.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Clock and area that an engine on a board must reach, and the aims; `None`: no limit."""

    required_mhz: float
    aim_mhz: float
    required_lut: int | None = None
    aim_lut: int | None = None


# By board and preset.
GOALS = {
    ("ulx3s-12f", "12f"): Goal(required_mhz=150, aim_mhz=170, required_lut=12_000),
    ("ulx3s-12f", "12f-4bit"): Goal(required_mhz=150, aim_mhz=170, required_lut=12_000),
    ("ulx3s", "85f-4bit"): Goal(required_mhz=145, aim_mhz=165),
}


def measure(
    designs: Iterable[tuple[Board, str]],
    *,
    seeds: Iterable[int],
    jobs: int,
    freq: float | None = None,
    reporter: Reporter = SILENT,
    **options: Any,
) -> list[dict[str, Any]]:
    """Place and route each design with each seed; writes and returns one row per design.

    Netlists and layouts are kept as pieces of work.

    Parameters
    ----------
    designs
        Boards with the names of their presets.
    jobs
        Number of tools that run in parallel.
    freq
        Target clock in MHz; the default is the aim of the design.
    options
        Further options of `residuum.boards.build.bitstream.prepare`.
    """
    designs = list(dict.fromkeys(designs))
    ordered = []
    for board, preset in designs:
        engine_named(preset, options.get("sizes") or {})  # an unknown name is one sentence
        goal = GOALS.get((board.name, preset))
        target = goal.aim_mhz if goal and freq is None else freq
        wanted = options | {"preset_name": preset, "freq": target}
        ordered.append((board, f"{board.name}, {preset}", wanted))
    found = place_and_route(
        ordered, seeds=seeds, pool=Pool(jobs, in_threads=True), reporter=reporter
    )
    rows = [summarise(*design) for design in found]
    write_json(build_folder() / "timing" / "report.json", rows)
    return rows


def place_and_route(
    designs: Sequence[tuple[Board, str, Mapping[str, Any]]],
    *,
    seeds: Iterable[int],
    pool: Pool,
    reporter: Reporter = SILENT,
) -> list[tuple[Order, Resources, dict[int, Layout]]]:
    """The order, the netlist, and the layout with each seed, of designs: their boards, names for
    messages, and options of `residuum.boards.build.bitstream.prepare`. All are kept as pieces."""
    seeds = list(seeds)
    ordered = []
    for board, name, options in designs:
        given: dict[str, Any] = {
            "board": board.name,
            "options": dict(options),
            "network": network_digest(**options),
        }
        ordered.append(Piece(synthesised, given, f"{name}: synthesis"))
    netlists = run(ordered, pool, title="synthesis", unit="designs", reporter=reporter)
    orders = [
        Order(board=board, seed=seeds[0], **netlist["order"])
        for (board, _, _), netlist in zip(designs, netlists, strict=True)
    ]
    pieces = []
    for order, netlist in zip(orders, netlists, strict=True):
        given = {key: netlist[key] for key in ("netlist", "constraints")}
        given |= {"board": order.board.name, "target_mhz": order.target_mhz}
        pieces += [
            Piece(placed, given | {"seed": seed}, f"{design_name(order)}, seed {seed}")
            for seed in seeds
        ]
    layouts = iter(run(pieces, pool, title="place and route", unit="seeds", reporter=reporter))
    return [
        (
            order,
            Resources(**netlist["resources"]),
            {seed: Layout(**next(layouts)) for seed in seeds},
        )
        for order, netlist in zip(orders, netlists, strict=True)
    ]


def design_name(order: Order) -> str:
    return f"{order.board.name}, {order.preset}"


def summarise(order: Order, netlist: Resources, layouts: Mapping[int, Layout]) -> dict[str, Any]:
    """One row of the table: the clocks of all seeds, the largest area, the critical path."""
    clocks = [layout.fmax_mhz for layout in layouts.values()]
    slowest = min(layouts.values(), key=lambda layout: layout.fmax_mhz)
    lowest, lut = min(clocks), max(layout.lut for layout in layouts.values())
    name, goal = design_name(order), GOALS.get((order.board.name, order.preset))
    below = []
    if goal and lowest < goal.required_mhz:
        below.append(f"{name}: {lowest:.1f} of {goal.required_mhz:g} MHz")
    if goal and goal.required_lut and lut > goal.required_lut:
        below.append(f"{name}: {lut:,} LUT, {goal.required_lut:,} allowed")
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
        "goal": goal and asdict(goal),
        "below_required": below,
    }
