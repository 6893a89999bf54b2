"""The model of DP16KD: as the engine uses it, as yosys uses it, and after the guide's words."""

import functools
import random
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from boards import toolchain
from hw.memory.block import BlockMemory
from sim.verilator import verilog_text
from tests.sim.vectors import MODELS, Bench, Module

# ---------------------------------------------------------------------------------------------
# As `BlockMemory` uses it: every geometry, several beside and behind each other. A dictionary says
# what must come out.

SHAPES = [(36, 512), (40, 300), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384), (33, 1500)]
LATENCY = 2


def lone_lines(depth: int) -> list[int]:
    """Addresses that tell every address line from every other, and the last one."""
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
    # The outputs are seen after the edge that took the vector in, the first of the two cycles.
    read = [row["read_data"] for row in seen[LATENCY - 1 :]]
    assert read == expected[: len(read)]


@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_reading_what_is_being_written_gives_no_word_of_the_two(width, depth):
    ones = (1 << width) - 1
    vector = {"read_address": 1, "write_address": 1, "write_enable": 1, "write_data": ones}
    seen = block_memories().run(f"memory_{width}_{depth}", [vector, vector, vector])
    assert [row["read_data"] for row in seen] == [0, ones, 0]


# ---------------------------------------------------------------------------------------------
# As yosys uses it: memories in Verilog beside what synth_ecp5 maps them to.

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
    # One port that writes and reads: what it shows of a word that it writes.
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
        # A memory each, none of which was made of flip-flops.
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
