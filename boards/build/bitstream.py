"""``residuum bitstream``: the accelerator for a board, with a network in its memories."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from residuum.boards.board import MHZ, Board
from residuum.boards.build.layout import BITSTREAM, REPORT, Design, Order, build, elaborate
from residuum.boards.build.pll import solve
from residuum.boards.catalogue import find
from residuum.commands.arguments import positive_number
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.presets import CLOCKS, PRESETS, preset
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder
from residuum.sw.network.library import DEFAULT_BITS, is_path

DESCRIPTION = """\
Build the bitstream of a board with yosys, nextpnr-ecp5 and ecppack, natively where they are in
PATH. Writes build/BOARD/residuum.bit and build/BOARD/report.json; a build that misses its clock
ends with status 1 and leaves no bitstream."""
EXAMPLES = """\
examples:
  residuum bitstream ulx3s-12f                  with the digits network, ready at power-up
  residuum bitstream ulx3s --model mnist        with another network
  residuum bitstream ulx3s --model ''           with empty memories
  residuum bitstream ulx3s --freq 170           at another clock than the board's usual one
  residuum bitstream orangecrab-85f --preset 45f

`make bitstream BOARD=ulx3s-12f MODEL=digits PRESET=12f FREQ=150` is the same from a fresh clone.
"""

NAME_CHARACTERS = 16


def add_design(parser: argparse.ArgumentParser) -> None:
    """The arguments of `prepare`."""
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
        type=float,
        metavar="MHZ",
        help="clock to reach (default: the board's, or the preset's if lower)",
    )


def prepare(
    board: Board,
    *,
    model: str = "",
    bits: int | None = None,
    preset_name: str | None = None,
    freq: float | None = None,
    seed: int = 1,
    tries: int = 1,
) -> tuple[Order, Design]:
    """The order and the design for a board.

    Raises
    ------
    ResiduumError
        If a name is not known, the PLL cannot make the clock, or the network does not fit.
    """
    preset_name = preset_name or board.preset
    config = preset(preset_name)
    if bits is None and not is_path(model):
        bits = min(DEFAULT_BITS, config.weight_bits)
    usual_mhz = min(board.target_mhz, CLOCKS.get(preset_name, board.target_mhz))
    target_mhz = usual_mhz if freq is None else freq
    dividers = solve(board.oscillator_hz, round(target_mhz * MHZ))
    program = contents(model, bits, config) if model else None
    name = program_name(model, bits) if model else ""

    from residuum.boards.top import BoardTop

    try:
        design = elaborate(
            board,
            lambda digest: BoardTop(
                board, config, dividers, digest=digest, program=program, name=name
            ),
        )
    except ValueError as error:
        raise ResiduumError(f"{board.name} cannot be built like this: {error}") from None
    order = Order(
        board=board,
        preset=preset_name,
        lanes=config.lanes,
        steps=config.steps,
        target_mhz=float(dividers.output_hz) / MHZ,
        seed=seed,
        tries=tries,
    )
    return order, design


def contents(model: str, bits: int | None, config: EngineConfig) -> Mapping[int, int]:
    """Host words by host address of a network compiled for an engine, for any tau and T of it.

    Raises
    ------
    ResiduumError
        If there is no such network, or if it does not fit.
    """
    from residuum.sw.compiler.program import compile_network
    from residuum.sw.network.library import load_network

    # The longest inference has the largest sums, and nothing in the memories depends on the steps.
    program = compile_network(load_network(model, bits), config, tau=0, T=config.steps)
    return dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))


def program_name(model: str, bits: int | None) -> str:
    """What a host is told about the network in the bitstream."""
    name = Path(model).stem if is_path(model) else f"{model}-{bits or DEFAULT_BITS}bit"
    return name.encode("ascii", "replace").decode()[:NAME_CHARACTERS]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="see `residuum boards`")
    add_design(parser)
    parser.add_argument(
        "--seed", type=int, default=1, help="of place and route (default %(default)s)"
    )
    parser.add_argument(
        "--tries",
        type=positive_number,
        default=3,
        metavar="N",
        help="seeds that are tried, from --seed on, until the clock is met (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Build, and print what came out."""
    from rich.console import Console

    from residuum.boards.build.progress import Display

    console = Console(stderr=True)
    board = find(args.board)
    with console.status(f"{board.name}: elaborating"):
        order, design = prepare(
            board,
            model=args.model,
            bits=args.bits,
            preset_name=args.preset,
            freq=args.freq,
            seed=args.seed,
            tries=args.tries,
        )
    folder = build_folder() / board.name
    with Display(console) as display:
        report = build(order, design, folder, display)
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
    print(f"written: build/{board.name}/{BITSTREAM}, build/{board.name}/{REPORT}")
    return 0
