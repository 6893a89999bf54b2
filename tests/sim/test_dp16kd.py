"""The model of DP16KD, as used by the engine and by yosys, and as described in the guide."""

import functools
import random
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from residuum.boards.build import toolchain
from residuum.hw.memory.block import BlockMemory
from residuum.sim.verilator.build import verilog_text
from tests.sim.vectors import MODELS, Bench, Module

# ---------------------------------------------------------------------------------------------
# As used by `BlockMemory`: every geometry, several cells in width and depth. The expected words
# come from a dictionary.

SHAPES = [(36, 512), (40, 300), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384), (33, 1500)]
LATENCY = 2


def lone_lines(depth: int) -> list[int]:
    """Addresses that distinguish all address lines, and the last address."""
    return sorted({0, *(1 << line for line in range((depth - 1).bit_length())), depth - 1})


@functools.cache
def block_memories() -> Bench:
    modules, sources = [], dict(MODELS)
    for width, depth in SHAPES:
        name = f"memory_{width}_{depth}"
        memory = BlockMemory(width=width, depth=depth, ecp5=True)
        sources[f"{name}.v"] = verilog_text(memory, name=name)
        address = (depth - 1).bit_length()
        inputs = {"read_address": address, "write_address": address}
        inputs |= {"write_enable": 1, "write_data": width}
        if re.search(r"\brst\b", sources[f"{name}.v"]):
            inputs["rst"] = 1
        modules.append(Module(name, inputs, {"read_data": width}))
    return Bench("block-memories", sources, modules)


@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_a_block_memory_holds_what_was_written(width, depth):
    rng = random.Random(width)
    addresses = lone_lines(depth)
    held = dict.fromkeys(addresses, 0)
    vectors, expected = [], []
    for _ in range(300):
        write, read = rng.sample(addresses, 2)
        vectors.append(
            {
                "read_address": read,
                "write_address": write,
                "write_enable": rng.getrandbits(1),
                "write_data": rng.getrandbits(width),
            }
        )
        expected.append(held[read])
        if vectors[-1]["write_enable"]:
            held[write] = vectors[-1]["write_data"]
    seen = block_memories().run(f"memory_{width}_{depth}", vectors)
    # Outputs are sampled after the clock edge of their vector, the first of LATENCY cycles.
    read = [row["read_data"] for row in seen[LATENCY - 1 :]]
    assert read == expected[: len(read)]


@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_reading_what_is_being_written_gives_no_word_of_the_two(width, depth):
    ones = (1 << width) - 1
    vector = {"read_address": 1, "write_address": 1, "write_enable": 1, "write_data": ones}
    seen = block_memories().run(f"memory_{width}_{depth}", [vector, vector, vector])
    assert [row["read_data"] for row in seen] == [0, ones, 0]


# ---------------------------------------------------------------------------------------------
# As used by yosys: memories in Verilog against their netlist from synth_ecp5.

PINS = ("we", "re", "rst", "wa", "ra", "wd", "be")


@dataclass(frozen=True)
class Inferred:
    """A memory of `width` x `depth` whose ``body`` writes ``words`` and reads them into ``q``."""

    width: int
    depth: int
    body: str

    @property
    def widths(self) -> dict[str, int]:
        address = (self.depth - 1).bit_length()
        sizes = {"wa": address, "ra": address, "wd": self.width, "be": 4}
        return {pin: sizes.get(pin, 1) for pin in PINS}

    def verilog(self, name: str) -> str:
        rng = random.Random(name)
        words = (
            f"words[{address}] = {self.width}'d{rng.getrandbits(self.width)};"
            for address in lone_lines(self.depth)
        )
        pins = ", ".join(f"input [{width - 1}:0] {pin}" for pin, width in self.widths.items())
        return f"""
            module {name}(input clk, {pins}, output reg [{self.width - 1}:0] q);
              (* ram_style = "block" *) reg [{self.width - 1}:0] words[0:{self.depth - 1}];
              initial begin q = 0; {" ".join(words)} end
              {self.body}
            endmodule
        """


def clocked(text: str, edge: str = "posedge clk") -> str:
    return f"always @({edge}) begin {text} end\n"


def bytewise(width: int, size: int) -> str:
    parts = ((byte, f"[{byte * size} +: {size}]") for byte in range(width // size))
    return " ".join(f"if (we & be[{byte}]) words[wa]{part} <= wd{part};" for byte, part in parts)


WRITE = "if (we) words[wa] <= wd;"
READ = "if (re) q <= words[ra];"
RESET = f"if (rst) q <= 0; else {READ}"
INFERRED = {
    "enable_36": Inferred(36, 512, clocked(WRITE + READ)),
    "enable_18": Inferred(18, 1024, clocked(WRITE + READ)),
    "enable_9": Inferred(9, 2048, clocked(WRITE + READ)),
    "enable_4": Inferred(4, 4096, clocked(WRITE + READ)),
    "enable_2": Inferred(2, 8192, clocked(WRITE + READ)),
    "enable_1": Inferred(1, 16384, clocked(WRITE + READ)),
    "bytes_36": Inferred(36, 512, clocked(bytewise(36, 9) + READ)),
    "bytes_18": Inferred(18, 1024, clocked(bytewise(18, 9) + READ)),
    "reset_36": Inferred(36, 512, clocked(WRITE + RESET)),
    "reset_18": Inferred(18, 1024, clocked(WRITE + RESET)),
    "at_once_9": Inferred(9, 2048, clocked(WRITE) + clocked(RESET, "posedge clk, posedge rst")),
    "falling_9": Inferred(9, 2048, clocked(WRITE + READ, "negedge clk")),
    # One port writes and reads: the output during a write.
    "kept_9": Inferred(9, 2048, clocked("if (re) if (we) words[wa] <= wd; else q <= words[wa];")),
    "old_9": Inferred(9, 2048, clocked(f"if (re) begin {WRITE} q <= words[wa]; end")),
    "new_18": Inferred(18, 1024, clocked(f"if (re) begin {WRITE} q <= we ? wd : words[wa]; end")),
}


@functools.cache
def synthesised() -> Bench:
    """The memories, and the netlist of all of them together."""
    source = "".join(case.verilog(name) for name, case in INFERRED.items())
    inputs = {f"{n}_{pin}": w for n, case in INFERRED.items() for pin, w in case.widths.items()}
    outputs = {f"{name}_q": case.width for name, case in INFERRED.items()}
    ports = ["input clk", *(f"input [{width - 1}:0] {pin}" for pin, width in inputs.items())]
    ports += [f"output [{width - 1}:0] {pin}" for pin, width in outputs.items()]
    source += f"module source({', '.join(ports)});\n"
    for name in INFERRED:
        pins = ", ".join(f".{pin}({name}_{pin})" for pin in (*PINS, "q"))
        source += f"{name} {name}_(.clk(clk), {pins});\n"
    source += "endmodule\n"
    script = (
        "read_verilog source.v; synth_ecp5 -top source; rename source netlist; "
        "tee -o cells.txt stat; write_verilog -noattr netlist.v"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "source.v").write_text(source)
        status = toolchain.run("yosys", ["-q", "-p", script], folder=folder, log="log")
        assert status == 0, (folder / "log").read_text()
        netlist = (folder / "netlist.v").read_text().split("*/\n", 1)[-1]
        # One DP16KD per memory: none was mapped to flip-flops.
        cells = (folder / "cells.txt").read_text()
    assert re.search(rf"\b{len(INFERRED)}\s+DP16KD", cells), cells
    sources = {**MODELS, "source.v": source, "netlist.v": netlist}
    modules = [Module(name, inputs, outputs) for name in ("source", "netlist")]
    return Bench("inferred-memories", sources, modules)


@pytest.mark.parametrize("name", INFERRED)
def test_a_memory_that_yosys_infers_is_that_of_the_source(name):
    case, rng = INFERRED[name], random.Random(name)
    addresses = lone_lines(case.depth)

    def vector() -> dict[str, int]:
        values = {pin: rng.getrandbits(width) for pin, width in case.widths.items()}
        values |= {"re": rng.random() < 0.8, "rst": rng.random() < 0.1}
        values |= {"wa": rng.choice(addresses), "ra": rng.choice(addresses)}
        return {f"{name}_{pin}": value for pin, value in values.items()}

    vectors = [vector() for _ in range(600)]
    source, netlist = (
        [row[f"{name}_q"] for row in synthesised().run(module, vectors)]
        for module in ("source", "netlist")
    )
    assert len(set(source)) > 1
    assert netlist == source


# ---------------------------------------------------------------------------------------------
# By pin, after the guide: enables, selects, resets, pin multiplexers, ports of two widths.

BUSES = {"CS": 3, "AD": 14, "DI": 18}
SINGLES = ("CE", "OCE", "WE", "RST")
WIDE = {"DATA_WIDTH_A": "36", "DATA_WIDTH_B": "36"}
OUTREG = {"REGMODE_A": '"OUTREG"', "REGMODE_B": '"OUTREG"'}
CELLS = {
    "plain": {},
    "registered": OUTREG,
    "at_once": OUTREG | {"RESETMODE": '"ASYNC"'},
    "selected": {"CSDECODE_A": '"0b101"', "CSDECODE_B": '"0b010"'},
    "inverted": {"WEAMUX": '"INV"', "DIA0MUX": '"INV"', "DIA1MUX": '"1"', "ADA4MUX": '"0"'},
    "nine_of_18": {"DATA_WIDTH_B": "9"},
    "18_of_36": {"DATA_WIDTH_A": "36"},
    "one_of_36": {"DATA_WIDTH_A": "36", "DATA_WIDTH_B": "1"},
    "whole_36": WIDE,
    "started": {
        "INITVAL_00": f"320'd{(0x1ABCD << 20) + 0x25A5A}",
        "INITVAL_3F": "{2'b0, 18'h31234, 300'b0}",
    },
}


@functools.cache
def pinned() -> Bench:
    """One cell of each kind, with its pins grouped to buses ``ADA``, ``DIA`` and so on."""
    modules, text = [], []
    for name, parameters in CELLS.items():
        inputs = {f"{bus}{port}": width for bus, width in BUSES.items() for port in "AB"}
        inputs |= {f"{pin}{port}": 1 for pin in SINGLES for port in "AB"}
        outputs = {"DOA": 18, "DOB": 18}
        declared = [f"input [{width - 1}:0] {pin}" for pin, width in inputs.items()]
        declared += [f"output [{width - 1}:0] {pin}" for pin, width in outputs.items()]
        pins = [f".{pin}{port}({pin}{port})" for pin in SINGLES for port in "AB"]
        pins += [f".CLK{port}(clk)" for port in "AB"]
        for bus, width in [*BUSES.items(), ("DO", 18)]:
            pins += [f".{bus}{p}{i}({bus}{p}[{i}])" for p in "AB" for i in range(width)]
        given = ", ".join(f".{key}({value})" for key, value in parameters.items())
        text.append(f"module pins_{name}(input clk, {', '.join(declared)});")
        text.append(f"DP16KD #({given}) cell_({', '.join(pins)});\nendmodule\n")
        modules.append(Module(f"pins_{name}", inputs, outputs))
    return Bench("pins-of-dp16kd", MODELS | {"pins.v": "\n".join(text)}, modules)


ON = {"CEA": 1, "CEB": 1, "OCEA": 1, "OCEB": 1}
# A row, its two byte enables set.
ROW = 3 << 4
WRITE_ROW = {"WEA": 1, "ADA": ROW | 3, "ADB": 0}
READ_ROW = {"ADB": ROW, "ADA": 0}


def read_b(name: str, vectors: list[dict[str, int]]) -> list[int]:
    return [row["DOB"] for row in pinned().run(f"pins_{name}", vectors)]


def test_a_word_appears_at_the_clock_and_with_the_register_one_later():
    steps = [ON | WRITE_ROW | {"DIA": 0x2BEEF}, ON | READ_ROW, ON, ON]
    assert read_b("plain", steps) == [0, 0x2BEEF, 0, 0]
    assert read_b("registered", steps) == [0, 0, 0x2BEEF, 0]


def test_without_ce_a_port_neither_writes_nor_reads():
    write, read = ON | WRITE_ROW | {"DIA": 7}, ON | READ_ROW
    assert read_b("plain", [write | {"CEA": 0}, read]) == [0, 0]
    assert read_b("plain", [write, read | {"CEB": 0}]) == [0, 0]
    assert read_b("plain", [write, read, ON | {"CEB": 0}]) == [0, 7, 7]


def test_without_oce_the_output_register_waits_and_nothing_else():
    write, read = ON | WRITE_ROW | {"DIA": 7}, ON | READ_ROW
    assert read_b("registered", [write, read, read | {"OCEB": 0}, read]) == [0, 0, 0, 7]
    assert read_b("plain", [write, read | {"OCEB": 0}]) == [0, 7]


def test_a_port_works_only_where_its_select_pins_say_so():
    write, read = ON | WRITE_ROW | {"DIA": 7}, ON | READ_ROW
    for a, b, word in ((5, 2, 7), (4, 2, 0), (5, 3, 0), (0, 0, 0)):
        assert read_b("selected", [write | {"CSA": a}, read | {"CSB": b}]) == [0, word]


def test_reset_clears_the_outputs_whatever_the_enables_and_blocks_writes():
    write, read = ON | WRITE_ROW | {"DIA": 7}, ON | READ_ROW
    reset = {"RSTB": 1, "CEB": 0, "OCEB": 0}
    for name in ("registered", "at_once"):
        # The array keeps its words.
        assert read_b(name, [write, read, read, reset, read, read]) == [0, 0, 7, 0, 0, 7]
        assert read_b(name, [write | {"RSTA": 1}, read, read]) == [0, 0, 0]


def test_byte_enables():
    both = ON | WRITE_ROW | {"DIA": 0x3FFFF}
    for enables, word in ((0, 0), (1, 0x001FF), (2, 0x3FE00), (3, 0x3FFFF)):
        steps = [both | {"ADA": ROW | enables}, ON | READ_ROW]
        assert read_b("plain", steps) == [0, word]


def test_pins_can_be_inverted_and_held():
    # Write enable and data bit 0 are inverted, data bit 1 is tied to 1, and address pin 4 to 0, so
    # that row 2 is written instead of row 3.
    write = ON | WRITE_ROW | {"WEA": 0, "DIA": 0x10}
    rest = ON | {"WEA": 1}
    assert read_b("inverted", [write, rest | {"ADB": 2 << 4}, rest | {"ADB": 3 << 4}]) == [
        0,
        0x13,
        0,
    ]


def test_ports_of_two_widths_see_the_same_rows():
    row = ON | WRITE_ROW | {"DIA": 0x2BEEF}
    halves = [ON | {"ADB": ROW | half << 3} for half in (0, 1)]
    assert read_b("nine_of_18", [row, *halves]) == [0, 0x2BEEF & 0x1FF, 0x2BEEF >> 9]

    pair = ON | {"WEA": 1, "ADA": (1 << 5) | 15, "DIA": 0x10001, "DIB": 0x20002}
    rows = [ON | {"ADB": (1 << 5) | half << 4} for half in (0, 1)]
    assert read_b("18_of_36", [pair, *rows]) == [0, 0x10001, 0x20002]

    seen = pinned().run("pins_whole_36", [pair, ON | {"ADB": 1 << 5}])[1]
    assert seen == {"DOA": 0x10001, "DOB": 0x20002}

    # The 32 bits other than the ninth bits, in order.
    word = 0x1_0101_8055
    pair |= {"DIA": word & 0x3FFFF, "DIB": word >> 18}
    bits = [ON | {"ADB": (1 << 5) | bit} for bit in range(32)]
    kept = [word >> 9 * byte + bit & 1 for byte in range(4) for bit in range(8)]
    assert read_b("one_of_36", [pair, *bits])[1:] == kept


def test_initial_words_lie_in_20_bits_each():
    reads = [ON | {"ADB": row << 4} for row in (0, 1, 2, 1023)]
    assert read_b("started", reads) == [0x25A5A, 0x1ABCD, 0, 0x31234]
