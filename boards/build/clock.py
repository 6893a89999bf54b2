"""The clock of an engine on a board."""

from residuum.boards.board import MHZ, Board
from residuum.boards.build.pll import PllDividers, solve
from residuum.hw.isa.presets import CLOCKS


def engine_clock(board: Board, preset: str, mhz: float | None = None) -> PllDividers:
    """The PLL for an engine with the sizes of a preset; its ``output_hz`` is the clock.

    Parameters
    ----------
    mhz
        Clock to reach; None: the board's, or that of the preset if it is lower.

    Raises
    ------
    PllError
        If the PLL cannot make the clock.
    """
    if mhz is None:
        mhz = min(board.target_mhz, CLOCKS.get(preset, board.target_mhz))
    return solve(board.oscillator_hz, round(mhz * MHZ))
