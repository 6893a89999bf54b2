"""``residuum boards``."""

import argparse

DESCRIPTION = """\
List the boards of `residuum bitstream`: device, oscillator, engine, clock, UART and LEDs. The LEDs
are, in this order: alive (blinking), busy, error, then the class in binary, lowest bit first."""
EXAMPLES = """\
examples:
  residuum boards                   all boards
  residuum bitstream ulx3s-12f      build for one board
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """``residuum boards`` takes no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print engine, UART pins and LEDs of every board."""
    from residuum.boards.board import MHZ
    from residuum.boards.catalogue import BOARDS
    from residuum.commands.tables import print_records
    from residuum.hw.isa.presets import preset

    records = []
    for board in BOARDS.values():
        receive, send = board.uart_pins()
        records.append(
            {
                "board": board.name,
                "device": f"{board.device}-{board.speed_grade}",
                "oscillator": f"{board.oscillator_hz / MHZ:g} MHz",
                "preset": board.preset,
                "lanes": str(preset(board.preset).lanes),
                "clock": f"{board.target_mhz:g} MHz",
                "UART": board.serial,
                "in": receive,
                "out": send,
                "baud": f"{board.baud:,}",
                "LEDs": board.lights,
            }
        )
    print_records(
        records,
        ("device", "oscillator", "preset", "lanes", "clock"),
        ("UART", "in", "out", "baud"),
        ("LEDs",),
        numbers=("oscillator", "lanes", "clock", "baud"),
    )
    return 0
