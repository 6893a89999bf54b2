"""Models of the slice's primitives: proved equal to yosys's models."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest

from residuum.boards.build import toolchain
from tests.sim.vectors import MODELS

RNG = random.Random(0)
# LUT contents: tables with a single 1 test every bit.
TABLES = [1 << bit for bit in range(16)] + [RNG.getrandbits(16) for _ in range(8)]


def cell(kind: str, parameters: dict[str, object], pins: dict[str, str]) -> str:
    """An instance in Verilog; ``CELL`` is a placeholder for its name."""
    given = ", ".join(f".{key}({value})" for key, value in parameters.items())
    return f"{kind} #({given}) CELL({', '.join(f'.{pin}({to})' for pin, to in pins.items())});"


def module(name: str, cells: list[str]) -> str:
    """All cells on the same inputs; each cell has four outputs, as bits of ``z``."""
    placed = [
        text.replace("CELL", f"cell_{index}").replace("Z[", f"z[{4 * index} + ")
        for index, text in enumerate(cells)
    ]
    ports = f"input clk, input [15:0] i, output [{4 * len(cells) - 1}:0] z"
    return "\n".join([f"module {name}({ports});", *placed, "endmodule\n"])


def proof(ours: list[str], theirs: list[str], *, models: dict[str, str] = MODELS) -> str:
    """Empty if yosys proves both equal for all inputs and at all times, else yosys's log."""
    prepare = "hierarchy -check -top {0}; proc; flatten; memory_map; opt_clean; design -stash {0}"
    script = "; ".join(
        [
            *(f"read_verilog -sv {name}" for name in models if name != "dp16kd.v"),
            "read_verilog ours.v",
            prepare.format("ours"),
            # -nooverwrite: some cells are defined twice.
            "read_verilog -nooverwrite +/ecp5/cells_sim.v",
            "read_verilog theirs.v",
            prepare.format("theirs"),
            "design -copy-from ours ours; design -copy-from theirs theirs",
            "miter -equiv -flatten -make_outputs ours theirs miter",
            "hierarchy -top miter; clk2fflogic; opt_clean",
            "sat -verify -tempinduct -prove trigger 0 -show-inputs miter",
        ]
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, text in models.items():
            (folder / name).write_text(text)
        (folder / "ours.v").write_text(module("ours", ours))
        (folder / "theirs.v").write_text(module("theirs", theirs))
        status = toolchain.run("yosys", ["-p", script], folder=folder, log="log")
        log = (folder / "log").read_text()
    proved = "Induction step proven: SUCCESS!" in log
    assert proved == (status == 0), log[-3000:]
    assert proved or "proof did fail" in log, log[-3000:]
    return "" if proved else log[-3000:]


INPUTS = {"A": "i[0]", "B": "i[1]", "C": "i[2]", "D": "i[3]"}
HALVES = {f"{pin}{half}": f"i[{4 * half + k}]" for half in (0, 1) for k, pin in enumerate("ABCD")}


def tables() -> tuple[list[str], list[str]]:
    """LUTs, and the multiplexers that join them."""
    lut4 = [cell("LUT4", {"INIT": f"16'd{t}"}, INPUTS | {"Z": "Z[0]"}) for t in TABLES]
    wide = [
        cell("PFUMX", {}, {"ALUT": "i[0]", "BLUT": "i[1]", "C0": "i[2]", "Z": "Z[0]"}),
        cell("L6MUX21", {}, {"D0": "i[0]", "D1": "i[1]", "SD": "i[2]", "Z": "Z[0]"}),
    ]
    pins = INPUTS | {"M": "i[4]", "F1": "i[5]", "FXA": "i[6]", "FXB": "i[7]"}
    pins |= {"F": "Z[0]", "OFX": "Z[1]"}
    placed = [
        cell("TRELLIS_COMB", {"INITVAL": f"16'd{t}", "IS_Z1": f"1'b{z1}"}, pins)
        for t in TABLES[-4:]
        for z1 in (0, 1)
    ]
    return [*lut4, *wide, *placed], [*lut4, *wide, *placed]


def carries() -> tuple[list[str], list[str]]:
    """CCU2Cs, and equal pairs of LUTs as placed by nextpnr."""
    ours, theirs = [], []
    for low, high in itertools.product(("NO", "YES"), repeat=2):
        for first, second in zip(TABLES[-8:], reversed(TABLES), strict=False):
            whole = cell(
                "CCU2C",
                {
                    "INIT0": f"16'd{first}",
                    "INIT1": f"16'd{second}",
                    "INJECT1_0": f'"{low}"',
                    "INJECT1_1": f'"{high}"',
                },
                HALVES | {"CIN": "i[8]", "S0": "Z[0]", "S1": "Z[1]", "COUT": "Z[2]"},
            )
            halves = "wire CELL_carry; " + "".join(
                cell(
                    "TRELLIS_COMB",
                    {"MODE": '"CCU2"', "INITVAL": f"16'd{table}", "CCU2_INJECT1": f'"{inject}"'},
                    {pin: HALVES[f"{pin}{half}"] for pin in "ABCD"}
                    | {"F": f"Z[{half}]", "FCI": carry_in, "FCO": carry_out},
                ).replace("CELL(", f"CELL_{half}(")
                for half, table, inject, carry_in, carry_out in (
                    (0, first, low, "i[8]", "CELL_carry"),
                    (1, second, high, "CELL_carry", "Z[2]"),
                )
            )
            ours += [whole, halves]
            theirs += [whole, whole]
    return ours, theirs


def registers() -> tuple[list[str], list[str]]:
    """All ways to enable, reset and clock a register, and data that bypasses the LUT."""
    ours, theirs = [], []
    names = ("CEMUX", "CLKMUX", "LSRMUX", "SRMODE", "REGSET")
    values = (
        ("1", "0", "CE", "INV"),
        ("CLK", "INV"),
        ("LSR", "INV"),
        ("LSR_OVER_CE", "ASYNC"),
        ("RESET", "SET"),
    )
    for chosen in itertools.product(*values):
        given = {name: f'"{value}"' for name, value in zip(names, chosen, strict=True)}
        pins = {"CLK": "clk", "CE": "i[0]", "LSR": "i[1]", "Q": "Z[0]"}
        theirs += [cell("TRELLIS_FF", given, pins | {"DI": "i[2]"})] * 2
        ours += [
            cell("TRELLIS_FF", given | {"SD": '"1"'}, pins | {"DI": "i[2]", "M": "i[3]"}),
            cell("TRELLIS_FF", given | {"SD": '"0"'}, pins | {"DI": "i[3]", "M": "i[2]"}),
        ]
    return ours, theirs


def memories() -> tuple[list[str], list[str]]:
    """Memories of 16 words, read at each address, and LUTs that hold one bit each."""
    ours, theirs = [], []
    places = [("WCK", "WRE", address) for address in range(16)]
    for clock, enable, address in [*places, ("INV", "INV", 5), ("WCK", "1", 10), ("WCK", "0", 3)]:
        parameters = {
            "WCKMUX": f'"{clock}"',
            "WREMUX": f'"{enable}"',
            "INITVAL": "64'd1234567891011",
        }
        pins = {"DI": "i[3:0]", "WAD": "i[7:4]", "WRE": "i[8]", "WCK": "clk"}
        pins |= {"RAD": f"4'd{address}", "DO": "{Z[3], Z[2], Z[1], Z[0]}"}
        ours.append(cell("TRELLIS_DPR16X4", parameters, pins))
        theirs.append(ours[-1])
    for address in range(16):
        pins = {"WD": "i[0]", "WRE": "i[8]", "WCK": "clk", "F": "Z[0]"}
        pins |= {f"WAD{bit}": f"i[{4 + bit}]" for bit in range(4)}
        pins |= {pin: f"1'b{address >> bit & 1}" for bit, pin in enumerate("ABCD")}
        ours.append(cell("TRELLIS_COMB", {"MODE": '"DPRAM"', "INITVAL": "16'd51966"}, pins))
        theirs.append(ours[-1])
    return ours, theirs


SETS = {"tables": tables, "carries": carries, "registers": registers, "memories": memories}


@pytest.mark.parametrize("name", SETS)
def test_the_models_are_proved_equal_to_those_of_yosys(name):
    assert proof(*SETS[name]()) == ""


@pytest.mark.parametrize(
    ("name", "file", "right", "wrong"),
    [
        ("tables", "logic.v", "assign Z = INIT[{D, C, B, A}]", "assign Z = INIT[{D, C, A, B}]"),
        ("tables", "logic.v", "assign OFX = M ? FXB : FXA", "assign OFX = M ? FXA : FXB"),
        ("carries", "logic.v", "propagate ? CIN : INIT[{2'b00, B, A}]", "propagate & CIN"),
        ("carries", "logic.v", "assign COUT = propagate & CIN", "assign COUT = CIN"),
        ("registers", "registers.v", "@(posedge clock, posedge reset)", "@(posedge clock)"),
        ("registers", "registers.v", "initial Q = VALUE", "initial Q = 0"),
        ("memories", "logic.v", "words[{A, C, B, D}]", "words[{D, C, B, A}]"),
        ("memories", "registers.v", "reg [63:0] words = INITVAL", "reg [63:0] words = 0"),
    ],
)
def test_the_proof_finds_a_wrong_model(name, file, right, wrong):
    assert right in MODELS[file]
    assert proof(*SETS[name](), models=MODELS | {file: MODELS[file].replace(right, wrong)}) != ""
