"""The design of a board: clock, reset, UART and LEDs around the accelerator."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, ClockDomain, Elaboratable, Module, ResetInserter, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import ResetSynchronizer

from residuum.boards.board import Board
from residuum.boards.build.pll import Pll, PllDividers
from residuum.boards.build.sdram import LATE, Sdram
from residuum.hw.accelerator import Accelerator
from residuum.hw.isa.config import EngineConfig
from residuum.hw.link.uart import Uart
from residuum.hw.memory.sdram.external import ExternalMemory
from residuum.hw.memory.sdram.parts import Timing
from residuum.hw.memory.sdram.pins import ChipClock, Pins

# The LEDs are updated every 2**LOOK_BITS cycles, 28 ms at 150 MHz, so that a run of a few
# microseconds is visible. The alive LED toggles at every 16th update.
LOOK_BITS = 22
BLINK_BITS = 4


def add_clock(
    m: Module, platform: Any, dividers: PllDividers, *, shift: float | None = None
) -> Signal:
    """Add the ``sync`` domain, clocked by the PLL from the board's oscillator; with ``shift``, the
    domain ``chip`` too, whose clock is so many degrees later.

    Returns the reset signal, which is high until the PLL has locked. The domain itself has no
    reset: the caller first combines this reset with others, so that only one reset net spans the
    device.
    """
    oscillator = platform.request(platform.default_clk, dir="-")
    m.submodules.oscillator = buffer = io.Buffer("i", oscillator)
    m.submodules.pll = pll = Pll(dividers, shift=shift)
    m.domains.sync = domain = ClockDomain("sync", reset_less=True)
    m.domains.locking = locking = ClockDomain("locking")
    m.d.comb += [
        pll.clock_in.eq(buffer.i),
        domain.clk.eq(pll.clock_out),
        locking.clk.eq(pll.clock_out),
    ]
    if shift is not None:
        m.domains.chip = chip = ClockDomain("chip", reset_less=True)
        m.d.comb += chip.clk.eq(pll.clock_shifted)
    m.submodules.reset = ResetSynchronizer(~pll.lock, domain="locking")
    reset = Signal(init=1)
    m.d.sync += reset.eq(locking.rst)
    return reset


def add_steady(m: Module, platform: Any, board: Board) -> None:
    """Drive the board's ``steady`` outputs high."""
    for number, resource in enumerate(board.steady):
        pin = platform.request(resource, dir="-")
        m.submodules[f"steady_{number}"] = steady = io.Buffer("o", pin)
        m.d.comb += steady.o.eq(1)


class StatusLeds(Elaboratable):
    """Drives the board's LEDs: alive (blinks), busy, error, and the class in binary.

    ``busy``, ``error`` and ``best`` are inputs. ``busy`` lights its LED for at least one update.
    """

    def __init__(self, board: Board, *, best_bits: int):
        self.board = board
        self.busy = Signal()
        self.error = Signal()
        self.best = Signal(best_bits)

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        time = Signal(LOOK_BITS + BLINK_BITS + 1)
        look, was_busy, shows_busy = Signal(), Signal(), Signal()
        m.d.sync += [
            time.eq(time + 1),
            look.eq(time[:LOOK_BITS] == 0),
            was_busy.eq(self.busy | (was_busy & ~look)),
        ]
        with m.If(look):
            m.d.sync += shows_busy.eq(was_busy)

        signs = Cat(time[-1], shows_busy, self.error, self.best)
        groups: dict[tuple[str, int], Any] = {}
        for index, (led, sign) in enumerate(zip(self.board.leds, signs, strict=False)):
            place = led.resource, led.number
            if place not in groups:
                groups[place] = platform.request(*place, dir="-")
            port = getattr(groups[place], led.part) if led.part else groups[place]
            m.submodules[f"led_{index}"] = buffer = io.Buffer("o", port)
            shown = Signal(name=f"shown_{index}", reset_less=True)
            m.d.sync += shown.eq(sign)
            m.d.comb += buffer.o.eq(shown)
        return m


class BoardTop(Elaboratable):
    """The whole design; no other component requests pins.

    Parameters
    ----------
    board : Board
    config : EngineConfig
    dividers : PllDividers
        PLL dividers from the board's oscillator to the engine's clock.
    digest : bytes
        16 bytes that identify this build to the host.
    program : mapping of host address to host word, or None
        Contents of the engine's memories at power-up.
    name : str
        Name of the program, at most 16 ASCII characters.
    sdram : Sdram or None
        That of the board, for an engine with an external memory.
    """

    def __init__(
        self,
        board: Board,
        config: EngineConfig,
        dividers: PllDividers,
        *,
        digest: bytes,
        program: Mapping[int, int] | None = None,
        name: str = "",
        sdram: Sdram | None = None,
    ):
        self.board = board
        self.config = config
        self.dividers = dividers
        self.sdram = sdram
        self.digest = digest
        self.program = program
        self.name = name

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        clock_hz = round(self.dividers.output_hz)
        shift = self.sdram.shift if self.sdram is not None else None
        reset = add_clock(m, platform, self.dividers, shift=shift)
        add_steady(m, platform, self.board)
        uart = Uart(clock_hz=clock_hz, baud=self.board.baud)
        m.submodules.uart = ResetInserter(reset)(uart)
        m.submodules.accelerator = accelerator = Accelerator(
            self.config,
            clock_hz=clock_hz,
            digest=self.digest,
            program=self.program,
            name=self.name,
        )
        m.submodules.leds = leds = StatusLeds(self.board, best_bits=len(accelerator.best))
        wires = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", wires.rx)
        m.submodules.tx = tx = io.Buffer("o", wires.tx)
        wiring.connect(m, uart.rx, accelerator.rx)
        wiring.connect(m, accelerator.tx, uart.tx)
        m.d.comb += [
            uart.rx_pin.eq(rx.i),
            tx.o.eq(uart.tx_pin),
            accelerator.reset.eq(reset),
            accelerator.rx_damaged.eq(uart.rx_damaged),
            leds.busy.eq(accelerator.busy),
            leds.error.eq(accelerator.error),
            leds.best.eq(accelerator.best),
        ]
        if self.sdram is not None:
            self._add_memory(m, platform, accelerator, reset, self.sdram, clock_hz)
        return m

    def _add_memory(
        self,
        m: Module,
        platform: Any,
        accelerator: Accelerator,
        reset: Signal,
        sdram: Sdram,
        clock_hz: int,
    ) -> None:
        ports = platform.request("sdram", dir="-")
        timing = Timing.of(sdram.part, clock_hz)
        if sdram.shift is None:
            m.submodules.chip_clock = ChipClock(ports.clk)
        else:
            m.submodules.chip_clock = ChipClock(ports.clk, domain="chip", shifted=False)
        m.submodules.pins = pins = Pins(ports)
        memory = ExternalMemory(
            self.config, sdram.part, timing, round_trip=Pins.round_trip(timing, late=LATE)
        )
        m.submodules.memory = ResetInserter(reset)(memory)
        wiring.connect(m, accelerator.external, memory.engine)
        wiring.connect(m, memory.bus, pins.bus)
        m.d.comb += accelerator.hold.eq(memory.hold)
