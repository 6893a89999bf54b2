"""ButterStick r1.0 by Greg Davill.

The UART is on two contacts of the microSD socket, which has a fixed 3.3 V; a microSD breakout board
makes them accessible. The voltage of the SYZYGY ports would depend on the gateware.
"""

from amaranth.build import Attrs, Pins, Resource
from amaranth_boards.butterstick import ButterStickPlatform
from amaranth_boards.resources import LEDResources, UARTResource

from residuum.boards.board import Board, Led

_LVCMOS33 = Attrs(IO_TYPE="LVCMOS33")

BOARDS = (
    Board(
        name="butterstick",
        make_platform=ButterStickPlatform,
        preset="85f",
        target_mhz=150,
        baud=1_000_000,
        serial="microSD: CMD, CLK",
        leds=tuple(Led("status_led", number) for number in range(7)),
        lights="0, 1, 2; class on 3..6",
        resources=(
            UARTResource(0, rx="A13", tx="B13", attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
            *LEDResources("status_led", pins="C13 D12 U2 T3 D13 E13 C16", attrs=_LVCMOS33),
            # One supply per colour for all seven LEDs.
            Resource("green", 0, Pins("U1", dir="o"), _LVCMOS33),
        ),
        steady=("green",),
        loader=("--dfu", "--vid", "0x1209", "--pid", "0x5af1", "--altsetting", "0"),
    ),
)
