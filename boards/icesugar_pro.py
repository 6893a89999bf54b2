"""iCESugar-pro by MuseLab."""

from amaranth.build import Attrs
from amaranth_boards.icesugar_pro import ICESugarProPlatform
from amaranth_boards.resources import LEDResources

from residuum.boards.board import Board, Led

BOARDS = (
    Board(
        name="icesugar-pro",
        make_platform=ICESugarProPlatform,
        preset="25f",
        target_mhz=140,
        baud=115_200,
        serial="USB (iCELink)",
        leds=tuple(Led("status_led", number) for number in range(3)),
        lights="RGB: green, blue, red",
        # Redeclared: the platform's resource does not say that the LED is active low.
        resources=(
            *LEDResources(
                "status_led", pins="A11 A12 B11", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")
            ),
        ),
        loader=("--cable", "cmsisdap", "--vid", "0x1d50", "--pid", "0x602b"),
    ),
)
