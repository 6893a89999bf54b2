"""Loading a bitstream into a board with openFPGALoader."""

import subprocess
from pathlib import Path

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.published import BITSTREAM
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, shown, told

TOOL = "openFPGALoader"


def bitstream_of(board: Board) -> Path:
    """The latest bitstream of a board; ResiduumError if there is none."""
    path = build_folder() / board.name / BITSTREAM
    with told(path, "read"):
        if not path.exists():
            raise ResiduumError(
                f"there is no {shown(path)}; run `make bitstream BOARD={board.name}` first"
            )
        # Resolve the links: a build that ends meanwhile must not replace the file.
        return path.resolve()


def load(board: Board, bitstream: Path, *, flash: bool = False, cable: str | None = None) -> None:
    """Load a bitstream with openFPGALoader, which prints its own progress.

    Raises
    ------
    ResiduumError
        If openFPGALoader is missing or fails.
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
