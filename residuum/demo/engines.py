"""The engine of a board for a network, and the cycles that a run takes there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from residuum.boards.board import Board
from residuum.boards.build.clock import engine_clock
from residuum.boards.catalogue import BOARDS, find
from residuum.hw.isa.host_map import Counter
from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.fit import block_memory_need, device_of
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import Trace
from residuum.sw.network.integer_network import IntegerNetwork

# The page's name for the first board of the catalogue's smallest that holds the network.
SMALLEST = "smallest"


@dataclass(frozen=True)
class Engine:
    """A board with one of its presets, its clock, and the network compiled for it."""

    board: str
    preset: str
    clock_hz: float
    program: Program


def by_size() -> list[Board]:
    """All boards, those with the smallest engine first."""
    order = list(PRESETS)
    return sorted(BOARDS.values(), key=lambda board: order.index(board.preset))


@lru_cache(maxsize=64)
def engine_for(network: IntegerNetwork, board: str, *, tau: int, T: int, correction: str) -> Engine:
    """The engine on which a board, or the `SMALLEST` that can, runs a network.

    Raises ``ResiduumError`` if no engine of the board runs it: the need that its largest does not
    meet.
    """
    refused = None
    for each in by_size() if board == SMALLEST else [find(board)]:
        for preset in each.presets:
            config = PRESETS[preset]
            if not block_memory_need(config, device_of(each.preset)).fits:
                continue
            try:
                program = compile_network(network, config, tau=tau, T=T, correction=correction)
            except ResiduumError as error:
                refused = error
                continue
            clock_hz = float(engine_clock(each, preset).output_hz)
            return Engine(each.name, preset, clock_hz, program)
    where = "no board runs" if board == SMALLEST else f"{board} does not run"
    raise ResiduumError(f"{where} {network.name} with {network.weight_bits}-bit weights: {refused}")


def predicted(engine: Engine, image: np.ndarray, golden: Trace) -> dict[str, Any]:
    """The cycles of a run on an engine by the cycle model, as JSON values."""
    counters = predict(engine.program, image, golden, 0)
    return {
        **cycles_of(engine.program, counters, engine.clock_hz),
        "where": f"{engine.board}, preset {engine.preset}",
        "measured": False,
    }


def cycles_of(program: Program, counters: np.ndarray, clock_hz: float) -> dict[str, Any]:
    """Counters, int64 (layers, COUNTER_WORDS), as JSON values, with the time at a clock."""
    total = int(counters[:, Counter.CYCLES].sum())
    return {
        "cycles": total,
        "microseconds": 1e6 * total / clock_hz,
        "clock_hz": clock_hz,
        "lanes": program.config.lanes,
        "layers": [
            {
                "cycles": int(row[Counter.CYCLES]),
                "events": int(row[Counter.EVENTS]),
            }
            for row in counters
        ],
    }
