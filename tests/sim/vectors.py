"""Drives Verilog modules with one vector per clock, in a program without cocotb."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from residuum.sim.netlist.netlist import PRIMITIVES
from residuum.sim.verilator.build import build_program

MODELS = {path.name: path.read_text() for path in PRIMITIVES}

# Both buses are made wider than 64 bits, so that Verilator always represents them as arrays.
_LEAST_WORDS = 3
_MAIN = """
#include <cstdio>
#include "Vtop.h"
#include "verilated.h"

int main() {
    VerilatedContext context;
    Vtop top(&context);
    while (std::fread(&top.in[0], 4, INPUTS, stdin) == INPUTS) {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        std::fwrite(&top.out[0], 4, OUTPUTS, stdout);
    }
    return 0;
}
"""

Vector = Mapping[str, int]


@dataclass(frozen=True)
class Module:
    """A module, and the widths of its ports other than ``clk``."""

    name: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


class Bench:
    """A program with one instance of each module, each with separate pins."""

    def __init__(self, name: str, sources: Mapping[str, str], modules: Sequence[Module]):
        self.modules = {module.name: module for module in modules}
        self._places: dict[tuple[str, str], int] = {}
        ends = {"in": 0, "out": 0}
        instances = []
        for module in modules:
            pins = [".clk(clk)"]
            for bus, ports in (("in", module.inputs), ("out", module.outputs)):
                for port, width in ports.items():
                    self._places[module.name, port] = ends[bus]
                    pins.append(f".{port}({bus}[{ends[bus]} +: {width}])")
                    ends[bus] += width
            instances.append(f"  {module.name} {module.name}_({', '.join(pins)});")
        words = {bus: max(_LEAST_WORDS, -(-end // 32)) for bus, end in ends.items()}
        self._in_bytes, self._out_bytes = 4 * words["in"], 4 * words["out"]
        ports = f"input [{32 * words['in'] - 1}:0] in, output [{32 * words['out'] - 1}:0] out"
        top = "\n".join([f"module top(input clk, {ports});", *instances, "endmodule\n"])
        main = _MAIN.replace("INPUTS", str(words["in"])).replace("OUTPUTS", str(words["out"]))
        self._program = build_program({**sources, "top.v": top, "main.cpp": main}, name=name)

    def run(self, name: str, vectors: Sequence[Vector]) -> list[dict[str, int]]:
        """The outputs of a module after each clock edge; missing inputs are 0."""
        module = self.modules[name]
        data = b"".join(
            sum(value << self._places[name, port] for port, value in vector.items()).to_bytes(
                self._in_bytes, "little"
            )
            for vector in vectors
        )
        done = subprocess.run([self._program], input=data, stdout=subprocess.PIPE, check=True)
        answers = []
        for start in range(0, len(done.stdout), self._out_bytes):
            bits = int.from_bytes(done.stdout[start : start + self._out_bytes], "little")
            answers.append(
                {
                    port: bits >> self._places[name, port] & (1 << width) - 1
                    for port, width in module.outputs.items()
                }
            )
        return answers
