"""The SDRAM controller, the memory tester and all pins, placed and routed."""

import json
import re

import pytest

from residuum.boards.board import MHZ
from residuum.boards.build.layout import Build, convert
from residuum.boards.build.pll import solve
from residuum.boards.build.sdram import Sdram
from residuum.boards.build.top import BoardTop
from residuum.boards.catalogue import find
from residuum.hw.isa.config import EngineConfig
from tests.boards.sdram_top import SdramTop


@pytest.mark.parametrize("name", ["ulx3s-12f", "icesugar-pro"])
def test_every_pin_has_a_register(name):
    board = find(name)
    rtlil = convert(board, SdramTop(board, 142 * MHZ)).rtlil
    kinds = ("OFS1P3DX", "IFS1P3DX", "ODDRX1F")
    counts = [len(re.findall(rf"cell \\{kind} ", rtlil)) for kind in kinds]
    # Clock enable, chip select, command, bank, address, mask, data; an enable for each output.
    outputs = 1 + 1 + 3 + 2 + 13 + 2 + 16
    assert counts == [2 * outputs + 1, 16, 1]


SMALL = EngineConfig(
    lanes=4, tile_lanes=2, event_width=2, steps=2, weight_rows=16, feature_rows=8, external=24
)


def pll(sdram: Sdram) -> dict[str, int]:
    """Parameters of the PLL in the whole design of a board, with a small engine."""
    board = find("ulx3s-12f")
    config = sdram.engine(SMALL, board, "small", 125 * MHZ)
    top = BoardTop(board, config, DIVIDERS, digest=bytes(16), sdram=sdram)
    cell = convert(board, top).rtlil.partition("cell \\EHXPLLL ")[2].partition("connect")[0]
    return {name: int(value) for name, value in re.findall(r"parameter \\(\w+) (\d+)\n", cell)}


DIVIDERS = solve(25 * MHZ, 125 * MHZ)


def test_the_phase_of_the_chips_clock():
    """Degrees later than the commands, in eighths of a cycle of the VCO."""
    assert "CLKOS2_DIV" not in pll(Sdram())
    found = pll(Sdram(phase=90))
    assert found["CLKOS2_DIV"] == DIVIDERS.output
    first = 8 * (DIVIDERS.primary // 2) if DIVIDERS.output == DIVIDERS.primary else 0
    later = 8 * found["CLKOS2_CPHASE"] + found["CLKOS2_FPHASE"] - first
    assert later / (8 * DIVIDERS.output) == pytest.approx(1 / 4, abs=1 / (16 * DIVIDERS.output))


def test_a_part_with_more_words_has_longer_addresses():
    board = find("ulx3s-12f")
    bits = [
        Sdram(name).engine(SMALL, board, "small", 125 * MHZ).external
        for name in ("slowest", "as4c32m16sb-7")
    ]
    assert bits == [24, 25]


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_clock_of_the_slowest_parts_is_met(seed, tmp_path):
    board = find("ulx3s-12f")
    top = SdramTop(board, 142 * MHZ)
    build = Build(board, tmp_path)
    build.synthesise(convert(board, top))
    cells = json.loads((tmp_path / "top.netlist.json").read_text())["modules"]["top"]["cells"]
    clock = next(cell["connections"] for cell in cells.values() if cell["type"] == "ODDRX1F")
    # The chip's clock rises in the middle of a cycle.
    assert (clock["D0"], clock["D1"]) == (["0"], ["1"])
    layout = build.place(seed, top.clock_mhz)
    # All 39 pins, with the chip's clock, are registers of the pins themselves.
    assert (layout.met, layout.used["IOLOGIC"]) == (True, 39)
    print(f"{layout.fmax_mhz:.1f} MHz, {layout.lut} LUT, {layout.ff} FF, {layout.path}")
