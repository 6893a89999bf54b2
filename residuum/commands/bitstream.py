"""``residuum bitstream``."""

import argparse
from typing import Any

from residuum.commands.arguments import (
    add_engine_sizes,
    engine_sizes,
    megahertz,
    positive_number,
    whole_number,
)

DESCRIPTION = """\
Build the bitstream of a board with yosys, nextpnr-ecp5 and ecppack; native programs in PATH are
preferred. Writes build/BOARD/residuum.bit and build/BOARD/report.json. A build that fails or misses
its clock ends with status 1 and leaves an earlier bitstream and its report unchanged.

The first build of a board places and routes it, which takes minutes. The layout is kept in the
user's cache and serves every network: later builds replace the memory contents, in seconds."""
EXAMPLES = """\
examples:
  residuum bitstream ulx3s-12f                  with the digits network, ready at power-up
  residuum bitstream ulx3s --model mnist        with another network
  residuum bitstream ulx3s --model ''           with empty memories
  residuum bitstream ulx3s --prepare            only make the layout, for networks to come
  residuum bitstream ulx3s --freq 170           with another clock than the board's default
  residuum bitstream orangecrab-85f --preset 45f
  residuum bitstream ulx3s --preset 85f-sdram --model '' --sdram w9825g6kh-6 --sdram-phase 135
  residuum bitstream ulx3s --model my.npz --weight-rows 4096 --feature-rows 1024

From a fresh clone: `make bitstream BOARD=ulx3s-12f MODEL=digits PRESET=12f FREQ=150`.
"""

# nextpnr stores a seed in a signed 32-bit integer.
LARGEST_SEED = 2**31 - 1
MOST_TRIES = 1000


def add_design(parser: argparse.ArgumentParser) -> None:
    """The arguments that choose a design; see `design_options`."""
    from residuum.boards.build.sdram import EARLIEST, LATEST, MIDDLE, PART_NAMES
    from residuum.hw.isa.presets import PRESETS

    parser.add_argument(
        "--model",
        default="digits",
        metavar="MODEL",
        help="network in the memories at power-up: a committed one, a .npz file, or '' for none "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--bits", type=int, help="weight bits of that network: 8 or 4 (default: the engine's)"
    )
    parser.add_argument(
        "--preset", metavar="PRESET", help=f"engine, one of {', '.join(PRESETS)} (default: board's)"
    )
    parser.add_argument(
        "--freq",
        type=megahertz,
        metavar="MHZ",
        help="clock to reach (default: the board's, or the preset's if lower)",
    )
    memory = parser.add_argument_group("SDRAM", "For presets whose name ends in -sdram.")
    memory.add_argument(
        "--sdram",
        metavar="PART",
        help=f"the part on the board, one of {', '.join(PART_NAMES)}: the slowest of each time, "
        "which every board can do (default), or one with its times and all of its words",
    )
    memory.add_argument(
        "--sdram-phase",
        type=float,
        metavar="DEG",
        help=f"degrees by which the chip's clock is later than its commands, {EARLIEST:g} to "
        f"{LATEST:g} (default {MIDDLE:g}); `residuum memtest` tells which work",
    )
    add_engine_sizes(parser)


def design_options(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_design`, as options of `residuum.boards.build.bitstream.prepare`."""
    from residuum.boards.build.sdram import Sdram

    given = {"name": args.sdram, "phase": args.sdram_phase}
    given = {name: value for name, value in given.items() if value is not None}
    return {
        "model": args.model,
        "bits": args.bits,
        "preset_name": args.preset,
        "sizes": engine_sizes(args),
        "freq": args.freq,
        "sdram": Sdram(**given) if given else None,
    }


def seed(text: str) -> int:
    """A seed of place and route for argparse; the next `MOST_TRIES` seeds are valid too."""
    return _at_most(whole_number(text), LARGEST_SEED - MOST_TRIES)


def tries(text: str) -> int:
    """A number of seeds for argparse."""
    return _at_most(positive_number(text), MOST_TRIES)


def _at_most(value: int, largest: int) -> int:
    if value > largest:
        raise argparse.ArgumentTypeError(f"{value} is too large, at most {largest} is possible")
    return value


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="see `residuum boards`")
    add_design(parser)
    parser.add_argument(
        "--seed", type=seed, default=1, help="seed of place and route (default %(default)s)"
    )
    parser.add_argument(
        "--tries",
        type=tries,
        default=3,
        metavar="N",
        help="try at most N seeds, from --seed on, until the clock is met (default %(default)s)",
    )
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="make and keep the layout, but no bitstream; needs no network",
    )


def run(args: argparse.Namespace) -> int:
    """Build, and print the clock, the area and the paths of the files."""
    from residuum.boards.build.bitstream import prepare
    from residuum.boards.build.flow import build, make_layout
    from residuum.boards.build.kept import kept_folder
    from residuum.boards.build.published import BITSTREAM, REPORT
    from residuum.boards.catalogue import find
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.sw.files import build_folder, shown

    board, reporter = find(args.board), ConsoleReporter()
    options = design_options(args) | ({"model": ""} if args.prepare else {})
    with reporter.task(f"{board.name}: elaboration"):
        order, design = prepare(board, **options, seed=args.seed, tries=args.tries)
    folder = build_folder() / board.name
    work = make_layout if args.prepare else build
    report = work(order, design, folder, reporter)
    offered = report["available"]
    shares = ", ".join(f"{report[key]:,} of {offered[key]:,} {key.upper()}" for key in offered)
    print(
        f"{board.name}: {report['fmax_mhz']:.1f} MHz, {report['target_mhz']:g} MHz asked for; "
        f"{shares}"
    )
    beyond = [key.upper() for key in offered if report[key] > offered[key]]
    if beyond:
        print(
            f"note: this takes more {' and '.join(beyond)} than the data sheet of the "
            f"{board.device} names"
        )
    if args.prepare:
        print(f"the layout is kept in {shown(kept_folder())}; a bitstream now takes seconds")
    else:
        say_written(folder / BITSTREAM, folder / REPORT)
    return 0
