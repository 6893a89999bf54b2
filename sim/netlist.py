"""The ECP5 netlists of a small accelerator, simulated: ``residuum netlist``.

The accelerator with its link goes through yosys, and through nextpnr, as for a board. Both
netlists, with models of the primitives (``sim/primitives``), become the program of a simulated link
(`sim.link`); a host loads a network into it and compares every train with the golden model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amaranth.back import rtlil

from boards import toolchain
from boards.synth import synthesise
from hw.accelerator import Accelerator
from hw.config import EngineConfig
from sim.link import ChildLink, build_link
from sw.commands.arguments import add_network, positive_number
from sw.compiler import grow_to_fit
from sw.host.classifier import Classifier
from sw.host.device import Device
from sw.network import IntegerNetwork

if TYPE_CHECKING:
    import numpy as np

    from sw.compare import Comparison

__all__ = ["check", "netlist_config", "netlist_sources", "place_and_route", "synthesise_netlist"]

DESCRIPTION = """\
Synthesise a small accelerator for ECP5, place and route it, and run both netlists with models of
the primitives in Verilator: load a network over the link, classify images, compare every spike
train, mask, logit and class with the golden model. Writes build/netlist/report.json; ends with
status 1 if anything differs."""
EXAMPLES = """\
examples:
  residuum netlist digits               5 digits on both netlists
  residuum netlist digits --images 20   more of them
"""

BUILD = Path(__file__).resolve().parent.parent / "build" / "netlist"
PRIMITIVES = tuple(sorted(Path(__file__).with_name("primitives").glob("*.v")))

# Two tiles, so that banks and tiles are told apart, and few steps: half of them probe, half count.
LANES, TILE_LANES, STEPS = 4, 2, 4
NAME = "accelerator"
# No pin is used: any device will do that has pins enough for the bytes of the link.
_DEVICE = ("--25k", "--package", "CABGA256", "--lpf-allow-unconstrained")
# What is proved here is the function; a clock that every routing meets.
_MEGAHERTZ = 25

Netlist = dict[str, Any]
OnLine = Callable[[str], None]


def ignore_line(line: str) -> None:
    """Nobody looks at what a tool prints."""


def netlist_config(network: IntegerNetwork, *, steps: int = STEPS) -> EngineConfig:
    """A small engine of DP16KD that holds the network."""
    smallest = EngineConfig(
        lanes=LANES,
        tile_lanes=TILE_LANES,
        steps=steps,
        weight_rows=1,
        feature_rows=2,
        channel_groups=1,
        table_entries=2,
        layers=1,
        memory="ecp5",
    )
    return grow_to_fit(network, smallest)


def synthesise_netlist(
    config: EngineConfig, folder: Path, *, on_line: OnLine = ignore_line
) -> Netlist:
    """The netlist of yosys's ``synth_ecp5`` for the accelerator with that engine."""
    text = rtlil.convert(Accelerator(config), platform=None, emit_src=False)
    synthesise(text, name=NAME, folder=folder, on_line=on_line)
    return _load(folder / f"{NAME}.netlist.json")


def place_and_route(folder: Path, *, on_line: OnLine = ignore_line) -> Netlist:
    """What nextpnr makes of the netlist that `synthesise_netlist` has left in the folder."""
    files = ("--json", f"{NAME}.netlist.json", "--write", f"{NAME}.routed.json")
    log = f"{NAME}.nextpnr.log"
    arguments = [*_DEVICE, *files, "--freq", str(_MEGAHERTZ)]
    if toolchain.run("nextpnr-ecp5", arguments, folder=folder, log=log, on_line=on_line) != 0:
        raise toolchain.failure("nextpnr-ecp5", f"place and route {NAME}", folder / log)
    netlist = _load(folder / f"{NAME}.routed.json")
    _spell_out(netlist)
    return netlist


def netlist_sources(netlist: Netlist, folder: Path) -> dict[str, str]:
    """Verilog of a netlist and of the primitives in it, texts by file name, as Verilator takes it.

    Names of cells and wires are dropped: as Verilog they take more room than what they name.
    """
    bare = {
        "ports": _top(netlist)["ports"],
        "cells": {
            f"cell_{index}": {**cell, "attributes": {}, "hide_name": 1}
            for index, cell in enumerate(_top(netlist)["cells"].values())
        },
    }
    (folder / "bare.json").write_text(json.dumps({"modules": {"top": bare}}))
    script = "read_json bare.json; write_verilog -noattr bare.v"
    if toolchain.run("yosys", ["-q", "-p", script], folder=folder, log="bare.log") != 0:
        raise toolchain.failure("yosys", "turn the netlist into Verilog", folder / "bare.log")
    # The first line names the build of yosys.
    text = (folder / "bare.v").read_text().split("*/\n", 1)[-1]
    return {"netlist.v": text} | {path.name: path.read_text() for path in PRIMITIVES}


def check(
    link: ChildLink,
    network: IntegerNetwork,
    images: np.ndarray,
    *,
    tau: int,
    T: int,
    done: Callable[[], None] = lambda: None,
) -> Comparison:
    """Load the network over the link, classify the images, compare everything with the model.

    ``done`` is called after each image.

    Raises
    ------
    ResiduumError
        If the device gives no answer, or a wrong one.
    """
    from sw.compare import compare
    from sw.engine_trace import EngineTrace
    from sw.golden import simulate

    traces = []
    with Device(link) as device:
        classifier = Classifier(device, network, tau=tau, T=T)
        classifier.load()
        for image in images:
            traces.append(classifier.trace(image))
            done()
    golden = simulate(network, images, tau=tau, T=T)
    return compare(network, EngineTrace.stack(traces), golden)


def cells(netlist: Netlist) -> dict[str, int]:
    """Cells of a netlist by type."""
    return dict(sorted(Counter(cell["type"] for cell in _top(netlist)["cells"].values()).items()))


def _top(netlist: Netlist) -> dict[str, Any]:
    top: dict[str, Any] = netlist["modules"]["top"]
    return top


def _load(path: Path) -> Netlist:
    """A netlist in yosys's JSON, without the modules that describe the primitives."""
    read = json.loads(path.read_bytes())
    return {"modules": {"top": read["modules"]["top"]}}


def _spell_out(netlist: Netlist) -> None:
    """Write into a routed netlist what follows from the device rather than from a connection.

    What an open input reads; which multiplexer a table has, by its place in its half slice; the
    direction of a pin, as part of its cell's type. Other open pins are left out.
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
    """What an open input of a cell reads; None where that makes no difference."""
    if kind in ("DP16KD", "TRELLIS_RAMW") or (kind == "TRELLIS_COMB" and pin in "ABCD"):
        return "1"
    # No local reset; no carry at the foot of a chain.
    return "0" if (kind, pin) in (("TRELLIS_FF", "LSR"), ("TRELLIS_COMB", "FCI")) else None


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``residuum netlist``."""
    add_network(parser)
    parser.add_argument(
        "--images",
        type=positive_number,
        default=5,
        metavar="N",
        help="how many held-out images, from the first (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """``residuum netlist``: both netlists, a line for each, ``build/netlist/report.json``."""
    from rich.console import Console

    from boards.progress import Display, LayoutLog, Step, SynthesisLog
    from sw.commands.evaluate import held_out, write_report
    from sw.library import load_network

    started = time.monotonic()
    network = load_network(args.model, args.bits)
    images, _ = held_out(network, args.model, args.images)
    config = netlist_config(network)
    tau = config.steps // 2
    T = config.steps - tau
    report: dict[str, Any] = {
        "model": network.name,
        "bits": network.weight_bits,
        "images": len(images),
        "tau": tau,
        "T": T,
        "lanes": config.lanes,
        "tile_lanes": config.tile_lanes,
        "steps": config.steps,
        "netlists": {},
    }

    def simulated(stage: str, netlist: Netlist) -> None:
        with display.phase(stage, "compiling"):
            program = build_link(netlist_sources(netlist, BUILD), name=f"netlist-{stage}")
        link = ChildLink(program, name=f"the {stage} netlist")
        with display.phase(stage, f"{len(images)} images") as show:
            left = iter(range(len(images) - 1, -1, -1))
            found = check(
                link,
                network,
                images,
                tau=tau,
                T=T,
                done=lambda: show(Step(f"{len(images)} images", f"{next(left)} left")),
            )
        report["netlists"][stage] = {
            "cells": cells(netlist),
            "mismatches": found.mismatches,
            "first": found.first,
        }

    console = Console(stderr=True)
    with Display(console) as display:
        with display.phase("netlist", "synthesis") as show:
            synthesis = SynthesisLog()
            netlist = synthesise_netlist(config, BUILD, on_line=lambda line: show(synthesis(line)))
        simulated("synthesised", netlist)
        with display.phase("netlist", "placement") as show:
            layout = LayoutLog()
            routed = place_and_route(BUILD, on_line=lambda line: show(layout(line)))
        simulated("routed", routed)

    report["mismatches"] = sum(found["mismatches"] for found in report["netlists"].values())
    report["tools"] = {tool: toolchain.version(tool) for tool in ("yosys", "nextpnr-ecp5")}
    report["seconds"] = round(time.monotonic() - started, 1)
    for stage, found in report["netlists"].items():
        print(
            f"{stage} netlist, {sum(found['cells'].values()):,} cells: {len(images)} images, "
            f"tau {tau}, T {T}: {found['mismatches']} mismatches"
        )
        if found["mismatches"]:
            print(f"residuum: the first in the {stage} netlist: {found['first']}", file=sys.stderr)
    write_report(BUILD / "report.json", report)
    return int(report["mismatches"] > 0)
