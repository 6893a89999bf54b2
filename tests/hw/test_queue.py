"""Queue: first in, first out, with a latency of two cycles."""

import random
from collections import deque

import pytest

from residuum.hw.queue import QUEUE_DEPTH, Queue
from tests.hw.simulation import simulate


def run(*, write: float, take: float, cycles: int = 300, seed: int = 1) -> list[tuple[int, int]]:
    """(word written, word taken) pairs; at random, words are written if there is room."""
    dut = Queue(12)
    rng = random.Random(seed)
    written: list[int] = []
    taken: list[int] = []

    async def testbench(ctx):
        for _ in range(cycles):
            going_in = len(written) - len(taken) < QUEUE_DEPTH and rng.random() < write
            word = rng.getrandbits(12)
            ctx.set(dut.write, going_in)
            ctx.set(dut.write_data, word)
            ctx.set(dut.take, rng.random() < take)
            if ctx.get(dut.valid) and ctx.get(dut.take):
                taken.append(ctx.get(dut.data))
            if going_in:
                written.append(word)
            await ctx.tick()

    simulate(dut, testbench)
    assert len(written) - len(taken) <= QUEUE_DEPTH
    return list(zip(written, taken, strict=False))


@pytest.mark.parametrize("write", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("take", [0.1, 0.6, 1.0])
def test_words_come_in_order(write, take):
    pairs = run(write=write, take=take)
    assert len(pairs) >= 15
    assert all(before == after for before, after in pairs)


def visible(writes: list[int], takes: list[int]) -> list[int]:
    """Whether a word is available, in every cycle."""
    dut = Queue(1)
    seen = []

    async def testbench(ctx):
        for write, take in zip(writes, takes, strict=True):
            ctx.set(dut.write, write)
            ctx.set(dut.take, take)
            seen.append(ctx.get(dut.valid))
            await ctx.tick()

    simulate(dut, testbench)
    return seen


def test_a_word_is_seen_after_two_cycles_and_until_it_is_taken():
    assert visible([1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]) == [0, 0, 1, 1, 0, 0]


def test_a_word_per_cycle():
    assert visible([1] * 10, [1] * 10) == [0, 0] + [1] * 8


def test_every_place_is_used():
    """Fills the queue, then reads all words without a gap."""
    words: deque[int] = deque(range(QUEUE_DEPTH))
    dut = Queue(8)
    seen = []

    async def testbench(ctx):
        for _ in range(QUEUE_DEPTH + 2):
            ctx.set(dut.write, bool(words))
            ctx.set(dut.write_data, words.popleft() if words else 0)
            await ctx.tick()
        ctx.set(dut.write, 0)
        ctx.set(dut.take, 1)
        for _ in range(QUEUE_DEPTH):
            assert ctx.get(dut.valid)
            seen.append(ctx.get(dut.data))
            await ctx.tick()
        assert not ctx.get(dut.valid)

    simulate(dut, testbench)
    assert seen == list(range(QUEUE_DEPTH))
