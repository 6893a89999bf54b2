"""Crc32 against zlib, and against the published check value and residue."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.crc import RESIDUE, Crc32, SerialCrc32
from tests.hw.simulation import simulate
from tests.hw.streams import wait


def crcs(
    data: bytes, *, pause: int = 0, before: bytes = b"", at_once: int = 1
) -> list[tuple[int, int]]:
    """(CRC, match) before each byte (or pair) and after the last; before that, others and a
    clear."""
    dut = Crc32(bytes_at_once=at_once)
    seen = []

    async def testbench(ctx):
        async def give(some: bytes) -> None:
            for first in range(0, len(some), at_once):
                await wait(ctx, pause)
                seen.append((ctx.get(dut.crc), ctx.get(dut.match)))
                ctx.set(dut.data, int.from_bytes(some[first : first + at_once], "little"))
                ctx.set(dut.valid, 1)
                await ctx.tick()
                ctx.set(dut.valid, 0)

        await give(before)
        seen.clear()
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await give(data)
        seen.append((ctx.get(dut.crc), ctx.get(dut.match)))

    simulate(dut, testbench)
    return seen


def test_published_values():
    # CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    assert RESIDUE == 0xDEBB20E3
    assert crcs(b"123456789")[-1] == (0xCBF43926, 0)


@settings(max_examples=30)
@given(st.binary(max_size=40), st.binary(max_size=5), st.integers(0, 2))
def test_equals_zlib_behind_every_byte(data, before, pause):
    seen = [crc for crc, _ in crcs(data, pause=pause, before=before)]
    assert seen == [zlib.crc32(data[:size]) for size in range(len(data) + 1)]


@settings(max_examples=30)
@given(st.binary(max_size=20).map(lambda data: 2 * data), st.integers(0, 2))
def test_two_bytes_at_once(data, pause):
    seen = [crc for crc, _ in crcs(data, pause=pause, before=b"ab", at_once=2)]
    assert seen == [zlib.crc32(data[:size]) for size in range(0, len(data) + 1, 2)]


@settings(max_examples=30)
@given(st.binary(max_size=40))
def test_only_a_whole_frame_matches(data):
    frame = data + zlib.crc32(data).to_bytes(4, "little")
    assert [match for _, match in crcs(frame)] == [0] * len(frame) + [1]


@pytest.mark.parametrize("bit", range(0, 64, 7))
def test_a_wrong_bit_does_not_match(bit):
    frame = bytearray(b"abcd" + zlib.crc32(b"abcd").to_bytes(4, "little"))
    frame[bit // 8] ^= 1 << bit % 8
    assert crcs(bytes(frame))[-1][1] == 0


@settings(max_examples=20)
@given(st.binary(max_size=12), st.binary(max_size=5))
def test_the_serial_form_sends_the_same_crc(data, before):
    dut = SerialCrc32()
    sent = []

    async def testbench(ctx):
        async def shift(value: int) -> None:
            for bit in range(8):
                ctx.set(dut.bit, value >> bit & 1)
                ctx.set(dut.shift, 1)
                await ctx.tick()
            ctx.set(dut.shift, 0)

        for byte in before:
            await shift(byte)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        for byte in data:
            await shift(byte)
            await wait(ctx, 2)
        ctx.set(dut.out, 1)
        for _ in range(4):
            sent.append(ctx.get(dut.byte))
            await shift(0xA5)

    simulate(dut, testbench)
    assert bytes(sent) == zlib.crc32(data).to_bytes(4, "little")
