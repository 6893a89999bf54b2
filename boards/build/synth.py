"""Synthesis of one unit for ECP5, and the resources that it takes: ``residuum synth``.

Figures before place and route, of the netlist that yosys's ``synth_ecp5`` writes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from rich.console import Console
from rich.table import Table

from residuum.boards.build import toolchain
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import SCAN_FIELDS
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder

DESCRIPTION = (
    "Synthesise the engine or a unit of it for ECP5 and print the resources that it takes. "
    "The figures also go to build/synth/UNIT.json, beside the netlist and the log."
)
EXAMPLES = """\
examples:
  residuum synth                     the engine with 16 lanes and 8 steps
  residuum synth --lanes 32          twice the lanes
  residuum synth --weight-rows 1024  a smaller weight store
  residuum synth --unit tile         one of its units alone
"""


def _link(config: EngineConfig) -> Any:
    from residuum.hw.isa.protocol import Identity
    from residuum.hw.link.link import HostLink

    return HostLink(Identity(config=config, clock_hz=150_000_000, digest=b"", name=""))


def _uart(config: EngineConfig) -> Any:
    from residuum.hw.link.uart import Uart

    return Uart(clock_hz=150_000_000, baud=3_000_000)


def _unit(module: str, component: str, *arguments: object) -> Callable[[EngineConfig], Any]:
    """The factory of a component that is made from a configuration and these arguments."""

    def make(config: EngineConfig) -> Any:
        return getattr(importlib.import_module(module), component)(config, *arguments)

    return make


# The one place where a unit's name meets its component.
UNITS: Mapping[str, Callable[[EngineConfig], Any]] = {
    "accelerator": _unit("residuum.hw.accelerator", "Accelerator"),
    "link": _link,
    "uart": _uart,
    "engine": _unit("residuum.hw.engine", "Engine"),
    "sequencer": _unit("residuum.hw.sequencer.sequencer", "Sequencer"),
    "counters": _unit("residuum.hw.sequencer.counters", "Counters"),
    "windows": _unit("residuum.hw.scanner.windows", "WindowGenerator", SCAN_FIELDS),
    "walker": _unit("residuum.hw.scanner.walker", "RowWalker", SCAN_FIELDS),
    "scanner": _unit("residuum.hw.scanner.events", "EventScanner"),
    "bank": _unit("residuum.hw.memory.feature", "FeatureBank"),
    "weights": _unit("residuum.hw.memory.weights", "WeightColumns"),
    "tile": _unit("residuum.hw.array.tile", "Tile"),
    "lanes": _unit("residuum.hw.array.lanes", "LaneArray"),
    "neurons": _unit("residuum.hw.neuron.pipeline", "NeuronPipeline"),
    "argmax": _unit("residuum.hw.neuron.argmax", "ArgMax"),
}


@dataclass(frozen=True)
class Resources:
    """What a netlist takes of an ECP5.

    Attributes
    ----------
    lut4
        All places of a 4-input table: cells LUT4, two per carry cell CCU2C, and six per
        TRELLIS_DPR16X4 (four hold the 16 x 4 memory, two serve its write port).
    lut4_logic, carry, lut_ram
        The parts of that sum, in cells.
    flip_flop
        TRELLIS_FF.
    block_ram
        EBR of 18 Kbit: DP16KD and PDPW16KD.
    multiplier
        MULT18X18D.
    """

    lut4: int
    lut4_logic: int
    carry: int
    lut_ram: int
    flip_flop: int
    block_ram: int
    multiplier: int


def count(cells: Mapping[str, int]) -> Resources:
    """The resources of a netlist from its cells by type."""
    logic, carry, lut_ram = (cells.get(kind, 0) for kind in ("LUT4", "CCU2C", "TRELLIS_DPR16X4"))
    return Resources(
        lut4=logic + 2 * carry + 6 * lut_ram,
        lut4_logic=logic,
        carry=carry,
        lut_ram=lut_ram,
        flip_flop=cells.get("TRELLIS_FF", 0),
        block_ram=cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0),
        multiplier=cells.get("MULT18X18D", 0),
    )


# What yosys is told. Version 0.70 fails an assertion of its own in some designs, when it takes back
# what ABC has mapped; then it is told to forget the second names of wires before, which takes other
# tables for the same logic.
SYNTHESES = (
    "synth_ecp5 -top top",
    "synth_ecp5 -top top -run :map_luts; opt_clean -purge; synth_ecp5 -top top -run map_luts:",
)


def synthesise(
    rtlil_text: str, *, name: str, folder: Path, on_line: Callable[[str], None] = lambda line: None
) -> Resources:
    """Synthesise RTLIL for ECP5; ``NAME.netlist.json`` and the log stay in ``folder``.

    Raises
    ------
    ResiduumError
        If there is no yosys, or if it does not end well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.il").write_text(rtlil_text)
    # Yosys writes a log of its own: nothing of it reaches the output any more once ABC has run.
    output, own = folder / f"{name}.yosys.out", folder / f"{name}.yosys.log"
    for synthesis in SYNTHESES:
        own.unlink(missing_ok=True)
        script = (
            f"read_rtlil {name}.il; {synthesis} -json {name}.netlist.json; "
            f"tee -q -o {name}.stat.json stat -json"
        )
        arguments = ["-l", own.name, "-p", script]
        status = toolchain.run("yosys", arguments, folder=folder, log=output.name, on_line=on_line)
        log = own if own.exists() else output
        if status == 0 or "ERROR: Assert" not in log.read_text(encoding="utf-8"):
            break
    if status != 0:
        raise toolchain.failure("yosys", f"synthesise {name}", log)
    statistics = json.loads((folder / f"{name}.stat.json").read_text())
    return count(statistics["design"]["num_cells_by_type"])


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``residuum synth``."""
    parser.add_argument("--unit", default="engine", help=f"one of: {', '.join(UNITS)}")
    parser.add_argument("--lanes", type=int, default=16, help="output channels side by side")
    parser.add_argument("--steps", type=int, default=8, help="time steps side by side")
    parser.add_argument("--weight-rows", type=int, default=2048, help="rows of the weight store")


def run(args: argparse.Namespace) -> int:
    """``residuum synth``: synthesise, print a table, write ``build/synth/UNIT.json``."""
    if args.unit not in UNITS:
        raise ResiduumError(f"there is no unit {args.unit!r}; the units are {', '.join(UNITS)}")
    try:
        config = EngineConfig.for_lanes(
            args.lanes, steps=args.steps, weight_rows=args.weight_rows, memory="ecp5"
        )
        component = UNITS[args.unit](config)
    except (TypeError, ValueError) as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None
    folder = build_folder() / "synth"
    console = Console()
    started = time.monotonic()
    with console.status(f"synthesising {args.unit} for ECP5, which takes some minutes"):
        text = rtlil.convert(component, platform=None, emit_src=False)
        resources = synthesise(text, name=args.unit, folder=folder)
    report = {
        "unit": args.unit,
        "lanes": args.lanes,
        "steps": args.steps,
        "weight_rows": args.weight_rows,
        **asdict(resources),
        "seconds": round(time.monotonic() - started, 1),
    }
    path = folder / f"{args.unit}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    console.print(_table(args, resources))
    return 0


def _table(args: argparse.Namespace, resources: Resources) -> Table:
    table = Table(
        title=f"{args.unit}: {args.lanes} lanes, {args.steps} steps, "
        f"{args.weight_rows} weight rows, ECP5 after synthesis"
    )
    table.add_column("resource")
    table.add_column("count", justify="right")
    table.add_column("what is counted")
    rows = (
        ("LUT4", resources.lut4, "tables + 2 per carry cell + 6 per LUT memory"),
        ("  tables", resources.lut4_logic, "LUT4"),
        ("  carry cells", resources.carry, "CCU2C"),
        ("  LUT memories", resources.lut_ram, "TRELLIS_DPR16X4, 16 words of 4 bits"),
        ("FF", resources.flip_flop, "TRELLIS_FF"),
        ("EBR", resources.block_ram, "DP16KD + PDPW16KD, 18 Kbit each"),
        ("DSP", resources.multiplier, "MULT18X18D"),
    )
    for name, number, meaning in rows:
        table.add_row(name, f"{number:,}", meaning)
    return table
