"""The accelerator under Verilator as a child process, accessed by the byte stream of its link.

`build_link` makes the program, from the RTL or any other Verilog with the same ports. `ChildLink`
runs the program, and implements `residuum.sw.host.links.Link` as a serial port does.
`open_simulated` opens ``sim:`` addresses.
"""

from __future__ import annotations

import functools
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.accelerator import Accelerator
from residuum.hw.isa.config import EngineConfig
from residuum.hw.link.uart import Uart
from residuum.sim.external.accelerator import SdramAccelerator
from residuum.sim.external.engine import STORAGE, with_sdram
from residuum.sim.link.paced import PacedLink
from residuum.sim.link.wire import DEFAULT_LATENCY, Wire
from residuum.sim.verilator.build import build_program, verilog_text
from residuum.sw.compiler.program import grow_to_fit
from residuum.sw.errors import ResiduumError
from residuum.sw.host.links import Link, LinkError
from residuum.sw.network.integer_network import IntegerNetwork

DEFAULT_LANES = 16
DEFAULT_STEPS = 8
# Options of ``sim:`` addresses: sizes of the engine, and of a wire to it.
OPTIONS = ("lanes", "steps", "sdram", "baud", "latency")

_HARNESS = Path(__file__).with_name("link.cpp")


def build_link(verilog: Mapping[str, str], *, name: str, pins: bool = False) -> Path:
    """Build the child program, or return the cached build.

    Parameters
    ----------
    verilog
        Texts by file name, with a module ``top`` that has the ports of an `Accelerator`. With
        ``pins``, the ports ``serial_rx`` and ``serial_tx`` replace the two streams and
        ``rx_damaged``.
    name
        Name for messages and log files.
    """
    main = ("#define RESIDUUM_PINS\n" if pins else "") + _HARNESS.read_text()
    return build_program({**verilog, "link.cpp": main}, name=name)


@functools.cache
def build_accelerator(config: EngineConfig) -> Path:
    """The child program of an accelerator with this engine, and its SDRAM if it has one."""
    accelerator = Accelerator(config)
    if config.external:
        sources = {"design.v": verilog_text(SdramAccelerator(accelerator))}
        sources[STORAGE.name] = STORAGE.read_text()
        return build_link(sources, name=f"link-{config.lanes}-sdram")
    return build_link({"design.v": verilog_text(accelerator)}, name=f"link-{config.lanes}")


def build_pins(config: EngineConfig, *, clock_hz: int, baud: int) -> Path:
    """The child program of an accelerator with a UART."""
    text = verilog_text(_Pins(config, clock_hz=clock_hz, baud=baud))
    return build_link({"design.v": text}, name=f"pins-{config.lanes}", pins=True)


class _Pins(wiring.Component):
    """An accelerator with the UART of a board."""

    def __init__(self, config: EngineConfig, *, clock_hz: int, baud: int):
        super().__init__({"serial_rx": In(1, init=1), "serial_tx": Out(1, init=1), "busy": Out(1)})
        self._uart = Uart(clock_hz=clock_hz, baud=baud)
        self._accelerator = Accelerator(config, clock_hz=clock_hz)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.uart = uart = self._uart
        m.submodules.accelerator = accelerator = self._accelerator
        wiring.connect(m, uart.rx, accelerator.rx)
        wiring.connect(m, accelerator.tx, uart.tx)
        m.d.comb += [
            uart.rx_pin.eq(self.serial_rx),
            accelerator.rx_damaged.eq(uart.rx_damaged),
            self.serial_tx.eq(uart.tx_pin),
            self.busy.eq(accelerator.busy),
        ]
        return m


class ChildLink:
    """The link to a child process; closing it ends the process.

    The process runs in its own session, so that Ctrl-C does not reach it.

    Parameters
    ----------
    program
        Path from `build_link`.
    name
        Name for messages.
    arguments
        Options of the program, see ``sim/link/link.cpp``.
    """

    seconds_per_byte = 0.0
    # Generous: no byte is ever lost, but a wide engine on a busy computer is slow.
    latency = 20.0
    run_seconds = 600.0
    advice = "this is a fault of the simulated engine, which hangs"

    def __init__(self, program: Path, *, name: str = "sim:", arguments: Sequence[str] = ()):
        self.name = name
        try:
            self._child = subprocess.Popen(
                [str(program), *arguments],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise LinkError(f"{program} cannot be started: {error.strerror}") from None

    def send(self, data: bytes) -> None:
        pipe = self._child.stdin
        assert pipe is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[pipe.write(rest) :]
        except OSError:
            raise self._broken() from None

    def receive(self, timeout: float) -> bytes:
        pipe = self._child.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], timeout)
        if not ready:
            return b""
        data = pipe.read(1 << 16)
        if not data:
            raise self._broken()
        return data

    def change_rate(self) -> bool:
        return False

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        self._child.kill()
        self._child.wait()

    def close(self) -> None:
        self.kill()
        self._child.communicate()

    def _broken(self) -> LinkError:
        return LinkError(f"the simulation behind {self.name} ended; start it again")


def open_simulated(
    options: str, *, network: IntegerNetwork | None = None, steps: int | None = None
) -> Link:
    """The link of a simulated accelerator that is large enough for a network.

    Parameters
    ----------
    options
        Options as after ``sim:``: sizes of the engine, e.g. ``lanes=32,steps=16``, with ``sdram``
        weight rows of a ring that is filled from a simulated SDRAM, and those of a wire to it,
        e.g. ``baud=3000000,latency=16``.
    network, steps
        Network to fit and least number of steps; without them the sizes are the defaults.
    """
    values = _numbers(options)
    wire = _wire(options, values)
    link = ChildLink(build_accelerator(_config(options, values, network, steps)), name="sim:")
    return link if wire is None else PacedLink(link, wire)


def simulated_config(
    options: str, network: IntegerNetwork | None, steps: int | None
) -> EngineConfig:
    """The engine configuration of a ``sim:`` address."""
    return _config(options, _numbers(options), network, steps)


def _numbers(options: str) -> dict[str, int]:
    """The options of a ``sim:`` address."""
    values = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in OPTIONS or not value.isdecimal() or len(value) > 9:
            raise LinkError(
                f"{option!r} is no option of sim:, as lanes=32, steps=16, sdram=1024, "
                f"baud=3000000 and latency=16 are"
            )
        values[key] = int(value)
    return values


def _wire(options: str, values: Mapping[str, int]) -> Wire | None:
    """The wire of a ``sim:`` address; None if it has none."""
    if "baud" in values:
        return Wire(baud=values["baud"], latency=values.get("latency", DEFAULT_LATENCY))
    if "latency" in values:
        raise LinkError(f"sim:{options} has a latency, but no rate; add one, as in baud=3000000")
    return None


def _config(
    options: str, values: Mapping[str, int], network: IntegerNetwork | None, steps: int | None
) -> EngineConfig:
    lanes = values.get("lanes", DEFAULT_LANES)
    steps = values.get("steps", max(DEFAULT_STEPS, steps or 0))
    try:
        config = EngineConfig.for_lanes(lanes, steps=steps)
        if "sdram" in values:
            config = with_sdram(config, values["sdram"])
        return config if network is None else grow_to_fit(network, config)
    except ValueError as error:
        raise ResiduumError(f"the engine of sim:{options} cannot be built: {error}") from None
