"""An engine with many faults, one of which a port selects."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.engine import Engine
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import EngineConfig

FAULT_BITS = 8
# Read wherever the RTL has a fault, driven by `FaultyEngine`.
_FAULT = Signal(FAULT_BITS, name="selected_fault")


def select(number: int, faulty: Any, good: Any) -> Any:
    """``faulty`` while the fault of this number is selected, else ``good``."""
    value = Mux(_FAULT == number, faulty, good)
    return good.shape()(value) if isinstance(good, data.View) else value


class FaultyEngine(wiring.Component):
    """An `Engine` of sources from `mutants_syntax.mutate_all`; ``fault`` is the number of the fault
    that it has, or 0."""

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "host": In(HostPort(config)),
                "busy": Out(1),
                "best": Out(config.class_bits),
                "fault": In(FAULT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = Engine(self.config)
        wiring.connect(m, engine.host, wiring.flipped(self.host))
        m.d.comb += [
            self.busy.eq(engine.busy),
            self.best.eq(engine.best),
            _FAULT.eq(self.fault),
        ]
        return m
