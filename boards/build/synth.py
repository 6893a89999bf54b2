"""Synthesis for ECP5, and the resources of a netlist or of one unit of the engine.

The figures are taken from the netlist of yosys's ``synth_ecp5``, before place and route.
"""

import importlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from residuum.boards.build import carries, toolchain
from residuum.boards.build.progress import SynthesisLog, phase
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import SCAN_FIELDS
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, write_json, write_whole
from residuum.sw.progress import SILENT, Reporter

REPORT = "report.json"


def _link(config: EngineConfig) -> Any:
    from residuum.hw.isa.protocol import Identity
    from residuum.hw.link.link import HostLink

    return HostLink(Identity(config=config, clock_hz=150_000_000, digest=b"", name=""))


def _uart(config: EngineConfig) -> Any:
    from residuum.hw.link.uart import Uart

    return Uart(clock_hz=150_000_000, baud=3_000_000)


def _packer(config: EngineConfig) -> Any:
    from residuum.hw.host.pixels import PixelPacker

    return PixelPacker(config, depth=4096)


def _sdram(config: EngineConfig) -> Any:
    from residuum.hw.memory.sdram.controller import Controller
    from residuum.hw.memory.sdram.parts import SLOWEST, Timing

    return Controller(SLOWEST, Timing.of(SLOWEST, 142_000_000))


def _sdram_tester(config: EngineConfig) -> Any:
    from residuum.hw.memory.sdram.parts import SLOWEST
    from residuum.hw.memory.sdram.tester import MemoryTester

    return MemoryTester(SLOWEST)


def _unit(module: str, component: str, *arguments: object) -> Callable[[EngineConfig], Any]:
    """The factory of a component with a configuration and these arguments."""

    def make(config: EngineConfig) -> Any:
        return getattr(importlib.import_module(module), component)(config, *arguments)

    return make


# The components that can be synthesised alone, by their names for the user.
UNITS: Mapping[str, Callable[[EngineConfig], Any]] = {
    "accelerator": _unit("residuum.hw.accelerator", "Accelerator"),
    "core": _unit("residuum.hw.core", "Core"),
    "link": _link,
    "packer": _packer,
    "uart": _uart,
    "engine": _unit("residuum.hw.engine", "Engine"),
    "sequencer": _unit("residuum.hw.sequencer.sequencer", "Sequencer"),
    "counters": _unit("residuum.hw.sequencer.counters", "Counters"),
    "windows": _unit("residuum.hw.scanner.windows", "WindowGenerator", SCAN_FIELDS),
    "walker": _unit("residuum.hw.scanner.walker", "RowWalker", SCAN_FIELDS),
    "scanner": _unit("residuum.hw.scanner.events", "EventScanner"),
    "bank": _unit("residuum.hw.memory.feature", "FeatureBank"),
    "weights": _unit("residuum.hw.memory.weights", "WeightColumns"),
    "sdram": _sdram,
    "sdram-tester": _sdram_tester,
    "tile": _unit("residuum.hw.array.tile", "Tile"),
    "lanes": _unit("residuum.hw.array.lanes", "LaneArray"),
    "neurons": _unit("residuum.hw.neuron.pipeline", "NeuronPipeline"),
    "maximum": _unit("residuum.hw.neuron.maximum", "Maximum"),
    "argmax": _unit("residuum.hw.neuron.argmax", "ArgMax"),
}


@dataclass(frozen=True)
class Resources:
    """ECP5 resources of a netlist.

    Attributes
    ----------
    lut4
        LUT4 sites: one per cell LUT4, two per carry cell CCU2C, and six per TRELLIS_DPR16X4 (four
        hold the 16 x 4 memory, two serve its write port).
    lut4_logic, carry, lut_ram
        Numbers of cells LUT4, CCU2C and TRELLIS_DPR16X4.
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
    """The resources of a netlist, from its number of cells by type."""
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


# Wire aliases are removed in front of ABC: it then finds smaller LUTs (12F, whole design: 5,990
# instead of 6,072), and version 0.70 of yosys fails an internal assertion on some designs without.
# ABC maps logic for area where it is faster than 3 ns by its own estimate, in which a wire counts
# little: that is about the clock of the boards.
# Yosys gives each state of an FSM a flip-flop of its own (link and packer, 12f: 44 LUT fewer, and
# no decoder in front of what a state does), but leaves registers with an initial value alone. All
# FSMs have a reset, which a board holds until its clock is there.
SYNTHESIS = (
    "proc; setattr -unset init */w:fsm_state; synth_ecp5 -top {top} -run :map_luts; "
    "opt_clean -purge; scratchpad -set abc9.D 3000; synth_ecp5 -top {top} -run map_luts:"
)

# The commands of yosys that read a text, and the suffixes of its file.
READERS = {"il": "read_rtlil", "v": "read_verilog"}


def synthesise(
    text: str,
    *,
    name: str,
    folder: Path,
    on_line: Callable[[str], None] = lambda line: None,
    suffix: str = "il",
    top: str = "top",
) -> Resources:
    """Synthesise RTLIL, or Verilog, for ECP5; ``NAME.netlist.json`` and the log stay in ``folder``.

    Parameters
    ----------
    text
        Of the format of `READERS` with this ``suffix``; its module ``top`` is synthesised.

    Raises
    ------
    ResiduumError
        If yosys is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.{suffix}").write_text(text)
    # After ABC has run, yosys prints nothing more, but still writes its own log (-l).
    output, own = folder / f"{name}.yosys.out", folder / f"{name}.yosys.log"
    statistics = folder / f"{name}.stat.json"
    own.write_text("")
    statistics.unlink(missing_ok=True)
    script = (
        f"{READERS[suffix]} {name}.{suffix}; {SYNTHESIS.format(top=top)} "
        f"-json {name}.netlist.json; tee -q -o {statistics.name} stat -json"
    )
    arguments = ["-l", own.name, "-p", script]
    status = toolchain.run("yosys", arguments, folder=folder, log=output.name, on_line=on_line)
    said = own.read_text(encoding="utf-8", errors="replace")
    if status != 0:
        log = own if status > 0 and said.strip() else output
        raise toolchain.failure("yosys", f"synthesise {name}", log)
    resources = count(toolchain.read_json(statistics, "yosys")["design"]["num_cells_by_type"])
    path = folder / f"{name}.netlist.json"
    netlist = toolchain.read_json(path, "yosys")
    for module in netlist["modules"].values():
        carries.shorten(module)
    write_whole(path, json.dumps(netlist).encode())
    return resources


def unit_folder(unit: str, config: EngineConfig) -> Path:
    """The folder of `synthesise_unit` and its report, one for each size."""
    usual = EngineConfig.for_lanes(config.lanes)
    named = ("lanes", "steps", "weight_rows", "memory")
    others = "".join(
        f"-{field.name}{getattr(config, field.name)}"
        for field in fields(config)
        if field.name not in named and getattr(config, field.name) != getattr(usual, field.name)
    )
    name = f"{unit}-{config.lanes}x{config.steps}-{config.weight_rows}{others}"
    return build_folder() / "synth" / name.replace("_", "")


def engine_of(sizes: Mapping[str, int]) -> EngineConfig:
    """The default engine with other sizes, for ECP5; ``ResiduumError`` if there is none."""
    try:
        return EngineConfig.for_lanes(**{"lanes": EngineConfig.lanes, **sizes}, memory="ecp5")
    except (TypeError, ValueError) as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None


def synthesise_unit(unit: str, config: EngineConfig, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Synthesise one of `UNITS`; writes and returns the report.

    Raises
    ------
    ResiduumError
        If the unit is unknown, cannot be built with these sizes, or yosys fails.
    """
    if unit not in UNITS:
        raise ResiduumError(f"there is no unit {unit!r}; the units are {', '.join(UNITS)}")
    with phase(reporter, unit, "elaboration"):
        try:
            component = UNITS[unit](config)
        except (TypeError, ValueError) as error:
            raise ResiduumError(f"this engine cannot be built: {error}") from None
        text = rtlil.convert(component, platform=None, emit_src=False)
    folder, parse = unit_folder(unit, config), SynthesisLog()
    with toolchain.alone_in(folder, reporter):
        started = time.monotonic()
        with phase(reporter, unit, "synthesis") as show:
            resources = synthesise(
                text, name=unit, folder=folder, on_line=lambda line: show(parse(line))
            )
        seconds = round(time.monotonic() - started, 1)
        report = {"unit": unit, **asdict(config), **asdict(resources), "seconds": seconds}
        write_json(folder / REPORT, report)
    return report
