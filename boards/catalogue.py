"""All boards by name, and ``residuum boards``, which prints them."""

import argparse
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
from residuum.boards.board import MHZ, Board
from residuum.hw.isa.presets import preset
from residuum.sw.errors import ResiduumError

DESCRIPTION = """\
List the boards that `residuum bitstream` builds for: device, oscillator, engine, clock, UART and
LEDs. The LEDs show in this order: alive (blinking), busy, error, and the class in binary, lowest
bit first, where there are more."""
EXAMPLES = """\
examples:
  residuum boards                   all boards
  residuum bitstream ulx3s-12f      build for one of them
"""

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
    """The board called ``name``; ResiduumError naming the known ones if there is none."""
    if name not in BOARDS:
        raise ResiduumError(f"there is no board {name!r}; the boards are {', '.join(BOARDS)}")
    return BOARDS[name]


def configure(parser: argparse.ArgumentParser) -> None:
    """``residuum boards`` takes no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print two tables: the engine of every board, and where its wires and lights are."""
    from rich.console import Console
    from rich.table import Column, Table

    name = Column("board", no_wrap=True)
    engines = Table(name, "device", "oscillator", "preset", "lanes", "clock")
    wires = Table(name.copy(), "UART", "in", "out", "baud", "LEDs")
    for board in BOARDS.values():
        engines.add_row(
            board.name,
            f"{board.device}-{board.speed_grade}",
            f"{board.oscillator_hz / MHZ:g} MHz",
            board.preset,
            str(preset(board.preset).lanes),
            f"{board.target_mhz:g} MHz",
        )
        wires.add_row(board.name, board.serial, *board.uart_pins(), f"{board.baud:,}", board.lights)
    console = Console()
    console.print(engines)
    console.print(wires)
    return 0
