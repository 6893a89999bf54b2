"""``residuum program``."""

import argparse

DESCRIPTION = """\
Load build/BOARD/residuum.bit into a board with openFPGALoader, until the power goes off; with
--flash into its flash memory, so that it is there after power-up. Says first which network and
which engine the bitstream holds."""
EXAMPLES = """\
examples:
  residuum program ulx3s-12f           into the device
  residuum program ulx3s --flash       into the flash memory

`make program BOARD=ulx3s-12f` is the same from a fresh clone.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="see `residuum boards`")
    parser.add_argument("--flash", action="store_true", help="into the flash memory")
    parser.add_argument(
        "--cable", metavar="NAME", help="another cable than the usual one, as openFPGALoader has it"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.boards.build.layout import MISSED, described, read_report
    from residuum.boards.build.program import bitstream_of, load
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
