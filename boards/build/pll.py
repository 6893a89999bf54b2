"""The ECP5's PLL: a solver for the dividers, and the primitive.

Limits: ECP5 and ECP5-5G Family Data Sheet (FPGA-DS-02012), table "sysCLOCK PLL Timing"; dividers:
sysCLOCK PLL/DLL Design and Usage Guide (FPGA-TN-02200). nextpnr does not check these limits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from amaranth.hdl import Elaboratable, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.sw.errors import ResiduumError

MHZ = 1_000_000
INPUT_HZ = (8 * MHZ, 400 * MHZ)
PHASE_DETECTOR_HZ = (10 * MHZ, 400 * MHZ)
VCO_HZ = (400 * MHZ, 800 * MHZ)
OUTPUT_HZ = (3_125_000, 400 * MHZ)
DIVIDERS = range(1, 129)
# The output whose clock has another phase.
SHIFTED = "CLKOS2"


class Phase(NamedTuple):
    """The phase of an output: whole cycles of the VCO, and eighths."""

    cycles: int
    eighths: int


class PllError(ResiduumError):
    """A clock that the PLL cannot make."""


@dataclass(frozen=True, kw_only=True)
class PllDividers:
    """Dividers of a PLL with feedback from CLKOP::

        f_pfd = f_in / input           f_vco = f_pfd * feedback * primary
        f_CLKOP = f_vco / primary      f_out = f_vco / output

    The output is CLKOP if ``output == primary``, else CLKOS.
    """

    input_hz: int
    input: int
    feedback: int
    primary: int
    output: int

    @property
    def phase_detector_hz(self) -> Fraction:
        return Fraction(self.input_hz, self.input)

    @property
    def vco_hz(self) -> Fraction:
        return self.phase_detector_hz * self.feedback * self.primary

    @property
    def output_hz(self) -> Fraction:
        return self.vco_hz / self.output


def solve(input_hz: int, target_hz: int) -> PllDividers:
    """The dividers, within all limits, whose output is nearest to ``target_hz``.

    Among equal outputs: prefer CLKOP as the output, then the VCO nearest to the middle of its range
    (far from both limits), then the fastest phase detector (least jitter).

    Raises
    ------
    PllError
        If a frequency is outside its limits, or there are no dividers for the oscillator.
    """
    _check("oscillator", input_hz, INPUT_HZ)
    _check("wanted clock", target_hz, OUTPUT_HZ)
    middle = sum(VCO_HZ) // 2

    def merit(found: PllDividers) -> tuple[Fraction, bool, Fraction, int]:
        return (
            abs(found.output_hz - target_hz),
            found.output != found.primary,
            abs(found.vco_hz - middle),
            found.input,
        )

    best = min(_candidates(input_hz, target_hz), key=merit, default=None)
    if best is None:
        raise PllError(
            f"the PLL cannot make {target_hz / MHZ:g} MHz from {input_hz / MHZ:g} MHz; "
            "ask for another frequency"
        )
    return best


def _check(what: str, value: int, limits: tuple[int, int]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise PllError(
            f"the {what} must be in {low / MHZ:g}..{high / MHZ:g} MHz for the PLL, "
            f"not {value / MHZ:g} MHz"
        )


def _candidates(input_hz: int, target_hz: int) -> Iterator[PllDividers]:
    """All dividers within the limits; of the output dividers, the two nearest to the target."""
    for input_divider in _within(input_hz, PHASE_DETECTOR_HZ):
        detector = Fraction(input_hz, input_divider)
        for feedback in _multiples(detector, OUTPUT_HZ):
            for primary in _multiples(detector * feedback, VCO_HZ):
                vco = detector * feedback * primary
                nearest = {floor(vco / target_hz), ceil(vco / target_hz)}
                for output in nearest & set(_within(vco, OUTPUT_HZ)):
                    yield PllDividers(
                        input_hz=input_hz,
                        input=input_divider,
                        feedback=feedback,
                        primary=primary,
                        output=output,
                    )


def _within(frequency: Fraction | int, limits: tuple[int, int]) -> range:
    """The dividers that bring a frequency within the limits."""
    low, high = ceil(Fraction(frequency) / limits[1]), floor(Fraction(frequency) / limits[0])
    return range(max(low, DIVIDERS.start), min(high + 1, DIVIDERS.stop))


def _multiples(frequency: Fraction, limits: tuple[int, int]) -> range:
    """The feedback dividers that bring a multiplied frequency within the limits."""
    low, high = ceil(limits[0] / frequency), floor(limits[1] / frequency)
    return range(max(low, DIVIDERS.start), min(high + 1, DIVIDERS.stop))


def phase_steps(dividers: PllDividers, degrees: float) -> int:
    """The nearest phase of an output in eighths of a VCO cycle, from 0 up to a cycle of it.

    With 142 MHz from a VCO at 568 MHz the steps are 11.25 degrees wide.
    """
    steps = 8 * dividers.output
    return round(Fraction(degrees) / 360 * steps) % steps


def shifted_phase(dividers: PllDividers, degrees: float) -> Phase:
    """The phase of `SHIFTED` whose clock is so many degrees later than the output."""
    # The phase of the output is that of its own divider, see `Pll`.
    first = 8 * (dividers.primary // 2) if dividers.output == dividers.primary else 0
    return Phase(*divmod(first + phase_steps(dividers, degrees), 8))


def with_phase(layout: str, phase: Phase) -> str:
    """A layout in nextpnr's text form with another phase of `SHIFTED`, on which nothing else in it
    depends.

    Raises
    ------
    ValueError
        If the layout does not have exactly one such clock.
    """
    for name, value, bits in (("CPHASE", phase.cycles, 7), ("FPHASE", phase.eighths, 3)):
        pattern = rf"^word: {SHIFTED}_{name} [01]{{{bits}}}$"
        word = f"word: {SHIFTED}_{name} {value:0{bits}b}"
        layout, count = re.subn(pattern, word, layout, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"it has {count} settings {SHIFTED}_{name}")
    return layout


class Pll(wiring.Component):
    """EHXPLLL with one output, and the same clock with another phase.

    Parameters
    ----------
    dividers : PllDividers
    shift : float or None
        Degrees by which ``clock_shifted`` is later than ``clock_out``; None: no such clock.

    Members
    -------
    clock_in : In(1)
        The oscillator. Its frequency must be constrained; nextpnr derives the output frequency.
    clock_out : Out(1)
        ``dividers.output_hz``.
    clock_shifted : Out(1)
    lock : Out(1)
        High when the output frequency is stable. Asynchronous.
    """

    def __init__(self, dividers: PllDividers, *, shift: float | None = None):
        self.dividers = dividers
        self.shift = shift
        outputs = ("clock_out", "clock_shifted", "lock")
        super().__init__({"clock_in": In(1)} | {name: Out(1) for name in outputs})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        d = self.dividers
        feedback = Signal()
        secondary: dict[str, object] = {}
        if d.output == d.primary:
            m.d.comb += self.clock_out.eq(feedback)
        else:
            secondary = {
                "p_CLKOS_ENABLE": "ENABLED",
                "p_CLKOS_DIV": d.output,
                "p_CLKOS_CPHASE": 0,
                "p_CLKOS_FPHASE": 0,
                "o_CLKOS": self.clock_out,
            }
        if self.shift is not None:
            phase = shifted_phase(d, self.shift)
            secondary |= {
                f"p_{SHIFTED}_ENABLE": "ENABLED",
                f"p_{SHIFTED}_DIV": d.output,
                f"p_{SHIFTED}_CPHASE": phase.cycles,
                f"p_{SHIFTED}_FPHASE": phase.eighths,
                f"o_{SHIFTED}": self.clock_shifted,
            }
        m.submodules.ehxplll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{d.input_hz / MHZ:.6f}",
            # Loop filter: the values of ecppll, valid for the whole range.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=d.input,
            p_CLKFB_DIV=d.feedback,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=d.primary,
            p_CLKOP_CPHASE=d.primary // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            **secondary,
            i_CLKI=self.clock_in,
            i_CLKFB=feedback,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=feedback,
            o_LOCK=self.lock,
        )
        return m
