"""Engine and host link: everything between two streams of bytes."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Elaboratable, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.engine import Engine
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.protocol import Identity
from residuum.hw.link.link import HostLink
from residuum.hw.memory.ring import ExternalPort


class Accelerator(wiring.Component):
    """A spiking-network accelerator behind a byte stream that speaks ``docs/protocol.md``.

    Parameters
    ----------
    config : EngineConfig
        All sizes.
    clock_hz, digest, name
        Reported to the host, see `Identity`.
    program : Mapping[int, int] or None
        Initial memory content: host words by host address.

    Members
    -------
    rx : In(stream of bytes), rx_damaged : In(1), tx : Out(stream of bytes)
        The wire. ``rx`` is always ready; ``rx_damaged`` is high where a byte was lost or wrong.
    reset : In(1)
        Resets everything, in addition to the reset of the clock domain. On a device, use a clock
        domain without reset: the engine then has a single reset net, driven by ``reset`` and the
        host's RESET.
    busy : Out(1)
        A request is being checked, executed or answered. When low, nothing changes until ``rx``
        brings another byte.
    error : Out(1)
        The last frame was dropped or refused.
    best : Out
        The class of the last run.
    external : Out(ExternalPort), hold : In(1)
        The external memory, if the engine has one; see `ExternalMemory`.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        clock_hz: int = 100_000_000,
        digest: bytes = b"",
        program: Mapping[int, int] | None = None,
        name: str = "",
    ):
        self.identity = Identity(config=config, clock_hz=clock_hz, digest=digest, name=name)
        self.program = program
        ports: dict[str, Any] = {
            "rx": In(stream.Signature(8)),
            "rx_damaged": In(1),
            "reset": In(1),
            "tx": Out(stream.Signature(8)),
            "busy": Out(1),
            "error": Out(1),
            "best": Out(config.class_bits),
        }
        if config.external:
            ports |= {"external": Out(ExternalPort(config)), "hold": In(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        link = HostLink(self.identity)
        m.submodules.link = ResetInserter(self.reset)(link)
        engine_reset = Signal(init=1, reset_less=True)
        m.d.sync += engine_reset.eq(self.reset | link.engine_reset)
        engine = Engine(self.identity.config, contents=self.program)
        m.submodules.engine = ResetInserter(engine_reset)(engine)
        wiring.connect(m, wiring.flipped(self.rx), link.rx)
        wiring.connect(m, link.tx, wiring.flipped(self.tx))
        wiring.connect(m, link.host, engine.host)
        m.d.comb += [
            link.rx_damaged.eq(self.rx_damaged),
            link.engine_busy.eq(engine.busy),
            self.busy.eq(link.busy),
            self.error.eq(link.error),
            self.best.eq(engine.best),
        ]
        if self.identity.config.external:
            wiring.connect(m, engine.external, wiring.flipped(self.external))
            m.d.comb += link.hold.eq(self.hold)
        return m
