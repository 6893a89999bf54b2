"""From a design to a bitstream: elaboration, synthesis, place and route, packing.

A build works in a folder of its own. What a user wants of it, ``residuum.bit`` and
``report.json``, appears there whole or not at all.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.progress import Display, LayoutLog, SynthesisLog
from residuum.boards.build.synth import Resources, synthesise
from residuum.sw.errors import ResiduumError
from residuum.sw.files import write_json

BITSTREAM, REPORT = "residuum.bit", "report.json"
DIGEST_BYTES = 16
# Timing weighs more in the placement than by default (10 and 2); docs/decisions.md has the clocks.
PLACER = ("--placer-heap-timingweight", "200", "--placer-heap-critexp", "3")
# nextpnr counts clocks in whole picoseconds.
CLOCK_TOLERANCE = 0.001
# The 12F is sold as a smaller device than the die that it is, which nextpnr knows. Data sheet
# FPGA-DS-02012, table "Product Selection Guide".
SOLD_AS: dict[str, dict[str, int]] = {
    "LFE5U-12F": {"lut": 12_000, "ff": 12_000, "ebr": 32, "dsp": 28}
}


@dataclass(frozen=True)
class Design:
    """What the tools get: RTLIL of the module ``top`` and its pin and clock constraints.

    ``digest`` is the SHA-256 of both, taken of the design that holds zeros in the place of it.
    """

    rtlil: str
    constraints: str
    digest: bytes


@dataclass(frozen=True)
class Layout:
    """What place and route came to.

    Attributes
    ----------
    fmax_mhz
        The highest clock at which every path is fast enough.
    met
        It is at least the wanted one.
    used, available
        Cells of the device by type.
    path
        Where the slowest path begins and ends.
    """

    fmax_mhz: float
    met: bool
    used: Mapping[str, int]
    available: Mapping[str, int]
    path: tuple[str, str]

    @property
    def lut(self) -> int:
        """Places of 4-input tables: those that hold one, a carry bit or a bit of LUT memory, and
        the two that the write port of every LUT memory takes away."""
        return self.used["TRELLIS_COMB"] + 2 * self.used["TRELLIS_RAMW"]

    @property
    def ff(self) -> int:
        return self.used["TRELLIS_FF"]

    @property
    def ebr(self) -> int:
        return self.used["DP16KD"]

    @property
    def dsp(self) -> int:
        return self.used["MULT18X18D"]


def elaborate(board: Board, make_top: Callable[[bytes], Elaboratable]) -> Design:
    """The design of ``make_top(digest)`` for a board; called twice, first with a digest of zeros.

    Raises
    ------
    ResiduumError
        If its sizes exclude each other.
    """
    rtlil, constraints = convert(board, make_top(bytes(DIGEST_BYTES)))
    digest = hashlib.sha256(rtlil.encode() + constraints.encode()).digest()
    return Design(*convert(board, make_top(digest[:DIGEST_BYTES])), digest)


def convert(board: Board, top: Elaboratable) -> tuple[str, str]:
    """RTLIL of the module ``top``, and the constraints of the pins that it requests."""
    files = board.platform().prepare(top, name="top", emit_src=False).files
    rtlil, constraints = (_text(files[f"top.{suffix}"]) for suffix in ("il", "lpf"))
    return rtlil, constraints


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content


class Build:
    """The steps of one build; ``synthesise`` once, then ``place`` and ``pack`` for any seed."""

    def __init__(self, board: Board, design: Design, folder: Path, display: Display):
        self.board = board
        self.design = design
        self.folder = folder
        self.display = display

    def synthesise(self) -> Resources:
        """Write the netlist; the cells of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "top.lpf").write_text(self.design.constraints)
        parse = SynthesisLog()
        with self.display.phase(self.board.name, "synthesis") as show:
            return synthesise(
                self.design.rtlil,
                name="top",
                folder=self.folder,
                on_line=lambda line: show(parse(line)),
            )

    def place(self, seed: int, target_mhz: float) -> Layout:
        """Place and route the netlist; a layout that is too slow is a layout too.

        Raises
        ------
        ResiduumError
            If there is no layout: too large for the device, not routable, wrong pins.
        """
        report, log = f"layout-{seed}.json", f"layout-{seed}.log"
        (self.folder / report).unlink(missing_ok=True)
        arguments = [
            *self.board.nextpnr_options,
            *("--json", "top.netlist.json", "--lpf", "top.lpf", "--seed", str(seed)),
            *("--report", report, "--textcfg", f"layout-{seed}.config"),
            *PLACER,
        ]
        parse = LayoutLog()
        with self.display.phase(f"{self.board.name} (seed {seed})", "placement") as show:
            status = toolchain.run(
                "nextpnr-ecp5",
                arguments,
                folder=self.folder,
                log=log,
                on_line=lambda line: show(parse(line)),
            )
        # A clock that is too slow ends it with an error too, but not before the report is there.
        if not (self.folder / report).exists():
            raise toolchain.failure("nextpnr-ecp5", "place and route it", self.folder / log)
        layout = read_layout(json.loads((self.folder / report).read_text()), target_mhz)
        if status != 0 and layout.met:
            raise toolchain.failure("nextpnr-ecp5", "place and route it", self.folder / log)
        return layout

    def pack(self, seed: int, target: Path) -> None:
        """Turn the layout of a seed into the bitstream ``target``."""
        arguments = [*self.board.pack, "--input", f"layout-{seed}.config", "--bit", "packed.bit"]
        with self.display.phase(self.board.name, "packing"):
            status = toolchain.run("ecppack", arguments, folder=self.folder, log="ecppack.log")
        if status != 0:
            raise toolchain.failure("ecppack", "pack it", self.folder / "ecppack.log")
        os.replace(self.folder / "packed.bit", target)


def read_layout(report: Mapping[str, Any], target_mhz: float) -> Layout:
    """What counts in nextpnr's report.

    Raises
    ------
    ResiduumError
        If no clock was held against ``target_mhz``: then nothing has been checked.
    """
    clocks = [
        clock
        for clock in report["fmax"].values()
        if abs(clock["constraint"] - target_mhz) <= CLOCK_TOLERANCE * target_mhz
    ]
    if not clocks or len(clocks) < len(report["fmax"]):
        names = ", ".join(f"{clock['constraint']:g} MHz" for clock in report["fmax"].values())
        raise ResiduumError(
            f"nextpnr checked clocks of {names or 'none'} instead of {target_mhz:g} MHz, "
            "so the build says nothing about timing"
        )
    usage = report["utilization"]
    return Layout(
        fmax_mhz=min(clock["achieved"] for clock in clocks),
        met=all(clock["achieved"] >= max(clock["constraint"], target_mhz) for clock in clocks),
        used={kind: amount["used"] for kind, amount in usage.items()},
        available={kind: amount["available"] for kind, amount in usage.items()},
        path=_slowest_path(report["critical_paths"]),
    )


def _slowest_path(paths: list[dict[str, Any]]) -> tuple[str, str]:
    clocked = [path for path in paths if "<async>" not in (path["from"], path["to"])]
    if not clocked:
        return "", ""
    steps = max(clocked, key=lambda path: sum(step["delay"] for step in path["path"]))["path"]
    return register_name(steps[0]["from"]["cell"]), register_name(steps[-1]["to"]["cell"])


def register_name(cell: str) -> str:
    """The name in the source of a cell that the synthesiser made from it."""
    return re.split(r"_(?:TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21)_|\$(?:CCU2|PFUMX|TRELLIS)", cell)[0]


def available(board: Board, layout: Layout) -> dict[str, int]:
    """What the device offers of everything that a report counts."""
    kinds = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}
    offered = {name: layout.available[kind] for name, kind in kinds.items()}
    return {**offered, **SOLD_AS.get(board.device, {})}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be built, but for the design.

    Attributes
    ----------
    preset, lanes, steps
        For the report.
    target_mhz
        Clock that must be reached: what the PLL makes.
    seed, tries
        Of place and route: the first seed, and how many are tried for the clock.
    """

    board: Board
    preset: str
    lanes: int
    steps: int
    target_mhz: float
    seed: int
    tries: int = 1


def build(order: Order, design: Design, folder: Path, display: Display) -> dict[str, Any]:
    """Build the bitstream; returns the report, which is in ``folder`` too.

    The report is written before a missed target raises, the bitstream only if it is met.

    Raises
    ------
    ResiduumError
        If a tool is missing or fails, or if the clock is not reached.
    """
    started = time.monotonic()
    board, target = order.board, order.target_mhz
    for name in (BITSTREAM, REPORT):
        (folder / name).unlink(missing_ok=True)
    # WebAssembly tools are compiled when they first run, which takes a while.
    with display.phase(board.name, "looking for tools"):
        tools = {tool: toolchain.version(tool) for tool in toolchain.PACKAGES}
    steps = Build(board, design, folder, display)
    netlist = steps.synthesise()
    layouts: dict[int, Layout] = {}
    for seed in range(order.seed, order.seed + order.tries):
        layouts[seed] = steps.place(seed, target)
        if layouts[seed].met:
            break
    seed, layout = max(layouts.items(), key=lambda tried: tried[1].fmax_mhz)
    if layout.met:
        steps.pack(seed, folder / BITSTREAM)
    report = {
        "board": board.name,
        "device": board.device,
        "speed_grade": board.speed_grade,
        "preset": order.preset,
        "lanes": order.lanes,
        "steps": order.steps,
        "target_mhz": round(target, 3),
        "fmax_mhz": round(layout.fmax_mhz, 2),
        "met": layout.met,
        "lut": layout.lut,
        "carry": netlist.carry,
        "ff": layout.ff,
        "ebr": layout.ebr,
        "dsp": layout.dsp,
        "available": available(board, layout),
        "seed": seed,
        "digest": design.digest.hex(),
        "tools": tools,
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(folder / REPORT, report)
    if not layout.met:
        raise ResiduumError(
            f"{board.name} reaches {layout.fmax_mhz:.1f} MHz, {target - layout.fmax_mhz:.1f} MHz "
            f"less than the {target:g} MHz that were asked for, so there is no bitstream; the "
            f"slowest path goes from {layout.path[0]} to {layout.path[1]}; ask for less with "
            "FREQ=MHZ (--freq), or try other seeds (--seed, --tries)"
        )
    return report
