"""ECP5 Versa Development Board by Lattice."""

from amaranth_boards.versa_ecp5 import VersaECP5Platform

from residuum.boards.board import Board, Led

BOARDS = (
    Board(
        name="versa-ecp5",
        make_platform=VersaECP5Platform,
        preset="45f",
        target_mhz=150,
        baud=12_000_000,
        serial="USB (FT2232H)",
        leds=tuple(Led("led", number) for number in range(8)),
        lights="0, 1, 2; class on 3..7",
        loader=("--cable", "ft2232"),
    ),
)
