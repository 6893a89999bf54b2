"""An accelerator with its SDRAM behind one link, for simulation."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.accelerator import Accelerator
from residuum.hw.memory.sdram.bus import SdramBus
from residuum.sim.external.engine import sdram_chip, sdram_controller

# Members of an accelerator for its memory.
INNER = ("external", "hold")


class AcceleratorWithMemory(wiring.Component):
    """An accelerator with its SDRAM controller. The members are those of the accelerator, and the
    ``bus`` of the controller."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.memory = sdram_controller(accelerator.identity.config)
        members = {n: m for n, m in accelerator.signature.members.items() if n not in INNER}
        super().__init__(members | {"bus": Out(SdramBus())})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        m.submodules.memory = memory = self.memory
        wiring.connect(m, accelerator.external, memory.engine)
        wiring.connect(m, memory.bus, wiring.flipped(self.bus))
        m.d.comb += accelerator.hold.eq(memory.hold)
        _join(m, self, accelerator)
        return m


class SdramAccelerator(wiring.Component):
    """An accelerator with its SDRAM: controller and model of a chip. The members are those of the
    accelerator."""

    def __init__(self, accelerator: Accelerator):
        self.board = AcceleratorWithMemory(accelerator)
        self.chip = sdram_chip()
        members = self.board.signature.members
        super().__init__({name: members[name] for name in members if name != "bus"})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.chip = chip = self.chip
        m.submodules.board = board = self.board
        wiring.connect(m, board.bus, chip.bus)
        _join(m, self, board)
        return m


def _join(m: Module, outer: wiring.Component, inner: wiring.Component) -> None:
    """Connect the members of ``outer``, but for ``bus``, to those of ``inner``."""
    for name, member in outer.signature.members.items():
        if name == "bus":
            continue
        within, without = getattr(inner, name), getattr(outer, name)
        if member.is_signature:
            wiring.connect(m, wiring.flipped(without), within)
        elif member.flow == In:
            m.d.comb += within.eq(without)
        else:
            m.d.comb += without.eq(within)
