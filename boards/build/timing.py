"""The clock of the engine on boards, over several seeds of place and route."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from residuum.boards.board import Board
from residuum.boards.build.bitstream import prepare
from residuum.boards.build.layout import Build, Layout, Order
from residuum.boards.build.synth import Resources
from residuum.boards.build.toolchain import alone_in
from residuum.sw.files import build_folder, write_json
from residuum.sw.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Required clock and area of a board's build, and the aims; `None`: no limit on the area."""

    required_mhz: float
    aim_mhz: float
    required_lut: int | None = None
    aim_lut: int | None = None


GOALS = {
    "ulx3s-12f": Goal(required_mhz=150, aim_mhz=190, required_lut=12_000, aim_lut=10_000),
    "ulx3s": Goal(required_mhz=150, aim_mhz=180),
}


def measure(
    boards: Iterable[Board],
    *,
    seeds: Iterable[int],
    jobs: int,
    freq: float | None = None,
    reporter: Reporter = SILENT,
    **options: Any,
) -> list[dict[str, Any]]:
    """Place and route each board with each seed; writes and returns one row per board.

    Parameters
    ----------
    jobs
        Number of tools that run in parallel.
    freq
        Target clock in MHz; the default is the aim of the board.
    options
        Options of `residuum.boards.build.bitstream.prepare`.
    """
    folder = build_folder() / "timing"
    with alone_in(folder, reporter):
        orders, builds = [], []
        for board in dict.fromkeys(boards):
            aim = GOALS[board.name].aim_mhz if board.name in GOALS else None
            with reporter.task(f"{board.name}: elaboration"):
                order, design = prepare(board, freq=aim if freq is None else freq, **options)
            orders.append(order)
            builds.append(Build(board, design, folder / board.name, reporter))
        with ThreadPoolExecutor(jobs) as pool:
            try:
                netlists = list(pool.map(Build.synthesise, builds))
                layouts = [
                    {seed: pool.submit(build.place, seed, order.target_mhz) for seed in seeds}
                    for build, order in zip(builds, orders, strict=True)
                ]
                rows = [
                    summarise(
                        order, netlist, {seed: done.result() for seed, done in placed.items()}
                    )
                    for order, netlist, placed in zip(orders, netlists, layouts, strict=True)
                ]
            except BaseException:
                # Running tools finish; waiting ones do not start.
                pool.shutdown(cancel_futures=True)
                raise
        write_json(folder / "report.json", rows)
    return rows


def summarise(order: Order, netlist: Resources, layouts: Mapping[int, Layout]) -> dict[str, Any]:
    """One row of the table: the clocks of all seeds, the largest area, the critical path."""
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
        "goal": goal and asdict(goal),
        "below_required": below,
    }
