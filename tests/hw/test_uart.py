"""UART against waveforms that are generated and sampled in exact fractions of a bit."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.link.uart import Uart, UartReceiver, UartTransmitter, phase_step
from tests.hw.simulation import refusal, simulate
from tests.hw.streams import put, take, wait

# (clock, baud): few and many clocks per bit, integer and fractional.
RATES = {
    "6 clocks": (18_000_000, 3_000_000),
    "8.3 clocks": (25_000_000, 3_000_000),
    "16 clocks": (48_000_000, 3_000_000),
    "63.3 clocks": (190_000_000, 3_000_000),
}


def levels(data: bytes, bit: Fraction, start: Fraction = Fraction(0), gap: int = 0) -> list[int]:
    """The line in every clock: start bits, data bits lowest first, stop bits and `gap` bits."""
    bits = [1]
    for byte in data:
        bits += [0, *(byte >> place & 1 for place in range(8)), 1, *[1] * gap]
    bits += [1] * 2
    count = int(bit * len(bits) + start)
    return [bits[max(0, int((clock - start) // bit))] for clock in range(count)]


def receive(line: list[int], clock_hz: int, baud: int, *, pauses=(0,)) -> list:
    """Bytes and "damaged", in order."""
    dut = UartReceiver(clock_hz=clock_hz, baud=baud)
    seen: list = []

    async def watch(ctx):
        while True:
            _, _, damaged = await ctx.tick().sample(dut.damaged)
            seen.extend(["damaged"] * damaged)

    async def testbench(ctx):
        for level in line:
            ctx.set(dut.pin, level)
            await ctx.tick()
        await wait(ctx, 5 + max(pauses, default=0))

    async def taker(ctx):
        await take(ctx, dut.bytes, seen.append, pauses)

    simulate(dut, testbench, background=[watch, taker] if pauses else [watch])
    return seen


def transmit(data: bytes, clock_hz: int, baud: int, clocks: int) -> list[int]:
    """The line in every clock."""
    dut = UartTransmitter(clock_hz=clock_hz, baud=baud)
    line = []

    async def testbench(ctx):
        for _ in range(clocks):
            line.append(ctx.get(dut.pin))
            await ctx.tick()

    async def feed(ctx):
        await put(ctx, dut.bytes, data)

    simulate(dut, testbench, feed)
    return line


def read(line: list[int], bit: Fraction) -> bytes:
    """The bytes on a line, sampled in the middle of each bit from the start edge."""
    data, clock = bytearray(), 0
    while 0 in line[clock:]:
        start = line.index(0, clock)
        samples = [line[int(start + bit * place + bit / 2)] for place in range(10)]
        assert (samples[0], samples[9]) == (0, 1)
        data.append(sum(level << place for place, level in enumerate(samples[1:9])))
        clock = int(start + bit * 9 + bit / 2)
    return bytes(data)


@pytest.mark.parametrize(("clock_hz", "baud"), RATES.values(), ids=RATES)
@pytest.mark.parametrize("off", [-0.02, 0, 0.02], ids=["2 % slow", "exact", "2 % fast"])
@pytest.mark.parametrize("phase", [0, 0.3, 0.7])
def test_receives_at_rates_that_differ(clock_hz, baud, off, phase):
    data = b"\x00\xff\x55\xc0\x01\x80"
    bit = Fraction(clock_hz, baud) / Fraction(1 + off)
    line = levels(data, bit, Fraction(phase))
    assert receive(line, clock_hz, baud) == list(data)


@settings(max_examples=20)
@given(st.binary(max_size=5), st.integers(0, 3), st.fractions(0, 1, max_denominator=9))
def test_receives_every_byte(data, gap, phase):
    line = levels(data, Fraction(25, 3), phase, gap)
    assert receive(line, 25_000_000, 3_000_000) == list(data)


@pytest.mark.parametrize("gap", [0, 1, 30])
def test_a_stop_bit_that_is_low_is_damage(gap):
    good = levels(b"\x12", Fraction(8))
    bad = [0] * 8 + [1] * 64 + [0] * 8 + [1] * (16 + 8 * gap)
    assert receive([*good, *bad, *good], 24, 3) == [0x12, "damaged", 0x12]


@pytest.mark.parametrize("bits", [10, 11, 50])
def test_a_break_is_one_damage_however_long(bits):
    good = levels(b"\x12", Fraction(8))
    assert receive([*good, *[0] * 8 * bits, *good], 24, 3) == [0x12, "damaged", 0x12]


@pytest.mark.parametrize("clocks", [1, 3])
@pytest.mark.parametrize("gap", range(8))
@pytest.mark.parametrize("off", [-0.02, 0.02], ids=["2 % slow", "2 % fast"])
def test_a_glitch_is_no_start_bit(clocks, gap, off):
    """The start edge of a byte, not an earlier glitch, sets its sampling times. Otherwise some gaps
    would place the samples near edges, and the difference of the rates would show."""
    byte = levels(b"\x55", Fraction(8) / Fraction(1 + off))
    assert receive([1] * 20 + [0] * clocks + [1] * gap + byte, 24, 3) == [0x55]


def test_a_byte_that_is_not_taken_is_told():
    assert receive(levels(b"\x12\x34\x56", Fraction(8)), 24, 3, pauses=()) == ["damaged"] * 2


def test_a_byte_waits_until_it_is_taken():
    data = b"\x12\x34\x56"
    assert receive(levels(data, Fraction(8)), 24, 3, pauses=(60,)) == list(data)


@pytest.mark.parametrize(("clock_hz", "baud"), RATES.values(), ids=RATES)
def test_transmits(clock_hz, baud):
    data = b"\x00\xff\x55\xc0\x01\x80"
    bit = Fraction(clock_hz, baud)
    line = transmit(data, clock_hz, baud, int(bit * 64))
    assert read(line, bit) == data


@pytest.mark.parametrize(("clock_hz", "baud"), RATES.values(), ids=RATES)
def test_every_edge_is_within_a_clock_of_its_place(clock_hz, baud):
    bit = Fraction(clock_hz, baud)
    line = transmit(b"\x55", clock_hz, baud, int(bit * 14))
    edges = [clock for clock in range(1, len(line)) if line[clock] != line[clock - 1]]
    places = [edges[0] + bit * place for place in range(10)]
    assert len(edges) == len(places)
    assert all(abs(edge - place) < 1.2 for edge, place in zip(edges, places, strict=True))


def test_the_line_is_high_when_there_is_nothing_to_send():
    assert transmit(b"", 24, 3, 50) == [1] * 50


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=4))
def test_both_together(data):
    dut = Uart(clock_hz=25_000_000, baud=3_000_000)
    seen: list[int] = []

    async def testbench(ctx):
        await put(ctx, dut.tx, data)
        await wait(ctx, 100)
        assert not ctx.get(dut.rx_damaged)

    async def wire(ctx):
        while True:
            _, _, level = await ctx.tick().sample(dut.tx_pin)
            ctx.set(dut.rx_pin, level)

    async def taker(ctx):
        await take(ctx, dut.rx, seen.append)

    simulate(dut, testbench, background=[wire, taker])
    assert bytes(seen) == data


@given(st.integers(1_000_000, 400_000_000), st.integers(300, 3_000_000))
def test_the_rate_is_met(clock_hz, baud):
    if clock_hz < 6 * baud:
        return
    bits, step = phase_step(clock_hz=clock_hz, baud=baud)
    assert abs(Fraction(step, 1 << bits) * clock_hz / baud - 1) <= Fraction(1, 2000)
    assert bits <= 32


@pytest.mark.parametrize("unit", [Uart, UartReceiver, UartTransmitter])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"clock_hz": 1e8}, TypeError, "clock_hz must be an integer, not 100000000.0"),
        ({"baud": "9600"}, TypeError, "baud must be an integer, not '9600'"),
        ({"baud": 0}, ValueError, "baud must be at least 1, not 0"),
        (
            {"baud": 3_000_000},
            ValueError,
            "baud must be at most 2000000 (6 clocks per bit at 12000000 Hz), not 3000000",
        ),
    ],
)
def test_parameters_that_cannot_be_are_refused(unit, changes, error, message):
    parameters = {"clock_hz": 12_000_000, "baud": 115_200} | changes
    assert refusal(lambda: unit(**parameters)) == (error, message)
