"""A board: its platform, and the engine, clock, UART and LEDs used on it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.build import Resource

from residuum.hw.isa.presets import PRESETS
from residuum.hw.memory.sdram.parts import WIDTH

MHZ = 1_000_000


@dataclass(frozen=True)
class Led:
    """An LED of the board: a resource of its platform, or one part of a resource."""

    resource: str
    number: int = 0
    part: str | None = None


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Attributes
    ----------
    name
        Value for ``BOARD=``.
    make_platform
        The platform of amaranth-boards; it defines pins, device and oscillator.
    preset
        Name of the engine configuration (`residuum.hw.isa.presets`) for the board's device.
    target_mhz
        Clock that a build must reach, rounded to the nearest frequency that the PLL can make.
    baud
        Rate of the UART: the highest of the board's FTDI bridge, 12 Mbaud of an FT2232H and 3 Mbaud
        of an FT231X, else a rate that common bridges support.
    serial
        Connector of the UART's two wires, for the table of boards.
    leds
        LEDs for alive, busy, error, then the class in binary, lowest bit first. May be fewer.
    lights
        Position of the LEDs, for the table of boards.
    resources
        Resources that the platform lacks: the UART, called ``uart``, and LEDs.
    steady
        Resources with one output that is always high, such as an LED supply.
    loader
        Arguments of openFPGALoader that select board or cable.
    pack
        Arguments of ecppack.
    """

    name: str
    make_platform: Callable[[], Any]
    preset: str
    target_mhz: float
    baud: int
    serial: str
    leds: tuple[Led, ...]
    lights: str
    resources: tuple[Resource, ...] = ()
    steady: tuple[str, ...] = ()
    loader: tuple[str, ...]
    pack: tuple[str, ...] = ("--compress",)

    def platform(self) -> Any:
        """A new platform object, for one elaboration."""
        platform = self.make_platform()
        platform.add_resources(self.resources)
        return platform

    @cached_property
    def _example(self) -> Any:
        return self.platform()

    @property
    def device(self) -> str:
        return str(self._example.device)

    @property
    def speed_grade(self) -> int:
        return int(self._example.speed)

    @property
    def oscillator_hz(self) -> int:
        return round(self._example.default_clk_frequency)

    @property
    def nextpnr_options(self) -> list[str]:
        """Options of nextpnr-ecp5 for device, package and speed grade."""
        platform = self._example
        package = platform._nextpnr_package_options[platform.package].upper()
        return [
            platform._nextpnr_device_options[platform.device],
            *("--package", package, "--speed", platform.speed),
        ]

    @property
    def has_sdram(self) -> bool:
        """Whether it has an SDRAM as `residuum.hw.memory.sdram.pins` connects it, with words of 16
        bits. That of Colorlight boards has 32."""
        resource = self._example.resources.get(("sdram", 0))
        widths = {part.name: len(part.ios[0].names) for part in resource.ios} if resource else {}
        return widths.get("dq") == WIDTH

    @property
    def presets(self) -> tuple[str, ...]:
        """Names of all engines for the board's size of device, its own first; those with an
        external memory only where the board has an SDRAM for them."""
        size = self.preset.partition("-")[0]
        others = (
            name
            for name, config in PRESETS.items()
            if name.partition("-")[0] == size and (self.has_sdram or not config.external)
        )
        return tuple(dict.fromkeys((self.preset, *others)))

    def uart_pins(self) -> tuple[str, str]:
        """The package balls for receive and send."""
        uart = self.platform().request("uart", 0, dir="-")
        receive, send = (port.io.metadata[0].name for port in (uart.rx, uart.tx))
        return receive, send
