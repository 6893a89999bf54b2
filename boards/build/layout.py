"""From a design to a bitstream: elaboration, synthesis, place and route, packing.

Each board has a build folder, used by one process at a time. ``residuum.bit`` and ``report.json``
always belong to the same build, which met its clock: a new pair replaces both files atomically. A
build that misses its clock writes ``missed.json`` instead.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.progress import LayoutLog, SynthesisLog, phase
from residuum.boards.build.synth import Resources, synthesise
from residuum.sw.errors import ResiduumError
from residuum.sw.files import shown, write_json
from residuum.sw.progress import SILENT, Reporter

BITSTREAM, REPORT, MISSED = "residuum.bit", "report.json", "missed.json"
DIGEST_BYTES = 16
# Timing has more weight in placement than by default (10 and 2); docs/decisions.md has the clocks.
PLACER = ("--placer-heap-timingweight", "200", "--placer-heap-critexp", "3")
# nextpnr rounds clock periods to whole picoseconds.
CLOCK_TOLERANCE = 0.001
# For the 12F, nextpnr reports the resources of the die, but the data sheet fewer: FPGA-DS-02012,
# table "Product Selection Guide".
SOLD_AS: dict[str, dict[str, int]] = {
    "LFE5U-12F": {"lut": 12_000, "ff": 12_000, "ebr": 32, "dsp": 28}
}


@dataclass(frozen=True)
class Design:
    """Input of the tools: RTLIL of the module ``top``, and its pin and clock constraints.

    ``digest`` is the SHA-256 of both. It is computed with zeros in place of the digest.
    """

    rtlil: str
    constraints: str
    digest: bytes


@dataclass(frozen=True)
class Layout:
    """The result of place and route.

    Attributes
    ----------
    fmax_mhz
        Highest clock that meets all paths.
    met
        Whether ``fmax_mhz`` reaches the target clock.
    used, available
        Cells of the device by type.
    path
        Registers at both ends of the critical path.
    """

    fmax_mhz: float
    met: bool
    used: Mapping[str, int]
    available: Mapping[str, int]
    path: tuple[str, str]

    @property
    def lut(self) -> int:
        """LUT sites used: logic, carry bits, bits of LUT memory, and two sites per LUT memory for
        its write port."""
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
    """The design ``make_top(digest)`` for a board. The first of two calls has a digest of zeros.

    Raises
    ------
    ResiduumError
        If the sizes of the design are not possible.
    """
    rtlil, constraints = convert(board, make_top(bytes(DIGEST_BYTES)))
    digest = hashlib.sha256(rtlil.encode() + constraints.encode()).digest()
    return Design(*convert(board, make_top(digest[:DIGEST_BYTES])), digest)


def convert(board: Board, top: Elaboratable) -> tuple[str, str]:
    """RTLIL of the module ``top``, and the constraints of its pins."""
    files = board.platform().prepare(top, name="top", emit_src=False).files
    rtlil, constraints = (_text(files[f"top.{suffix}"]) for suffix in ("il", "lpf"))
    return rtlil, constraints


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content


class Build:
    """The steps of a build: ``synthesise`` once, then ``place`` and ``pack`` for any seed."""

    def __init__(self, board: Board, design: Design, folder: Path, reporter: Reporter = SILENT):
        self.board = board
        self.design = design
        self.folder = folder
        self.reporter = reporter

    def synthesise(self) -> Resources:
        """Write the netlist; returns its resources."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "top.lpf").write_text(self.design.constraints)
        parse = SynthesisLog()
        with phase(self.reporter, self.board.name, "synthesis") as show:
            return synthesise(
                self.design.rtlil,
                name="top",
                folder=self.folder,
                on_line=lambda line: show(parse(line)),
            )

    def place(self, seed: int, target_mhz: float) -> Layout:
        """Place and route the netlist; returns the layout even if it misses the clock.

        Raises
        ------
        ResiduumError
            If there is no layout: the design is too large or not routable, or a pin is wrong.
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
        with phase(self.reporter, f"{self.board.name} (seed {seed})", "placement") as show:
            status = toolchain.run(
                "nextpnr-ecp5",
                arguments,
                folder=self.folder,
                log=log,
                on_line=lambda line: show(parse(line)),
            )
        # nextpnr also fails on a missed clock, but only after it has written its report.
        if status < 0 or (status > 0 and not (self.folder / report).exists()):
            raise toolchain.failure("nextpnr-ecp5", "place and route it", self.folder / log)
        layout = read_layout(toolchain.read_json(self.folder / report, "nextpnr-ecp5"), target_mhz)
        if status != 0 and layout.met:
            raise toolchain.failure("nextpnr-ecp5", "place and route it", self.folder / log)
        return layout

    def pack(self, seed: int) -> Path:
        """Turn the layout of a seed into a bitstream."""
        packed = self.folder / "packed.bit"
        arguments = [*self.board.pack, "--input", f"layout-{seed}.config", "--bit", packed.name]
        packed.unlink(missing_ok=True)
        with phase(self.reporter, self.board.name, "packing"):
            status = toolchain.run("ecppack", arguments, folder=self.folder, log="ecppack.log")
        if status != 0 or not packed.exists():
            raise toolchain.failure("ecppack", "pack it", self.folder / "ecppack.log")
        return packed


def read_layout(report: Mapping[str, Any], target_mhz: float) -> Layout:
    """The layout in nextpnr's report.

    Raises
    ------
    ResiduumError
        If nextpnr checked no clock, or a clock against another frequency than ``target_mhz``.
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
    """The name of a register in the source, from the cell name that yosys made of it."""
    return re.split(r"_(?:TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21)_|\$(?:CCU2|PFUMX|TRELLIS)", cell)[0]


def available(board: Board, layout: Layout) -> dict[str, int]:
    """Size of the device, for each resource in a report."""
    kinds = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}
    offered = {name: layout.available[kind] for name, kind in kinds.items()}
    return {**offered, **SOLD_AS.get(board.device, {})}


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network in the memories of a bitstream, for the report.

    ``digest`` is the SHA-256 of the network's file.
    """

    name: str
    weight_bits: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """Parameters of a build, apart from the design.

    Attributes
    ----------
    preset, lanes, steps, network
        For the report; no network means empty memories.
    target_mhz
        Clock to reach: the output of the PLL.
    seed, tries
        First seed of place and route, and the largest number of seeds to try.
    """

    board: Board
    preset: str
    lanes: int
    steps: int
    network: Network | None = None
    target_mhz: float
    seed: int
    tries: int = 1


def build(
    order: Order, design: Design, folder: Path, reporter: Reporter = SILENT
) -> dict[str, Any]:
    """Build the bitstream; returns the report, which is also written to ``folder``.

    Raises
    ------
    ResiduumError
        If a tool is missing or fails, or the clock is missed. An earlier bitstream in ``folder``
        and its report then stay unchanged.
    """
    # WebAssembly tools are compiled at their first run, which takes a while.
    with phase(reporter, order.board.name, "looking for tools"):
        tools = {tool: toolchain.version(tool) for tool in toolchain.PACKAGES}
    with toolchain.alone_in(folder, reporter):
        return _build(order, Build(order.board, design, folder, reporter), tools)


def _build(order: Order, steps: Build, tools: Mapping[str, str]) -> dict[str, Any]:
    started = time.monotonic()
    board, target, folder = order.board, order.target_mhz, steps.folder
    netlist = steps.synthesise()
    layouts: dict[int, Layout] = {}
    for seed in range(order.seed, order.seed + order.tries):
        layouts[seed] = steps.place(seed, target)
        if layouts[seed].met:
            break
    seed, layout = max(layouts.items(), key=lambda tried: tried[1].fmax_mhz)
    packed = steps.pack(seed) if layout.met else None
    report = {
        "board": board.name,
        "device": board.device,
        "speed_grade": board.speed_grade,
        "preset": order.preset,
        "lanes": order.lanes,
        "steps": order.steps,
        "network": order.network and asdict(order.network),
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
        "tries": len(layouts),
        "digest": steps.design.digest.hex(),
        "tools": tools,
        "seconds": round(time.monotonic() - started, 1),
    }
    if packed is not None:
        publish(folder, packed, report)
        return report
    write_json(folder / MISSED, report)
    raise ResiduumError(
        f"{board.name} reaches {layout.fmax_mhz:.1f} MHz, {target - layout.fmax_mhz:.1f} MHz "
        f"less than the {target:g} MHz that were asked for, so there is no "
        f"{_bitstream_left(folder)}; the slowest path goes from {layout.path[0]} to "
        f"{layout.path[1]}; ask for less with FREQ=MHZ (--freq), or try other seeds (--seed, "
        "--tries)"
    )


def _bitstream_left(folder: Path) -> str:
    bitstream = folder / BITSTREAM
    if not bitstream.exists():
        return "bitstream"
    report = read_report(bitstream)
    return f"new bitstream and {shown(bitstream)} stays ({described(report)})"


def publish(folder: Path, packed: Path, report: Mapping[str, Any]) -> None:
    """Replace bitstream and report atomically.

    Each pair has its own folder. The file names in ``folder`` are links through the link
    ``current``, so one rename replaces both files, and a crash cannot mix two builds.
    """
    pair = folder / f"build-{time.time_ns()}"
    pair.mkdir()
    os.replace(packed, pair / BITSTREAM)
    write_json(pair / REPORT, report)
    _link(folder / "current", pair.name)
    if not (folder / REPORT).is_symlink():
        # An earlier version wrote plain files. Its report must not remain with a new bitstream.
        (folder / REPORT).unlink(missing_ok=True)
    for name in (BITSTREAM, REPORT):
        _link(folder / name, f"current/{name}")
    (folder / MISSED).unlink(missing_ok=True)
    for other in folder.glob("build-*"):
        if other != pair:
            shutil.rmtree(other, ignore_errors=True)


def _link(path: Path, target: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, path)


def read_report(bitstream: Path) -> dict[str, Any]:
    """The build report of a bitstream; empty if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        # Resolve the links first: another build may replace the pair.
        report = json.loads(bitstream.resolve().with_name(REPORT).read_bytes())
        if isinstance(report, dict):
            return report
    return {}


def described(report: Mapping[str, Any]) -> str:
    """The contents of a bitstream, in a few words, from its report."""
    try:
        network = report["network"]
        name = network["name"] if network else "empty memories"
        return f"{name}, preset {report['preset']}, {report['target_mhz']:g} MHz"
    except (KeyError, TypeError, ValueError):
        # An earlier version wrote the report, or somebody changed it.
        return "an unknown network"
