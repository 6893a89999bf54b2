"""A program that builds an engine of the sources in another folder::

    PYTHONPATH=FOLDER:ROOT python -m tests.sim.mutants_build FOLDER CONFIG

FOLDER has ``residuum/`` with an ``hw/`` of many faults, CONFIG is an `EngineConfig` as JSON. The
last line of the output is the folder of the simulation.
"""

import json
import sys
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum import hw
from residuum.hw.engine import Engine
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import EngineConfig
from residuum.sim.external.engine import STORAGE, ExternalEngine
from residuum.sim.verilator import build as verilator
from tests.sim.mutants_select import FAULT_BITS, SELECTED

# The longest pause of an external memory between two bursts.
PAUSES = 7


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
        engine: Any
        if self.config.external:
            engine = ExternalEngine(self.config, longest_pause=PAUSES)
        else:
            engine = Engine(self.config)
        m.submodules.engine = engine
        wiring.connect(m, engine.host, wiring.flipped(self.host))
        m.d.comb += [
            self.busy.eq(engine.busy),
            self.best.eq(engine.best),
            SELECTED.eq(self.fault),
        ]
        return m


def main(folder: Path, config: EngineConfig) -> None:
    if folder not in Path(hw.__file__).parents:
        raise RuntimeError(f"hw was imported from {hw.__file__}, not from {folder}")
    # Compile without optimisation: for these short runs, compiling takes longer than running.
    verilator._MAKE_FLAGS = tuple(  # type: ignore[assignment]
        "OPT_FAST=-O0" if flag.startswith("OPT_FAST") else flag for flag in verilator._MAKE_FLAGS
    )
    verilog = [STORAGE] if config.external else []
    engine = FaultyEngine(config)
    print(verilator.build(engine, name="mutants", bulk=True, verilog=verilog).folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), EngineConfig(**json.loads(sys.argv[2])))
