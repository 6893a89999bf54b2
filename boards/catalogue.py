"""All boards by name."""

from collections.abc import Mapping

from residuum.boards import (
    butterstick,
    colorlight_5a75b,
    ecpix5,
    icesugar_pro,
    orangecrab,
    ulx3s,
    versa_ecp5,
)
from residuum.boards.board import Board
from residuum.sw.errors import ResiduumError

_MODULES = (
    ulx3s,
    orangecrab,
    ecpix5,
    versa_ecp5,
    butterstick,
    icesugar_pro,
    colorlight_5a75b,
)
BOARDS: Mapping[str, Board] = {board.name: board for module in _MODULES for board in module.BOARDS}


def find(name: str) -> Board:
    """The board called ``name``; ``ResiduumError`` lists the known ones."""
    if name not in BOARDS:
        raise ResiduumError(f"there is no board {name!r}; the boards are {', '.join(BOARDS)}")
    return BOARDS[name]
