"""``residuum program``."""

import argparse

DESCRIPTION = """\
Load build/BOARD/residuum.bit into a board with openFPGALoader. The FPGA keeps it until power-off;
with --flash, it is written to the flash memory and loaded at every power-up. Prints the network and
the engine of the bitstream first."""
EXAMPLES = """\
examples:
  residuum program ulx3s-12f           into the FPGA
  residuum program ulx3s --flash       into the flash memory

From a fresh clone: `make program BOARD=ulx3s-12f`.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="see `residuum boards`")
    parser.add_argument("--flash", action="store_true", help="write to the flash memory")
    parser.add_argument(
        "--cable", metavar="NAME", help="openFPGALoader's name of a cable other than the default"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.boards.build.program import bitstream_of, load
    from residuum.boards.build.published import MISSED, described, read_report
    from residuum.boards.catalogue import find
    from residuum.sw.files import build_folder

    board = find(args.board)
    bitstream = bitstream_of(board)
    print(f"{board.name}: loading {described(read_report(bitstream))}", flush=True)
    if (build_folder() / board.name / MISSED).exists():
        print(
            f"note: a later build missed its clock ({MISSED}) and left this bitstream", flush=True
        )
    load(board, bitstream, flash=args.flash, cable=args.cable)
    return 0
