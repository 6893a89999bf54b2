"""``residuum program``: load a bitstream into a board."""

import argparse
import os
import shutil
import subprocess

from residuum.boards.build import toolchain
from residuum.boards.build.layout import BITSTREAM
from residuum.boards.catalogue import find
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder

DESCRIPTION = """\
Load build/BOARD/residuum.bit into a board with openFPGALoader, until the power goes off; with
--flash into its flash memory, so that it is there after power-up."""
EXAMPLES = """\
examples:
  residuum program ulx3s-12f           into the device
  residuum program ulx3s --flash       into the flash memory

`make program BOARD=ulx3s-12f` is the same from a fresh clone.
"""

TOOL = "openFPGALoader"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="see `residuum boards`")
    parser.add_argument("--flash", action="store_true", help="into the flash memory")
    parser.add_argument(
        "--cable", metavar="NAME", help="another cable than the usual one, as openFPGALoader has it"
    )


def run(args: argparse.Namespace) -> int:
    """Hand the bitstream to openFPGALoader; its own messages and status are the answer."""
    board = find(args.board)
    bitstream = build_folder() / board.name / BITSTREAM
    if not bitstream.exists():
        raise ResiduumError(
            f"there is no build/{board.name}/{BITSTREAM}; "
            f"run `make bitstream BOARD={board.name}` first"
        )
    program = shutil.which(os.environ.get(toolchain.variable(TOOL), TOOL))
    if program is None:
        raise ResiduumError(
            f"no {TOOL} found in PATH; install it (Debian, Ubuntu: apt-get install openfpgaloader; "
            "macOS: brew install openfpgaloader)"
        )
    command = [program, *board.loader]
    if args.cable:
        command += ["--cable", args.cable]
    if args.flash:
        command.append("--write-flash")
    status = subprocess.run([*command, str(bitstream)], check=False).returncode
    if status != 0:
        raise ResiduumError(f"{TOOL} ended with status {status}; is the board connected?")
    return 0
