"""FrameReceiver and FrameSender: frames as bytes and as words."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.protocol import (
    FrameReader,
    add_crc,
    pack_words,
    slip_encode,
    unpack_words,
)
from residuum.hw.link.frames import FrameReceiver, FrameSender
from tests.hw.bad_frames import DAMAGED, WIRE, WRITE
from tests.hw.simulation import simulate
from tests.hw.streams import NO_PAUSE, PAUSES, put, take, wait

WORDS = list(unpack_words(WRITE.pack()))
WORD = st.integers(0, 0xFFFF_FFFF) | st.sampled_from([0xC0C0_DBDB, 0xDCDD_C0DB])


MOST_WORDS = 260


def receive(pieces: Iterable[bytes | None], *, room: int = 10_000, gap: int = 7) -> list:
    """The words of each valid frame, and "dropped" for each other frame, in order. A piece None is
    a byte lost on the wire; after ``room`` words there is no room."""
    dut = FrameReceiver(most_words=MOST_WORDS)
    seen: list = []
    words: list[int] = []

    async def watch(ctx):
        left = room
        while True:
            _, _, write, word, done, dropped, length = await ctx.tick().sample(
                dut.write, dut.word, dut.done, dut.dropped, dut.length
            )
            assert not (write and (done or dropped))
            if write and left > 0:
                words.append(word)
            left -= write
            if done:
                assert (length, word) == (len(words), words[-1])
                seen.append(words[:])
            seen.extend(["dropped"] * dropped)
            if done or dropped:
                words.clear()
            ctx.set(dut.room, left > 0)

    async def testbench(ctx):
        for piece in pieces:
            ctx.set(dut.rx_damaged, piece is None)
            await put(ctx, dut.rx, piece or b"")
            if gap:
                await ctx.tick()
            ctx.set(dut.rx_damaged, 0)
            await wait(ctx, gap)
        while ctx.get(dut.active):
            await ctx.tick()
        await ctx.tick()

    simulate(dut, testbench, background=[watch])
    return seen


def send(frames: list[list[int]], *, give=NO_PAUSE, accept=NO_PAUSE) -> bytes:
    """The bytes on the wire for frames of these words."""
    dut = FrameSender()
    sent = bytearray()
    words = [
        {"word": word, "last": place == len(frame) - 1}
        for frame in frames
        for place, word in enumerate(frame)
    ]

    async def testbench(ctx):
        await put(ctx, dut.words, words, give)
        while ctx.get(dut.active):
            await ctx.tick()
        await ctx.tick()

    async def taker(ctx):
        await take(ctx, dut.tx, sent.append, accept)

    simulate(dut, testbench, background=[taker])
    return bytes(sent)


def received(data: bytes) -> list:
    """The expected result of `receive`, from the software's reader."""
    reader, seen = FrameReader(), []
    for byte in data:
        dropped = reader.dropped
        seen += [list(unpack_words(frame.pack())) for frame in reader.feed(bytes([byte]))]
        seen += ["dropped"] * (reader.dropped - dropped)
    return seen


def packed(words: list[int]) -> bytes:
    return add_crc(pack_words(words))


@settings(max_examples=20)
@given(st.lists(st.lists(WORD, min_size=3, max_size=9), max_size=3))
def test_whole_frames_are_received(frames):
    data = [packed(frame) for frame in frames]
    seen = receive([slip_encode(frame) for frame in data])
    assert seen == [list(unpack_words(frame)) for frame in data]


@pytest.mark.parametrize("words", [3, MOST_WORDS - 1])
def test_the_shortest_and_the_longest_frame(words):
    data = packed(list(range(words)))
    assert receive([slip_encode(data)]) == [list(unpack_words(data))]


@pytest.mark.parametrize("pieces", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_frame_is_dropped_and_the_next_one_is_not(pieces):
    assert receive([*pieces, WIRE]) == ["dropped", WORDS]


def test_empty_frames_are_ignored():
    assert receive([b"\xc0" * 9, WIRE]) == [WORDS]


PIECES = st.one_of(
    st.binary(max_size=8),
    st.just(b"\xc0"),
    st.tuples(st.integers(0, 30), st.integers(0, 8)).map(
        lambda cut: WIRE[: cut[0]] + WIRE[cut[0] + cut[1] :]
    ),
    st.binary(min_size=8, max_size=40).map(slip_encode),
)


@settings(max_examples=40)
@given(st.lists(PIECES, max_size=6).map(lambda pieces: b"".join([*pieces, b"\xc0"])))
def test_noise_is_dropped_and_counted_as_by_the_reader(noise):
    assert receive(bytes([byte]) for byte in noise) == received(noise)


def test_frames_without_a_gap():
    frames = [packed([tag, 2, 3, 4][: 3 + tag % 2]) for tag in range(6)]
    wire = b"".join(slip_encode(frame) for frame in frames)
    assert receive([wire], gap=0) == [list(unpack_words(frame)) for frame in frames]


@pytest.mark.parametrize("room", range(9))
def test_a_frame_without_room_is_dropped(room):
    first, second = packed([1, 2, 3]), packed([4, 5, 6, 7])
    seen = receive([slip_encode(first), slip_encode(second)], room=room)
    fits = [room >= 4, room >= 9]
    assert seen == [
        list(unpack_words(frame)) if fit else "dropped"
        for frame, fit in zip((first, second), fits, strict=True)
    ]


@pytest.mark.parametrize("give", PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("accept", PAUSES.values(), ids=PAUSES)
@settings(max_examples=5)
@given(frames=st.lists(st.lists(WORD, min_size=3, max_size=5), min_size=1, max_size=2))
def test_frames_are_sent(give, accept, frames):
    expected = b"".join(slip_encode(packed(frame)) for frame in frames)
    assert send(frames, give=give, accept=accept) == expected
