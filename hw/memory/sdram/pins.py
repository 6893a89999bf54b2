"""The pins of an SDRAM: a register in every one, and the chip's clock."""

from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from residuum.hw.memory.sdram.bus import SdramBus
from residuum.hw.memory.sdram.parts import Timing

# A register on the way out, one on the way in.
REGISTERS = 2


class ChipClock(Elaboratable):
    """The clock of the chip, from the same kind of output register as its other pins.

    So its edge is where the domain's edge is for them: ``shifted`` is 180 degrees later, in the
    middle of the time in which commands and data stand on the pins. Other phases need a ``domain``
    with the frequency of ``sync`` and another phase.

    Parameters
    ----------
    port
        ``clk`` of ``platform.request("sdram", dir="-")``.
    shifted : bool
        The clock rises in the middle of a cycle of its domain.
    """

    def __init__(self, port: Any, *, domain: str = "sync", shifted: bool = True):
        self.port = port
        self.domain = domain
        self.shifted = shifted

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.buffer = buffer = io.DDRBuffer("o", self.port, o_domain=self.domain)
        m.d.comb += [buffer.o[0].eq(not self.shifted), buffer.o[1].eq(self.shifted)]
        return m


class Pins(wiring.Component):
    """Between the bus of the controller and the ports of a board.

    Parameters
    ----------
    ports
        What ``platform.request("sdram", dir="-")`` returns: ``ras``, ``cas``, ``we``, ``ba``,
        ``a``, ``dq``, and, where the board has them, ``clk_en``, ``cs`` and ``dqm``.

    Members
    -------
    bus : In(SdramBus)
    """

    def __init__(self, ports: Any):
        self.ports = ports
        super().__init__({"bus": In(SdramBus())})

    @staticmethod
    def round_trip(timing: Timing, *, late: int = 0) -> int:
        """``round_trip`` of the controller. ``late``: cycles by which the words come later than
        with a chip that runs at the edges of ``sync``: its phase and the delays of the pins."""
        return timing.cas_latency + REGISTERS + late

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        bus, ports = self.bus, self.ports
        command: Any = bus.command
        outputs = {
            "ras": command[0],
            "cas": command[1],
            "we": command[2],
            "ba": bus.bank,
            "a": bus.address,
            "cs": 1,
            "clk_en": 1,
            "dqm": bus.mask.replicate(2),
        }
        for name, value in outputs.items():
            # Boards without these pins tie them to the level that they have here.
            if name in ("cs", "clk_en", "dqm") and not hasattr(ports, name):
                continue
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(ports, name))
            m.d.comb += buffer.o.eq(value)
        m.submodules.dq = data = io.FFBuffer("io", ports.dq)
        m.d.comb += [data.o.eq(bus.data_out), data.oe.eq(bus.drive), bus.data_in.eq(data.i)]
        return m
