"""SlipDecoder and SlipEncoder against the software's framing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.protocol import END, ESC, ESC_END, ESC_ESC, slip_encode
from residuum.hw.link.slip import SlipDecoder, SlipEncoder
from tests.hw.simulation import simulate
from tests.hw.streams import PAUSES, put, take

# Special bytes are far more frequent than by chance.
BYTES = st.lists(st.sampled_from([END, ESC, ESC_END, ESC_ESC, 0, 0xC1]) | st.integers(0, 255))


def decode(coded: bytes, *, pauses=(0,), damaged: tuple[int, ...] = ()) -> list:
    """Bytes, "end" and "damaged", in order; the wire is damaged before the bytes `damaged`."""
    dut = SlipDecoder()
    seen: list = []

    async def watch(ctx):
        while True:
            _, _, byte, valid, end, wrong = await ctx.tick().sample(
                dut.byte, dut.valid, dut.end, dut.damaged
            )
            seen.extend(["damaged"] * wrong + [byte] * valid + ["end"] * end)

    async def testbench(ctx):
        for index, byte in enumerate(coded):
            if index in damaged:
                ctx.set(dut.coded_damaged, 1)
                await ctx.tick()
                ctx.set(dut.coded_damaged, 0)
            await put(ctx, dut.coded, [byte], pauses)
        await ctx.tick().repeat(2)

    simulate(dut, testbench, background=[watch])
    return seen


def encode(frames: list[bytes], *, give=(0,), accept=(0,)) -> bytes:
    """The bytes on the wire."""
    dut = SlipEncoder()
    plain = [{"byte": END, "end": 1}]
    for frame in frames:
        plain += [{"byte": byte, "end": 0} for byte in frame] + [{"byte": ESC, "end": 1}]
    sent = bytearray()

    async def watch(ctx):
        await take(ctx, dut.coded, sent.append, accept)

    async def testbench(ctx):
        await put(ctx, dut.plain, plain, give)
        await ctx.tick().repeat(20)

    simulate(dut, testbench, background=[watch])
    return bytes(sent)


def test_the_example_of_rfc_1055():
    assert decode(b"\xc0\xdb\xdca\xdb\xdd\xc0") == ["end", END, ord("a"), ESC, "end"]


@pytest.mark.parametrize("pauses", PAUSES.values(), ids=PAUSES)
@settings(max_examples=20)
@given(data=BYTES)
def test_decodes_every_byte(pauses, data):
    assert decode(slip_encode(bytes(data)), pauses=pauses) == ["end", *data, "end"]


@pytest.mark.parametrize("byte", [0, ESC, 0xFF])
def test_an_escape_that_means_nothing_is_damage(byte):
    assert [item for item in decode(bytes([1, ESC, byte, 2])) if item != byte] == [
        1,
        "damaged",
        *([ESC] if byte != ESC else []),
        2,
    ]


def test_an_end_ends_even_behind_an_escape():
    assert decode(bytes([1, ESC, END, 2, END])) == [1, "damaged", "end", 2, "end"]


def test_damage_of_the_wire_is_told_in_its_place():
    assert decode(bytes([1, END, 2, 3]), damaged=(2, 3)) == [1, "end", "damaged", 2, "damaged", 3]


@pytest.mark.parametrize("give", PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("accept", PAUSES.values(), ids=PAUSES)
@settings(max_examples=5)
@given(frames=st.lists(BYTES.map(bytes), max_size=2))
def test_encodes_every_byte(give, accept, frames):
    expected = b"\xc0" + b"".join(slip_encode(frame)[1:] for frame in frames)
    assert encode(frames, give=give, accept=accept) == expected


def test_a_byte_every_second_cycle():
    dut = SlipEncoder()
    cycles = []

    async def testbench(ctx):
        ctx.set(dut.coded.ready, 1)
        ctx.set(dut.plain.valid, 1)
        for _ in range(8):
            cycles.append(ctx.get(dut.coded.valid))
            await ctx.tick()

    simulate(dut, testbench)
    assert cycles == [0, 1] * 4
