"""Colorlight 5A-75B V7.0, a receiver card for LED walls.

The UART uses the only free input and the only LED, both on J19. The other connectors are outputs at
5 V; the first three pins of J1 replace the LEDs.
"""

from amaranth.build import Attrs
from amaranth_boards.colorlight_5a75b_r7_0 import Colorlight_5A75B_R70Platform
from amaranth_boards.resources import LEDResources

from residuum.boards.board import Board, Led

BOARDS = (
    Board(
        name="colorlight-5a75b",
        make_platform=Colorlight_5A75B_R70Platform,
        preset="25f",
        target_mhz=140,
        baud=115_200,
        serial="J19: KEY+, DATA_LED-",
        leds=tuple(Led("status_led", number) for number in range(3)),
        lights="J1 pins 1, 2, 3",
        resources=(
            *LEDResources(
                "status_led", pins="1 2 3", conn=("j", 1), attrs=Attrs(IO_TYPE="LVCMOS33")
            ),
        ),
        loader=("--cable", "ft232"),
    ),
)
