"""Loading a bitstream into a board with openFPGALoader."""

import subprocess
from pathlib import Path

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.layout import BITSTREAM
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, shown, told

TOOL = "openFPGALoader"


def bitstream_of(board: Board) -> Path:
    """The last bitstream that was built for a board; ResiduumError if there is none."""
    path = build_folder() / board.name / BITSTREAM
    with told(path, "read"):
        if not path.exists():
            raise ResiduumError(
                f"there is no {shown(path)}; run `make bitstream BOARD={board.name}` first"
            )
        # The file itself, so that a build that ends meanwhile cannot put another in its place.
        return path.resolve()


def load(board: Board, bitstream: Path, *, flash: bool = False, cable: str | None = None) -> None:
    """Hand a bitstream to openFPGALoader, which says itself how far it is.

    Raises
    ------
    ResiduumError
        If there is no openFPGALoader, or if it does not end well.
    """
    program = toolchain.native(TOOL)
    if program is None:
        raise ResiduumError(
            f"no {TOOL} found in PATH; install it (Debian, Ubuntu: apt-get install openfpgaloader; "
            "macOS: brew install openfpgaloader)"
        )
    options = [*(("--cable", cable) if cable else ()), *(("--write-flash",) if flash else ())]
    with told(Path(program), "run"):
        status = subprocess.run(
            [program, *board.loader, *options, str(bitstream)], check=False
        ).returncode
    if status != 0:
        raise ResiduumError(f"{TOOL} {toolchain.ending(status)}; is the board connected?")
