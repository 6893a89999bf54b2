"""A quick test of the synthesised netlist: few steps and images, and faults that must be found."""

import functools
import re
import tempfile
from pathlib import Path

import pytest

from residuum.sim.link.simulated import ChildLink, build_link
from residuum.sim.netlist import netlist
from residuum.sim.netlist.graph import graph_network
from residuum.sim.netlist.netlist import (
    Netlist,
    check,
    netlist_sources,
    small_config,
    synthesise_netlist,
)
from residuum.sim.verilator import build as verilator
from residuum.sw.compiler.program import compile_network
from residuum.sw.data.held_out import held_out
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from residuum.sw.network.library import load_network

STEPS = netlist.STEPS
# The host does not notice logits that come a cycle early. Only the class shows this fault, and not
# for every image.
IMAGES = 3
# Environment variable with the number of the active fault.
VARIABLE = "RESIDUUM_FAULT"
CELLS = Path(__file__).with_name("netlist_faults.v")
CHOICE = f"""
    #include <cstdlib>
    extern "C" int residuum_fault() {{
        const char* number = std::getenv("{VARIABLE}");
        return number ? std::atoi(number) : 0;
    }}
"""

# Memories by name in the netlist, with the faults to try. The counter memory is missing, since no
# train depends on it.
REGISTER, WRITE, READ = "output register off", "write address bit tied", "read address bit tied"
FAULTS = {
    ("trains", r"bank_0\.trains\.ebr_0_0"): (REGISTER, WRITE, READ),
    ("occupancies", r"bank_0\.occupancies\.ebr_0_0"): (REGISTER,),
    ("descriptors", r"descriptors\.ebr_0_0"): (REGISTER, READ),
    ("tables", r"tables\.ebr_0_0"): (REGISTER, WRITE),
    ("weights", r"tile_0\.weights.*\.ebr_0_0"): (REGISTER, WRITE, READ),
    ("parameters", r"tile_0\.neurons\.parameters\.ebr_0_36"): (REGISTER, READ),
    ("logits", r"tile_1\.logits\.ebr_0_0"): (REGISTER, WRITE),
    ("requests", r"link\.queue\.ring\.ebr_0_0"): (REGISTER,),
    ("replies", r"link\.replies\.ebr_0_0"): (WRITE, READ),
}
CASES = [(memory, fault) for (memory, _), faults in FAULTS.items() for fault in faults]


class Planter:
    """Adds faults at the block memories of a netlist; a variable activates one of them."""

    def __init__(self, netlist: Netlist):
        self.cells = netlist["modules"]["top"]["cells"]
        self.numbers: dict[tuple[str, str], int] = {}
        self._net = 1 + max(
            bit
            for cell in self.cells.values()
            for bits in cell["connections"].values()
            for bit in bits
            if isinstance(bit, int)
        )

    def plant(self, memory: str, pattern: str) -> None:
        (name,) = (name for name in self.cells if re.search(pattern + r"\.dp16kd$", name))
        cell = self.cells[name]
        assert cell["type"] == "DP16KD"
        for port, fault in (("ADA", WRITE), ("ADB", READ)):
            number = self._number(memory, fault)
            # The lowest bit of the address; the pins below it are constant.
            pins = (f"{port}{index}" for index in range(14))
            pin = next(pin for pin in pins if isinstance(cell["connections"][pin][0], int))
            good, cell["connections"][pin] = cell["connections"][pin], self._new()
            self._add("fault_tied", number, good=good, pin=cell["connections"][pin])
        number = self._number(memory, REGISTER)
        unregistered = {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG"}
        other = {**cell, "parameters": cell["parameters"] | unregistered}
        other["connections"] = dict(cell["connections"])
        for pin, bits in list(cell["connections"].items()):
            if cell["port_directions"][pin] == "output" and bits:
                cell["connections"][pin], other["connections"][pin] = self._new(), self._new()
                self._add(
                    "fault_other",
                    number,
                    good=cell["connections"][pin],
                    other=other["connections"][pin],
                    pin=bits,
                )
        self.cells[f"{name} without output register"] = other

    def _number(self, memory: str, fault: str) -> int:
        return self.numbers.setdefault((memory, fault), len(self.numbers) + 1)

    def _new(self) -> list[int]:
        self._net += 1
        return [self._net]

    def _add(self, kind: str, number: int, **connections: list) -> None:
        self.cells[f"{kind} {len(self.cells)}"] = {
            "type": kind,
            "parameters": {"NUMBER": f"{number:032b}"},
            "port_directions": {p: "output" if p == "pin" else "input" for p in connections},
            "connections": connections,
        }


@functools.cache
def networks() -> tuple[IntegerNetwork, IntegerNetwork, IntegerNetwork]:
    """The network in the memories at power-up, and two that are loaded over the link."""
    held, loaded = load_network("digits", 4), load_network("digits", 8)
    return held, loaded, graph_network(held.input_shape, small_config(held, loaded, steps=STEPS))


@functools.cache
def planted() -> tuple[Path, dict[tuple[str, str], int]]:
    """The program of the netlist with all faults, and the number of each fault."""
    program = compile_network(networks()[0], small_config(*networks(), steps=STEPS), tau=1, T=1)
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        # Compile without optimisation: for few images, compiling takes longer than running.
        flags = tuple(
            flag.replace("OPT_FAST=-O3", "OPT_FAST=-O0") for flag in verilator._MAKE_FLAGS
        )
        patch.setattr(verilator, "_MAKE_FLAGS", flags)
        netlist = synthesise_netlist(program, Path(scratch))
        planter = Planter(netlist)
        for memory, pattern in FAULTS:
            planter.plant(memory, pattern)
        sources = netlist_sources(netlist, Path(scratch))
        sources |= {CELLS.name: CELLS.read_text(), "fault.cpp": CHOICE}
        return build_link(sources, name="netlist-faults"), planter.numbers


def mismatches(fault: tuple[str, str] | None, *, index: int = 1) -> int | str:
    """The number of differences from the golden model on a network, or the host's error message."""
    program, numbers = planted()
    network = networks()[index]
    tau = 0 if network.code == RADIX else 1
    images, _ = held_out(networks()[0], "digits", IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(numbers[fault] if fault else 0))
        link = ChildLink(program, name="the netlist")
        if fault:
            # Short timeouts, since a fault may stop the engine.
            link.latency, link.run_seconds = 2.0, 0.0
        try:
            return check(link, network, images, tau=tau, T=1, load=index > 0).mismatches
        except ResiduumError as error:
            return str(error)


@pytest.mark.parametrize("index", [0, 1, 2], ids=["held", "loaded", "graph"])
def test_the_netlist_computes_the_trains_of_the_model(index):
    assert mismatches(None, index=index) == 0


def test_the_graph_has_the_layers_that_chains_have_not():
    held, loaded, _ = networks()
    graph = graph_network(held.input_shape, small_config(held, loaded))
    program = compile_network(graph, small_config(held, loaded, graph), tau=0, T=1)
    layers = [plan.descriptor for plan in program.layers]
    for name in ("bits", "two_sources", "second_shift", "max_y", "position_lanes", "first_lane"):
        assert any(getattr(descriptor, name) for descriptor in layers), name
    assert program.maps[4].row == program.maps[2].row


@pytest.mark.parametrize(
    ("memory", "fault"),
    [
        # Each case takes seconds of a core: a fifth of them is enough for every day.
        pytest.param(*case, marks=() if number % 5 == 0 else pytest.mark.long)
        for number, case in enumerate(CASES)
    ],
)
def test_a_wrong_use_of_a_block_memory_is_told(memory, fault):
    assert mismatches((memory, fault)) != 0
