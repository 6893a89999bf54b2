"""How a design drives the SDRAM of its board: the part, and the phase of its clock."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from residuum.boards.board import Board
from residuum.hw.isa.config import EngineConfig, bits_for_count
from residuum.hw.memory.sdram.parts import PARTS, SLOWEST, Part, Timing
from residuum.sw.errors import ResiduumError

UNKNOWN = "slowest"
PART_NAMES = (UNKNOWN, *PARTS)
# Degrees by which the chip's clock is later than its commands: the middle of a cycle.
MIDDLE = 180.0
# Phases for which the words come one cycle later than with a chip that runs at the edges of the
# engine's clock: a word is on the pins for half a cycle around (phase / 360 - 1 / 2) cycles, the
# middle of its access and hold times, and the delays of the pins, after such an edge.
EARLIEST, LATEST = 45.0, 315.0
LATE = 1
# The phase in a layout that serves all phases but `MIDDLE`, which takes no second clock.
LAID = 90.0
# The phases of a sweep: all have the second clock.
SWEPT = (45.0, 75.0, 105.0, 135.0, 165.0, 195.0, 225.0, 255.0, 285.0, 315.0)


@dataclass(frozen=True)
class Sdram:
    """The SDRAM of a board.

    Attributes
    ----------
    name
        One of `PART_NAMES`.
    phase
        Degrees by which the chip's clock is later than its commands, `EARLIEST` to `LATEST`.

    Raises
    ------
    ResiduumError
        If there is no such part, or the phase is out of range.
    """

    name: str = UNKNOWN
    phase: float = MIDDLE

    def __post_init__(self) -> None:
        if self.name not in PART_NAMES:
            raise ResiduumError(
                f"there is no SDRAM {self.name!r}; the known ones are {', '.join(PART_NAMES)}"
            )
        if not EARLIEST <= self.phase <= LATEST:
            raise ResiduumError(
                f"the phase of the SDRAM must be {EARLIEST:g} to {LATEST:g} degrees, not "
                f"{self.phase:g}"
            )

    @property
    def part(self) -> Part:
        return SLOWEST if self.name == UNKNOWN else PARTS[self.name]

    @property
    def shift(self) -> float | None:
        """The phase of a second clock, for the chip; None: the output registers of the engine's
        clock make `MIDDLE`."""
        return None if self.phase == MIDDLE else self.phase

    @property
    def laid(self) -> "Sdram":
        """The same for all phases whose layouts are equal."""
        return self if self.shift is None else replace(self, phase=LAID)

    def engine(
        self, config: EngineConfig, board: Board, preset: str, clock_hz: int
    ) -> EngineConfig:
        """The engine with addresses for all words of the part.

        Raises
        ------
        ResiduumError
            If the board has no SDRAM for an engine, or a slower one.
        """
        if not board.has_sdram:
            raise ResiduumError(
                f"{board.name} has no SDRAM with words of 16 bits, which the engine {preset} "
                f"needs; its engines are {', '.join(board.presets)}"
            )
        try:
            Timing.of(self.part, clock_hz)
        except ValueError as error:
            raise ResiduumError(
                f"the SDRAM of {board.name} runs at the clock of the engine: {error}"
            ) from None
        return config.with_changes(external=bits_for_count(self.part.words))


def best_phases(wrong: Mapping[float, int]) -> tuple[float, float] | None:
    """The first and the last phase of the longest row of neighbours without a wrong word; None if
    each has some.

    Parameters
    ----------
    wrong
        The number of wrong words at each phase, from the smallest phase on.
    """
    best: list[float] = []
    row: list[float] = []
    for phase, words in wrong.items():
        row = [] if words else [*row, phase]
        best = max(best, row, key=len)
    return (best[0], best[-1]) if best else None
