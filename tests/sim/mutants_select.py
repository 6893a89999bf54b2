"""The choice among many faults of one engine, in its RTL."""

from typing import Any

from amaranth.hdl import Mux, Signal
from amaranth.lib import data

FAULT_BITS = 8
# Read wherever the RTL has a fault; `tests.sim.mutants_build` drives it.
SELECTED = Signal(FAULT_BITS, name="selected_fault")


def choose_fault(number: int, faulty: Any, good: Any) -> Any:
    """``faulty`` while the fault of this number is selected, else ``good``."""
    value = Mux(number == SELECTED, faulty, good)
    return good.shape()(value) if isinstance(good, data.View) else value
