"""Simulation of the ECP5 netlists of a small accelerator.

yosys and nextpnr process the accelerator with its link as for a board. Each netlist, with models of
the primitives (``sim/primitives``), becomes the program of a simulated link
(`residuum.sim.link.simulated`). A host compares every train with the golden model.
"""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amaranth.back import rtlil

from residuum.boards.build import toolchain
from residuum.boards.build.progress import LayoutLog, SynthesisLog, phase
from residuum.boards.build.synth import synthesise
from residuum.boards.build.toolchain import alone_in
from residuum.hw.accelerator import Accelerator
from residuum.hw.isa.config import RECEIVE_UNIT, EngineConfig
from residuum.hw.isa.memories import LUT_ROWS
from residuum.sim.external.accelerator import AcceleratorWithMemory
from residuum.sim.external.engine import STORAGE, sdram_chip
from residuum.sim.link.simulated import ChildLink, build_link
from residuum.sim.netlist.graph import graph_network
from residuum.sim.verilator.build import verilog_text
from residuum.sw.compiler.program import Program, compile_network, grow_to_fit
from residuum.sw.host.classifier import Classifier
from residuum.sw.host.device import Device
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from residuum.sw.progress import SILENT, Reporter

if TYPE_CHECKING:
    import numpy as np

    from residuum.sw.trace.compare import Comparison

__all__ = [
    "check",
    "measure",
    "netlist_sources",
    "place_and_route",
    "small_config",
    "synthesise_netlist",
]

PRIMITIVES = tuple(sorted(Path(__file__).parents[1].joinpath("primitives").glob("*.v")))

# Two tiles, so that a fault in one bank or tile shows. Four steps: two for the probe.
LANES, TILE_LANES, STEPS = 4, 2, 4
NAME = "accelerator"
# The pins stay unconnected: any device with enough pins for the ports of the link will do.
_DEVICE = ("--25k", "--package", "CABGA256", "--lpf-allow-unconstrained")
# Low enough for any placement, since only the function is checked.
_MEGAHERTZ = 25

Netlist = dict[str, Any]
OnLine = Callable[[str], None]


def ignore_line(line: str) -> None:
    """Ignore a line of a tool's output."""


def small_config(*networks: IntegerNetwork, steps: int = STEPS) -> EngineConfig:
    """A small engine with DP16KD memories, large enough for each of the networks."""
    smallest = EngineConfig(
        lanes=LANES,
        tile_lanes=TILE_LANES,
        event_width=2,
        steps=steps,
        weight_rows=1,
        feature_rows=2,
        parameter_rows=1,
        logit_rows=LUT_ROWS + 1,
        table_entries=2,
        layers=1,
        receive_words=3 * RECEIVE_UNIT,
        memory="ecp5",
    )
    return functools.reduce(
        lambda config, network: grow_to_fit(network, config), networks, smallest
    )


def synthesise_netlist(program: Program, folder: Path, *, on_line: OnLine = ignore_line) -> Netlist:
    """The ``synth_ecp5`` netlist of the accelerator with a program in its memories, and with its
    SDRAM controller if it has an external memory."""
    held = dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))
    design: Any = Accelerator(program.config, program=held, name=program.network.name)
    if program.config.external:
        design = AcceleratorWithMemory(design)
    text = rtlil.convert(design, platform=None, emit_src=False)
    synthesise(text, name=NAME, folder=folder, on_line=on_line)
    return _load(folder / f"{NAME}.netlist.json")


def place_and_route(folder: Path, *, on_line: OnLine = ignore_line) -> Netlist:
    """Place and route the netlist that `synthesise_netlist` left in the folder."""
    files = ("--json", f"{NAME}.netlist.json", "--write", f"{NAME}.routed.json")
    log = f"{NAME}.nextpnr.log"
    arguments = [*_DEVICE, *files, "--freq", str(_MEGAHERTZ)]
    if toolchain.run("nextpnr-ecp5", arguments, folder=folder, log=log, on_line=on_line) != 0:
        raise toolchain.failure("nextpnr-ecp5", f"place and route {NAME}", folder / log)
    netlist = _load(folder / f"{NAME}.routed.json")
    _spell_out(netlist)
    return netlist


def netlist_sources(netlist: Netlist, folder: Path) -> dict[str, str]:
    """Verilog of a netlist and of its primitives for Verilator, texts by file name; with the model
    of an SDRAM chip, if it has a bus for one.

    Names of cells and wires are dropped, since they would be most of the text.
    """
    bare = {
        "ports": _top(netlist)["ports"],
        "cells": {
            f"cell_{index}": {**cell, "attributes": {}, "hide_name": 1}
            for index, cell in enumerate(_top(netlist)["cells"].values())
        },
    }
    around, module = {}, "top"
    if any(name.startswith("bus__") for name in bare["ports"]):
        module = "board"
        around = {
            "top.v": _top_with_chip(bare["ports"], module),
            "chip.v": verilog_text(sdram_chip(), name="chip"),
            STORAGE.name: STORAGE.read_text(),
        }
    (folder / "bare.json").write_text(json.dumps({"modules": {module: bare}}))
    script = "read_json bare.json; write_verilog -noattr bare.v"
    if toolchain.run("yosys", ["-q", "-p", script], folder=folder, log="bare.log") != 0:
        raise toolchain.failure("yosys", "turn the netlist into Verilog", folder / "bare.log")
    # Drop the first line, which names the build of yosys.
    text = (folder / "bare.v").read_text().split("*/\n", 1)[-1]
    return {"netlist.v": text} | around | {path.name: path.read_text() for path in PRIMITIVES}


def _top_with_chip(ports: Mapping[str, Any], module: str) -> str:
    """A module ``top`` with a netlist and the model of a chip on its bus."""
    outer = {name: port for name, port in ports.items() if not name.startswith("bus__")}
    width = {name: f"[{len(port['bits']) - 1}:0]" for name, port in ports.items()}
    lines = ["module top("]
    lines += [",\n".join(f"  {port['direction']} {width[n]} {n}" for n, port in outer.items())]
    lines += [");"]
    lines += [f"  wire {width[name]} {name};" for name in ports if name not in outer]
    lines += [f"  {module} board(", ",\n".join(f"    .{name}({name})" for name in ports), "  );"]
    inner = [name for name in ports if name not in outer]
    lines += ["  chip chip(.clk(clk), .rst(rst),"]
    lines += [",\n".join(f"    .{name}({name})" for name in inner), "  );", "endmodule", ""]
    return "\n".join(lines)


def check(
    link: ChildLink,
    network: IntegerNetwork,
    images: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    load: bool,
    done: Callable[[], None] = lambda: None,
) -> Comparison:
    """Classify images over the link and compare all results with the golden model.

    Parameters
    ----------
    load
        Load the network first. Otherwise the memories must already hold it; each differing word of
        the program is a mismatch.
    done
        Called after each image.

    Raises
    ------
    ResiduumError
        If the device does not answer, or its answer is invalid.
    """
    from residuum.sw.golden.golden_model import simulate
    from residuum.sw.host.check import wrong_answer
    from residuum.sw.trace.compare import Comparison, compare
    from residuum.sw.trace.engine_trace import EngineTrace

    golden = simulate(network, images, tau=tau, T=T, correction=correction)
    traces, wrong = [], ""
    with Device(link) as device:
        classifier = Classifier(device, network, tau=tau, T=T, correction=correction)
        if load:
            classifier.load()
        elif words := classifier.differing_words():
            return Comparison(words, f"{words} words of the program differ")
        for index, image in enumerate(images):
            wrong = wrong or wrong_answer(classifier, image, golden, index)
            traces.append(classifier.trace(image))
            done()
    found = compare(network, EngineTrace.stack(traces), golden)
    if wrong and not found.mismatches:
        return Comparison(1, wrong)
    return found


def cells(netlist: Netlist) -> dict[str, int]:
    """Number of cells in a netlist, by type."""
    return dict(sorted(Counter(cell["type"] for cell in _top(netlist)["cells"].values()).items()))


def _top(netlist: Netlist) -> dict[str, Any]:
    top: dict[str, Any] = netlist["modules"]["top"]
    return top


def _load(path: Path) -> Netlist:
    """The top module of a netlist in yosys's JSON, without its $scopeinfo cells, and with its
    disconnected outputs open, as Verilog has them."""
    top = json.loads(path.read_bytes())["modules"]["top"]
    kept = {name: cell for name, cell in top["cells"].items() if cell["type"] != "$scopeinfo"}
    for cell in kept.values():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "output" and bits == ["x"]:
                cell["connections"][pin] = []
    return {"modules": {"top": {**top, "cells": kept}}}


def _spell_out(netlist: Netlist) -> None:
    """Make the implicit behaviour of the device explicit in a routed netlist.

    Connects open inputs to the values that they read, and drops the other open pins. Sets the
    multiplexer of each LUT, which depends on its position in the half slice. Adds the direction of
    a pin to the type of its cell.
    """
    for cell in _top(netlist)["cells"].values():
        connections, directions = cell["connections"], cell["port_directions"]
        for pin, bits in list(connections.items()):
            if not bits:
                read = _open(cell["type"], pin) if directions[pin] == "input" else None
                if read is None:
                    del connections[pin]
                else:
                    connections[pin] = [read]
        if cell["type"] == "TRELLIS_COMB":
            cell["parameters"]["IS_Z1"] = "01"[cell["attributes"]["NEXTPNR_BEL"].endswith("K1")]
        elif cell["type"] == "TRELLIS_IO":
            cell["type"] += f"_{cell['parameters']['DIR']}"


def _open(kind: str, pin: str) -> str | None:
    """The value that an open input of a cell reads; None if the cell does not use the input."""
    if kind in ("DP16KD", "TRELLIS_RAMW") or (kind == "TRELLIS_COMB" and pin in "ABCD"):
        return "1"
    # No local reset; no carry into the first cell of a chain.
    return "0" if (kind, pin) in (("TRELLIS_FF", "LSR"), ("TRELLIS_COMB", "FCI")) else None


def measure(
    model: str,
    held: IntegerNetwork,
    loaded: IntegerNetwork,
    images: np.ndarray,
    folder: Path,
    *,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Make both netlists in a folder, classify images on each, and return the report.

    Parameters
    ----------
    model
        Name for the report.
    held, loaded
        The network in the memories at power-up, and the network that is loaded afterwards. Last, a
        `graph_network` is loaded.

    Raises
    ------
    ResiduumError
        If a tool is missing or fails, or a device does not answer.
    """
    with alone_in(folder, reporter):
        return _measure(model, held, loaded, images, folder, reporter)


def _measure(
    model: str,
    held: IntegerNetwork,
    loaded: IntegerNetwork,
    images: np.ndarray,
    folder: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """`measure` in a folder that no other command uses."""
    started = time.monotonic()
    graph = graph_network(held.input_shape, small_config(held, loaded))
    config = small_config(held, loaded, graph)
    steps: dict[str, Any] = {"tau": config.steps // 2, "T": config.steps - config.steps // 2}
    found: dict[str, dict[str, Any]] = {}

    def classify(stage: str, program: Path, network: IntegerNetwork, load: bool) -> Comparison:
        link = ChildLink(program, name=f"the {stage} netlist")
        what = f"{stage}: {network.name}, {network.weight_bits}-bit weights"
        run: dict[str, Any] = {"tau": 0, "T": 1} if network.code == RADIX else steps
        with reporter.task(what, total=len(images), unit="images") as task:
            return check(link, network, images, **run, load=load, done=task.advance)

    def simulate(stage: str, netlist: Netlist) -> None:
        with phase(reporter, stage, "compilation"):
            program = build_link(netlist_sources(netlist, folder), name=f"netlist-{stage}")
        with phase(reporter, stage, f"{len(images)} images on three networks"):
            compared = [
                classify(stage, program, held, False),
                classify(stage, program, loaded, True),
                classify(stage, program, graph, True),
            ]
        found[stage] = {
            "cells": cells(netlist),
            "mismatches": sum(one.mismatches for one in compared),
            "first": next((one.first for one in compared if one.first), ""),
        }

    with phase(reporter, "netlist", "synthesis") as show:
        synthesis = SynthesisLog()
        program = compile_network(held, config, **steps)
        netlist = synthesise_netlist(program, folder, on_line=lambda line: show(synthesis(line)))
    simulate("synthesised", netlist)
    with phase(reporter, "netlist", "placement") as show:
        layout = LayoutLog()
        routed = place_and_route(folder, on_line=lambda line: show(layout(line)))
    simulate("routed", routed)
    return {
        "model": model,
        "held_bits": held.weight_bits,
        "loaded_bits": loaded.weight_bits,
        "images": len(images),
        **steps,
        "lanes": config.lanes,
        "tile_lanes": config.tile_lanes,
        "mismatches": sum(result["mismatches"] for result in found.values()),
        "netlists": found,
        "tools": {tool: toolchain.version(tool) for tool in ("yosys", "nextpnr-ecp5")},
        "seconds": round(time.monotonic() - started, 1),
    }
