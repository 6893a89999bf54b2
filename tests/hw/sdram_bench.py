"""Controller and chip in Amaranth's simulator."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from residuum.hw.memory.sdram.controller import Controller
from residuum.hw.memory.sdram.parts import BURST, SLOWEST, Part, Timing
from residuum.sim.sdram.chip import Chip
from residuum.sim.sdram.rules import Rule
from tests.hw.simulation import simulate
from tests.hw.streams import put, wait

CLOCK = 142_000_000
# 8,192 words; the rows are refreshed as often as those of a part.
SMALL = replace(SLOWEST, rows=32, columns=64, pause=500, retention=32 * 7_812.5)
# One bank has a row of 512 words, as in the parts.
WIDE = replace(SLOWEST, rows=16, pause=500, retention=16 * 7_812.5)


class Board(wiring.Component):
    """A controller and a chip; ``reset`` resets the controller alone."""

    def __init__(self, part: Part = SMALL, *, clock_hz: int = CLOCK, round_trip: int | None = None):
        timing = Timing.of(part, clock_hz)
        self.part = part
        self.controller = Controller(part, timing, round_trip=round_trip)
        self.chip = Chip(part, timing)
        self.reset = Signal()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = ResetInserter(self.reset)(self.controller)
        m.submodules.chip = self.chip
        wiring.connect(m, self.controller.bus, self.chip.bus)
        return m


@dataclass
class Seen:
    """The words of the controller with their cycles and marks, and the rules broken."""

    words: list[int]
    cycles: list[int]
    lasts: list[int]
    rules: list[Rule]


def run(board: Board, *testbenches: Any) -> Seen:
    """Runs the testbenches, then waits until no word has come for 300 cycles."""
    seen = Seen([], [], [], [])
    quiet = 0

    async def collect(ctx):
        nonlocal quiet
        words, cycle = board.controller.words, 0
        while True:
            _, _, valid, word = await ctx.tick().sample(words.valid, words.payload)
            cycle, quiet = cycle + 1, quiet + 1
            if valid:
                quiet = 0
                seen.words.append(word.data)
                seen.lasts.append(word.last)
                seen.cycles.append(cycle)

    async def finish(ctx):
        for testbench in testbenches:
            await testbench(ctx)
        await wait(ctx, 300)
        while quiet < 300:
            await ctx.tick()
        broken = ctx.get(board.chip.seen)
        seen.rules.extend(rule for rule in Rule if broken >> rule & 1)

    simulate(board, finish, background=[collect])
    return seen


def writing(board: Board, words: dict[int, int], pauses: Iterable[int] = (0,)):
    """A testbench that writes words by address."""
    payloads = [
        {"address": _place(board.part, address), "data": word} for address, word in words.items()
    ]

    async def testbench(ctx):
        await put(ctx, board.controller.writes, payloads, pauses)

    return testbench


def reading(board: Board, reads: Iterable[tuple[int, int]], pauses: Iterable[int] = (0,)):
    """A testbench that sends reads: first burst and number of bursts."""
    payloads = [{"first": first, "count": count} for first, count in reads]

    async def testbench(ctx):
        await put(ctx, board.controller.reads, payloads, pauses)

    return testbench


def addresses(reads: Iterable[tuple[int, int]]) -> list[int]:
    """The addresses of the words of reads."""
    return [
        address
        for first, count in reads
        for address in range(first * BURST, (first + count) * BURST)
    ]


def random_words(seed: int, places: Iterable[int]) -> dict[int, int]:
    rng = random.Random(seed)
    return {address: rng.getrandbits(16) for address in places}


def _place(part: Part, address: int) -> dict[str, int]:
    """The fields of the address of a word: consecutive rows of words lie in consecutive banks."""
    rest, column = divmod(address, part.columns)
    row, bank = divmod(rest, 4)
    return {"word": column % BURST, "column": column // BURST, "bank": bank, "row": row}
