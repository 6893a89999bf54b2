"""ECPIX-5 by LambdaConcept, with either size of ECP5."""

from dataclasses import replace

from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from residuum.boards.board import Board, Led

_SMALL = Board(
    name="ecpix5-45",
    make_platform=ECPIX545Platform,
    preset="45f",
    target_mhz=150,
    baud=12_000_000,
    serial="USB (FT2232H)",
    leds=(
        *(Led("rgb_led", 0, colour) for colour in "gbr"),
        *(Led("rgb_led", number, colour) for number in (1, 2) for colour in "gbr"),
    ),
    lights="LD0 green, blue, red; class on LD1, LD2",
    loader=("--board", "ecpix5"),
)

BOARDS = (
    _SMALL,
    replace(_SMALL, name="ecpix5-85", make_platform=ECPIX585Platform, preset="85f"),
)
