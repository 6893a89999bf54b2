"""The SDRAM controller, the memory tester and all pins, placed and routed."""

import json
import re

import pytest

from residuum.boards.board import MHZ
from residuum.boards.build.layout import Build, convert
from residuum.boards.catalogue import find
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
