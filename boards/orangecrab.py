"""OrangeCrab r0.2 by Greg Davill, with either size of ECP5.

The boot loader owns the USB port, so the UART is on the header, on the pins of a Feather board's
UART. Hold the button while plugging the board in to start the boot loader.
"""

from dataclasses import replace

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform, OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from residuum.boards.board import Board, Led

_SMALL = Board(
    name="orangecrab-25f",
    make_platform=OrangeCrabR0_2_25FPlatform,
    preset="25f",
    target_mhz=150,
    baud=1_000_000,
    serial="header: 0, 1",
    leds=tuple(Led("rgb_led", 0, colour) for colour in "gbr"),
    lights="RGB: green, blue, red",
    resources=(
        UARTResource(
            0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")
        ),
    ),
    loader=("--board", "orangeCrab"),
    # The boot loader reads the flash at this rate.
    pack=("--compress", "--freq", "38.8"),
)

BOARDS = (
    _SMALL,
    replace(_SMALL, name="orangecrab-85f", make_platform=OrangeCrabR0_2_85FPlatform, preset="85f"),
)
