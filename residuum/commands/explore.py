"""``residuum explore``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import (
    TRAINING,
    add_correction,
    add_data,
    add_pool,
    add_some_images,
    pool,
    whole_number,
)
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from residuum.boards.build.layout import Layout
    from residuum.sim.bench.explore import Candidate, Point

DESCRIPTION = """\
Find the best engines of a board for a network: every number of lanes, size of the tiles, events per
cycle and slots that the device holds, with every number of weight bits, code, and split of the
slots into tau and T. Prints the points that no other one beats in accuracy, time and LUTs, and
writes all points and a plot to build/explore/BOARD-MODEL.

Accuracy is that of the golden model on training images, so that the held-out images remain an
independent test. Cycles are those of the cycle model. LUTs and clock are estimates from engines
that were built; --build places and routes some of the best points, and compares."""
EXAMPLES = """\
examples:
  residuum explore mnist --board ulx3s-12f                  8 and 4 bits
  residuum explore mnist mnist-radix --board ulx3s-12f --build 5
                                                            both codes; five engines built for real
  residuum explore my.npz --data photos/ --board ulx3s --images 500
  residuum explore cifar10 --board ulx3s --correction carry

report.json has for each point the command that builds its bitstream.
"""

DEFAULT_IMAGES = 2000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="committed networks, or .npz files, of the same images",
    )
    parser.add_argument("--board", required=True, metavar="BOARD", help="see `residuum boards`")
    parser.add_argument(
        "--bits", type=int, help="weight bits of committed networks (default: all that there are)"
    )
    add_some_images(parser, DEFAULT_IMAGES)
    parser.add_argument(
        "--build",
        type=whole_number,
        default=0,
        metavar="N",
        help="place and route N of the best points, evenly from the fastest to the slowest "
        "(default %(default)s)",
    )
    add_correction(parser)
    add_pool(parser, what="pieces computed in parallel")
    add_data(parser, split=TRAINING)


def run(args: argparse.Namespace) -> int:
    from residuum.boards.catalogue import find
    from residuum.commands.console import data_access, say_written, write_report
    from residuum.commands.images import chosen_images
    from residuum.sim.bench import explore
    from residuum.sim.bench.explore_plot import draw
    from residuum.sw.files import build_folder
    from residuum.sw.network.corrections import MASK

    board, access = find(args.board), data_access(args)
    candidates = _candidates(args.models, args.bits)
    args.model = args.models[0]
    data = chosen_images(args, candidates[0].network, default=DEFAULT_IMAGES, access=access)
    labels = data.need_labels("an exploration")
    reporter, workers = access.reporter, pool(args)
    runs = explore.runs_of(
        candidates,
        data.images,
        labels,
        correction=args.correction or MASK,
        pool=workers,
        reporter=reporter,
    )
    points = explore.points_of(board, runs, data.images, pool=workers, reporter=reporter)
    best = explore.best_of(points)
    _show(board.name, points, best, len(labels))
    names = [candidate.name for candidate in candidates]
    folder = build_folder() / "explore" / "-".join((board.name, *names))
    report: dict[str, Any] = {
        "board": board.name,
        "images": len(labels),
        "points": [explore.record(board, point) for point in points],
        "best": [points.index(point) for point in best],
    }
    if args.build:
        chosen = explore.spread(best, args.build)
        tools = pool(args, in_threads=True)
        layouts = explore.build(board, chosen, pool=tools, reporter=reporter)
        report["built"] = [
            {"point": points.index(point), **asdict(layout)}
            for point, layout in zip(chosen, layouts, strict=True)
        ]
        _show_built(chosen, layouts)
    title = f"{', '.join(names)} on {board.name}: {len(points)} engines and runs"
    draw(points, best, folder / "explore.png", title=title)
    write_report(folder / "report.json", report)
    say_written(folder / "explore.png")
    return 0


def _candidates(models: Sequence[str], bits: int | None) -> list[Candidate]:
    from residuum.sim.bench.explore import Candidate
    from residuum.sw.network.library import is_path, load_network, zoo_names

    found = []
    for model in dict.fromkeys(models):
        widths = [bits] if bits or is_path(model) else zoo_names().get(model, [None])
        found += [Candidate(model, load_network(model, width)) for width in widths]
    shapes = {(each.network.input_shape, each.network.classes) for each in found}
    if len(shapes) > 1:
        names = ", ".join(each.name for each in found)
        raise ResiduumError(f"{names} read different images; explore one after the other")
    return found


def _show(board: str, points: Sequence[Point], best: Sequence[Point], images: int) -> None:
    from residuum.commands.tables import print_records
    from residuum.sim.bench.explore import described

    numbers = ("accuracy", "us", "cycles", "MHz", "LUT", "FF", "EBR")
    print_records(
        [
            {
                "network": point.run.name,
                "run": str(point.run),
                "engine": described(point.config),
                "accuracy": f"{point.run.accuracy:.2f} %",
                "us": f"{point.microseconds:,.1f}",
                "cycles": f"{point.cycles:,.0f}",
                "MHz": f"{point.estimate.fmax_mhz:.0f}",
                "LUT": f"{point.estimate.lut:,.0f}",
                "FF": f"{point.estimate.ff:,.0f}",
                "EBR": str(point.estimate.ebr),
            }
            for point in best
        ],
        title=f"{board}: {len(best)} of {len(points)} points, which no other one beats; MHz, LUT "
        f"and FF estimated, accuracy on {images:,} images",
        numbers=numbers,
    )


def _show_built(points: Sequence[Point], layouts: Sequence[Layout]) -> None:
    from residuum.commands.tables import print_records
    from residuum.sim.bench.explore import described

    records = []
    for point, layout in zip(points, layouts, strict=True):
        guess = point.estimate
        records.append(
            {
                "engine": described(point.config),
                "LUT": f"{layout.lut:,}",
                "of LUT": f"{guess.lut:,.0f} ({guess.lut / layout.lut - 1:+.1%})",
                "MHz": f"{layout.fmax_mhz:.1f}",
                "of MHz": f"{guess.fmax_mhz:.1f} ({guess.fmax_mhz / layout.fmax_mhz - 1:+.1%})",
                "EBR": f"{layout.ebr} ({guess.ebr} estimated)",
                "us": f"{point.cycles / layout.fmax_mhz:,.1f}",
            }
        )
    print_records(
        records,
        title="placed and routed, and how far the estimates are off",
        numbers=("LUT", "of LUT", "MHz", "of MHz", "us"),
    )
