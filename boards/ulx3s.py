"""ULX3S by Radiona: one board with four sizes of ECP5."""

from dataclasses import replace

from amaranth_boards.ulx3s import (
    ULX3S_12F_Platform,
    ULX3S_25F_Platform,
    ULX3S_45F_Platform,
    ULX3S_85F_Platform,
)

from residuum.boards.board import Board, Led

_SMALLEST = Board(
    name="ulx3s-12f",
    make_platform=ULX3S_12F_Platform,
    preset="12f",
    target_mhz=150,
    baud=3_000_000,
    serial="USB (FT231X)",
    leds=tuple(Led("led", number) for number in range(8)),
    lights="0, 1, 2; class on 3..7",
    loader=("--board", "ulx3s"),
)

BOARDS = (
    replace(_SMALLEST, name="ulx3s", make_platform=ULX3S_85F_Platform, preset="85f"),
    _SMALLEST,
    replace(
        _SMALLEST,
        name="ulx3s-25f",
        make_platform=ULX3S_25F_Platform,
        preset="25f",
        target_mhz=140,
    ),
    replace(
        _SMALLEST,
        name="ulx3s-45f",
        make_platform=ULX3S_45F_Platform,
        preset="45f",
        target_mhz=140,
    ),
    replace(_SMALLEST, name="ulx3s-85f", make_platform=ULX3S_85F_Platform, preset="85f"),
)
