"""The PLL solver against its limits, an exhaustive search, and ecppll."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from amaranth.back import rtlil
from hypothesis import assume, given
from hypothesis import strategies as st

from residuum.boards.build.pll import Pll, PllDividers, PllError, phase_steps, solve

MHZ = 1_000_000
OSCILLATORS = [25 * MHZ, 30 * MHZ, 48 * MHZ, 100 * MHZ]


def test_the_documented_example_is_found():
    """Computed by hand after FPGA-TN-02200: 25 MHz * 6 = 150 MHz, VCO 150 MHz * 4 = 600 MHz."""
    found = solve(25 * MHZ, 150 * MHZ)
    assert (found.input, found.feedback, found.primary, found.output) == (1, 6, 4, 4)


@given(
    input_hz=st.integers(8 * MHZ, 400 * MHZ),
    target_hz=st.integers(3_125_000, 400 * MHZ),
)
def test_every_answer_keeps_the_limits_of_the_data_sheet(input_hz, target_hz):
    try:
        found = solve(input_hz, target_hz)
    except PllError:
        assume(False)
    dividers = (found.input, found.feedback, found.primary, found.output)
    detector = Fraction(input_hz, found.input)
    vco = detector * found.feedback * found.primary
    assert all(1 <= divider <= 128 for divider in dividers)
    assert 10 * MHZ <= detector <= 400 * MHZ
    assert 400 * MHZ <= vco <= 800 * MHZ
    assert 3_125_000 <= vco / found.primary <= 400 * MHZ
    assert found.output_hz == vco / found.output
    assert abs(found.output_hz - target_hz) <= target_hz / 50


@pytest.mark.parametrize("input_hz", OSCILLATORS)
@pytest.mark.parametrize("target_hz", [20 * MHZ, 113 * MHZ, 187 * MHZ, 190 * MHZ, 211_500_000])
def test_no_other_dividers_come_nearer(input_hz, target_hz):
    """The VCO depends only on the product of feedback and primary divider: two loops suffice."""
    reachable = {
        Fraction(input_hz, divider) * multiple / output
        for divider in range(1, 129)
        if input_hz >= divider * 10 * MHZ
        for multiple in range(1, 81)
        if 400 * MHZ <= Fraction(input_hz, divider) * multiple <= 800 * MHZ
        for output in range(1, 129)
    }
    nearest = min(abs(frequency - target_hz) for frequency in reachable)
    assert abs(solve(input_hz, target_hz).output_hz - target_hz) == nearest


@pytest.mark.parametrize("input_hz", OSCILLATORS)
def test_every_clock_of_a_board_is_within_two_percent(input_hz):
    for target in range(4, 401, 6):
        assert abs(solve(input_hz, target * MHZ).output_hz / MHZ - target) <= target / 50


@pytest.mark.parametrize(
    ("input_mhz", "target_mhz"), [(25, 150), (25, 200), (48, 168), (48, 144), (30, 180), (100, 160)]
)
def test_ecppll_finds_nothing_nearer(input_mhz, target_mhz, tmp_path: Path):
    """Frequencies at which ecppll, whose lowest comparison frequency is 3.125 MHz, respects the
    limit of the data sheet."""
    program = Path(sys.executable).parent / "yowasp-ecppll"
    said = subprocess.run(
        [program, "-i", str(input_mhz), "-o", str(target_mhz), "-f", "pll.v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    values = dict(re.findall(r"^(.*): ([\d.]+)", said.stdout + said.stderr, re.M))
    assert input_mhz / int(values["Refclk divisor"]) >= 10
    found = solve(input_mhz * MHZ, target_mhz * MHZ)
    theirs = float(values["clkout0 frequency"].split()[0])
    assert float(found.output_hz) / MHZ == pytest.approx(theirs, abs=1e-3)
    assert float(found.vco_hz) / MHZ == pytest.approx(float(values["VCO frequency"]))


@pytest.mark.parametrize(
    ("input_hz", "target_hz", "message"),
    [
        (7 * MHZ, 100 * MHZ, "the oscillator must be in 8..400 MHz for the PLL, not 7 MHz"),
        (401 * MHZ, 100 * MHZ, "the oscillator must be in 8..400 MHz for the PLL, not 401 MHz"),
        (25 * MHZ, 3 * MHZ, "the wanted clock must be in 3.125..400 MHz for the PLL, not 3 MHz"),
        (25 * MHZ, 500 * MHZ, "the wanted clock must be in 3.125..400 MHz for the PLL, not 500"),
        # For any dividers, the phase detector would be below its limit.
        (9 * MHZ, 100 * MHZ, "the PLL cannot make 100 MHz from 9 MHz; ask for another"),
        (12 * MHZ, 3_125_000, "the PLL cannot make 3.125 MHz from 12 MHz; ask for another"),
    ],
)
def test_impossible_clocks_are_one_sentence(input_hz, target_hz, message):
    with pytest.raises(PllError, match=message):
        solve(input_hz, target_hz)


@pytest.mark.parametrize(("target_hz", "output"), [(150 * MHZ, "CLKOP"), (190 * MHZ, "CLKOS")])
def test_the_primitive_gets_the_dividers(target_hz, output):
    """The RTLIL has the divider of the output, and the feedback from CLKOP."""
    found = solve(25 * MHZ, target_hz)
    text = rtlil.convert(Pll(found), platform=None)
    cell = text[text.index("\\EHXPLLL") :]
    values = dict(re.findall(r"parameter \\(\w+) (\d+)", cell))
    assert (int(values["CLKI_DIV"]), int(values["CLKFB_DIV"])) == (found.input, found.feedback)
    assert int(values["CLKOP_DIV"]) == found.primary
    assert int(values[f"{output}_DIV"]) == found.output
    wires = dict(re.findall(r"connect \\(\w+) (\S+)", cell))
    assert wires["CLKFB"] == wires["CLKOP"]
    assert ("CLKOS" in wires) == (output == "CLKOS")


@pytest.mark.parametrize(
    ("degrees", "steps"), [(0, 0), (180, 16), (90, 8), (100, 9), (270, 24), (359, 0), (360, 0)]
)
def test_phases_are_steps_of_an_eighth_of_a_vco_cycle(degrees, steps):
    found = PllDividers(input_hz=25 * MHZ, input=1, feedback=6, primary=4, output=4)
    assert phase_steps(found, degrees) == steps


@pytest.mark.parametrize(("target_hz", "first"), [(150 * MHZ, 2), (190 * MHZ, 0)])
def test_a_shifted_clock_counts_from_the_phase_of_the_clock(target_hz, first):
    found = solve(25 * MHZ, target_hz)
    text = rtlil.convert(Pll(found, shift=90), platform=None)
    values = dict(re.findall(r"parameter \\(\w+) (\d+)", text[text.index("\\EHXPLLL") :]))
    phase = 8 * int(values["CLKOS2_CPHASE"]) + int(values["CLKOS2_FPHASE"])
    assert int(values["CLKOS2_DIV"]) == found.output
    assert phase == 8 * first + phase_steps(found, 90)
