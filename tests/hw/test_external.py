"""The external memory of an engine: host accesses, weight rows and the memory tester, on the model
of a chip."""

import random
import zlib
from dataclasses import replace

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import MemoryTest, Pattern
from residuum.hw.memory.ring import ExternalPort
from residuum.hw.memory.sdram.access import LATE_WRITES
from residuum.hw.memory.sdram.external import ExternalMemory
from residuum.hw.memory.sdram.parts import SLOWEST, Timing
from residuum.sim.sdram.chip import Chip
from residuum.sim.sdram.rules import Rule
from tests.hw.simulation import simulate

PART = replace(SLOWEST, rows=16, columns=64, pause=200)
PAIRS = PART.words // 2
CONFIG = EngineConfig(
    lanes=8, tile_lanes=4, event_width=2, weight_rows=64, external=(PART.words - 1).bit_length()
)


class Board(wiring.Component):
    """A memory and its chip."""

    def __init__(self):
        timing = Timing.of(PART, 142_000_000)
        self.memory = ExternalMemory(CONFIG, PART, timing)
        self.chip = Chip(PART, timing)
        super().__init__(
            {"engine": In(ExternalPort(CONFIG)), "hold": Out(1), "seen": Out(len(Rule))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self.memory
        m.submodules.chip = chip = self.chip
        wiring.connect(m, wiring.flipped(self.engine), memory.engine)
        wiring.connect(m, memory.bus, chip.bus)
        m.d.comb += [self.hold.eq(memory.hold), self.seen.eq(chip.seen)]
        return m


class Host:
    """Accesses as a link makes them: it stops some cycles after ``hold``."""

    def __init__(self, ctx, board):
        self.ctx, self.board, self.port = ctx, board, board.engine.host

    async def write(self, words: dict[int, int]) -> None:
        held = [0] * (LATE_WRITES - 1)
        for address, word in words.items():
            while held[0]:
                held = [*held[1:], self.ctx.get(self.board.hold)]
                await self.ctx.tick()
            await self._access(self.port.write, address, word)
            held = [*held[1:], self.ctx.get(self.board.hold)]

    async def _access(self, strobe, address, word=0, *, test=0):
        self.ctx.set(self.port.address, address)
        self.ctx.set(self.port.write_data, word)
        self.ctx.set(self.port.test, test)
        self.ctx.set(strobe, 1)
        await self.ctx.tick()
        self.ctx.set(strobe, 0)

    async def read(self, address: int, *, test: int = 0) -> int:
        await self._access(self.port.read, address, test=test)
        while not self.ctx.get(self.port.read_valid):
            await self.ctx.tick()
        word = self.ctx.get(self.port.read_data)
        await self.ctx.tick()
        return word

    async def test(self, run: int, *, first: int, count: int, seed: int = 1) -> dict:
        given = {MemoryTest.SEED: seed, MemoryTest.FIRST: first, MemoryTest.COUNT: count}
        for word, value in (given | {MemoryTest.RUN: run}).items():
            await self._access(self.port.write, word, value, test=1)
        while await self.read(MemoryTest.RUN, test=1):
            pass
        return {word.name: await self.read(word, test=1) for word in MemoryTest}


def on_board(use) -> None:
    board = Board()

    async def testbench(ctx):
        await use(ctx, Host(ctx, board), board)
        assert ctx.get(board.seen) == 0

    simulate(board, testbench)


def words_for(addresses, seed: int = 1) -> dict[int, int]:
    chosen = random.Random(seed)
    return {address: chosen.getrandbits(32) for address in addresses}


def test_written_words_are_read_back():
    words = words_for([*range(40), *range(PAIRS - 1, PAIRS - 50, -7), 300, 301, 302])

    async def use(ctx, host, board):
        await host.write(words)
        assert {address: await host.read(address) for address in words} == words

    on_board(use)


async def take_rows(ctx, port, firsts, *, words_of: int | None = None) -> list[int]:
    """The words of chunks, by their first bursts; with ``words_of``, only so many words."""
    taken, waiting = [], list(firsts)
    count = len(waiting) * CONFIG.row_words * 8 if words_of is None else words_of
    ctx.set(port.discard, 0)
    while len(taken) < count:
        ctx.set(port.reads.valid, bool(waiting))
        ctx.set(port.reads.payload, waiting[0] if waiting else 0)
        _, _, ready, valid, word = await ctx.tick().sample(port.reads.ready, port.valid, port.word)
        if valid:
            taken.append(word)
        if ready and waiting:
            waiting.pop(0)
    ctx.set(port.reads.valid, 0)
    return taken


def halves(words: dict[int, int], first: int, count: int) -> list[int]:
    return [words[address // 2] >> 16 * (address % 2) & 0xFFFF for address in range(first, count)]


def test_chunks_come_in_order_and_those_of_a_run_that_ended_are_dropped():
    words = words_for(range(PAIRS))
    chunk = CONFIG.row_words

    async def use(ctx, host, board):
        rows = board.engine.rows
        ctx.set(rows.discard, 1)
        await host.write(words)
        given = await take_rows(ctx, rows, [0, chunk, 5 * chunk])
        assert given == halves(words, 0, 16 * chunk) + halves(words, 40 * chunk, 48 * chunk)
        # The run ends in the middle of a chunk, others are under way; the next one begins at once.
        await take_rows(ctx, rows, [0, chunk, 2 * chunk], words_of=11)
        ctx.set(rows.discard, 1)
        await ctx.tick()
        assert await take_rows(ctx, rows, [chunk]) == halves(words, 8 * chunk, 16 * chunk)
        # So does an access of the host.
        await take_rows(ctx, rows, [0, chunk, 2 * chunk], words_of=5)
        ctx.set(rows.discard, 1)
        assert await host.read(77) == words[77]

    on_board(use)


def test_the_registers_of_the_memory_tester():
    words = words_for(range(PAIRS), seed=3)

    async def use(ctx, host, board):
        await host.write(words)
        # Read only: all words are wrong, and the CRC is theirs.
        got = await host.test(0b10 | Pattern.ADDRESS << 2, first=2, count=40)
        data = b"".join(words[pair].to_bytes(4, "little") for pair in range(8, 4 * 42))
        assert got["CRC"] == zlib.crc32(data)
        wrong = halves(words, 16, 8 * 42)
        assert got["ERRORS"] == sum(word != 16 + n for n, word in enumerate(wrong))
        assert (got["FIRST_BAD"], got["WORDS"]) == (16, wrong[0] << 16 | 16)
        got = await host.test(0b11 | Pattern.RANDOM << 2, first=0, count=PART.words // 8, seed=9)
        assert (got["ERRORS"], got["BAD_BITS"], got["SEED"]) == (0, 0, 9)
        assert (await host.read(0)) & 0xFFFF == 9

    on_board(use)
