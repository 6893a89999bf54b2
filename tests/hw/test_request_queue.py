"""RequestQueue: whole requests in their order, in a ring that goes round and fills up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.protocol import add_crc, pack_words, slip_encode
from residuum.hw.link.queue import RequestQueue
from tests.hw.simulation import simulate
from tests.hw.streams import put, wait


def packed(*words: int) -> bytes:
    return add_crc(pack_words(words))


def frame(words: int, first: int = 3) -> bytes:
    """A frame of so many words, its CRC included."""
    return packed(first, *range(1, words - 1))


def queued(script, *, receive_words: int = 512) -> None:
    dut = RequestQueue(EngineConfig(receive_words=receive_words))

    async def testbench(ctx):
        await script(ctx, dut)

    simulate(dut, testbench)


async def send(ctx, dut, *frames: bytes) -> None:
    """Frames without a gap between them; then waits until they have been checked."""
    await put(ctx, dut.rx, b"".join(slip_encode(data) for data in frames))
    await wait(ctx, 8)


async def take(ctx, dut) -> bytes:
    """The first request, which is then released."""

    async def word(place: int) -> int:
        ctx.set(dut.read_place, place % dut.config.receive_words)
        await ctx.tick().repeat(3)
        return ctx.get(dut.read_data)

    assert ctx.get(dut.some)
    head = ctx.get(dut.head)
    before = await word(head)
    length = before & 0xFFFF
    words = [await word(head + 1 + index) for index in range(length)]
    assert before >> 16 == words[-1] >> 16
    ctx.set(dut.length, length)
    ctx.set(dut.release, 1)
    await ctx.tick()
    ctx.set(dut.release, 0)
    await ctx.tick().repeat(2)
    return pack_words(words)


async def dropped(ctx, dut, *frames: bytes) -> int:
    """How many of these frames are dropped."""
    count = 0
    wire = b"".join(slip_encode(data) for data in frames)
    for byte in wire:
        ctx.set(dut.rx.payload, byte)
        ctx.set(dut.rx.valid, 1)
        await ctx.tick()
        count += ctx.get(dut.dropped)
    ctx.set(dut.rx.valid, 0)
    for _ in range(8):
        await ctx.tick()
        count += ctx.get(dut.dropped)
    return count


@pytest.mark.parametrize("receive_words", [512, 1536, 2560])
def test_requests_of_all_lengths_go_round_the_ring(receive_words):
    lengths = [4, 300, 5, 200, 30, 4, 129, 400, 77] * (receive_words // 400)

    async def script(ctx, dut):
        for index, length in enumerate(lengths):
            await send(ctx, dut, frame(length, index))
            assert await take(ctx, dut) == frame(length, index)
        assert not ctx.get(dut.some)

    queued(script, receive_words=receive_words)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(4, 60), min_size=2, max_size=12))
def test_requests_wait_in_their_order(lengths):
    frames = [frame(length, index) for index, length in enumerate(lengths)]
    fits = [sum(length + 1 for length in lengths[: n + 1]) < 512 for n in range(len(lengths))]

    async def script(ctx, dut):
        await send(ctx, dut, *frames)
        for data, fit in zip(frames, fits, strict=True):
            if fit:
                assert await take(ctx, dut) == data

    queued(script)


def test_the_longest_request_fits_and_a_longer_one_does_not():
    async def script(ctx, dut):
        # The next frame comes at once, and is not affected.
        assert await dropped(ctx, dut, frame(511), frame(4)) == 1
        assert await take(ctx, dut) == frame(4)
        assert await dropped(ctx, dut, frame(510)) == 0
        assert await dropped(ctx, dut, frame(4)) == 1
        assert await take(ctx, dut) == frame(510)
        assert await dropped(ctx, dut, frame(4)) == 0
        assert await take(ctx, dut) == frame(4)

    queued(script)


def test_as_many_words_as_there_is_room_for():
    async def script(ctx, dut):
        assert await dropped(ctx, dut, frame(200), frame(200), frame(109)) == 1
        assert await dropped(ctx, dut, frame(108)) == 0
        for words in (200, 200, 108):
            assert await take(ctx, dut) == frame(words)
        assert not ctx.get(dut.some)

    queued(script)


def test_a_damaged_frame_leaves_no_word():
    async def script(ctx, dut):
        broken = bytearray(frame(100))
        broken[50] ^= 1
        assert await dropped(ctx, dut, frame(6), bytes(broken), frame(7)) == 1
        assert await take(ctx, dut) == frame(6)
        assert await take(ctx, dut) == frame(7)

    queued(script)


def test_fifteen_requests_wait():
    async def script(ctx, dut):
        frames = [frame(4, index) for index in range(17)]
        assert await dropped(ctx, dut, *frames) == 2
        for data in frames[:15]:
            assert await take(ctx, dut) == data
        assert await dropped(ctx, dut, frames[16]) == 0
        assert await take(ctx, dut) == frames[16]

    queued(script)


RESET = packed(7, 0, 0)


@pytest.mark.parametrize(
    ("requests", "overtaken"),
    [
        ([frame(4), frame(5)], [0, 0]),
        ([RESET], [0]),
        ([frame(4), RESET, frame(4)], [1, 0, 0]),
        ([RESET, frame(4), RESET], [1, 1, 0]),
        ([frame(4), packed(7, 0, 1)], [0, 0]),
        ([frame(4), packed(7, 0, 0, 0)], [0, 0]),
        ([frame(4), packed(0x107, 0, 0)], [0, 0]),
        ([frame(4), packed(0x1234_0007, 99, 0)], [1, 0]),
    ],
)
def test_a_reset_overtakes(requests, overtaken):
    async def script(ctx, dut):
        await send(ctx, dut, *requests)
        found = []
        for data in requests:
            found.append(ctx.get(dut.overtaken))
            assert await take(ctx, dut) == data
        assert found == overtaken

    queued(script)
