"""The steps from a design to a bitstream: elaboration, synthesis, place and route, packing."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.memories import Memories, memories_of
from residuum.boards.build.pll import Phase
from residuum.boards.build.progress import LayoutLog, SynthesisLog, phase
from residuum.boards.build.synth import Resources, synthesise
from residuum.sw.errors import ResiduumError
from residuum.sw.progress import SILENT, Reporter

NETLIST = "top.netlist.json"
# Timing has more weight in placement than by default (10 and 2); docs/decisions.md has the clocks.
PLACER = ("--placer-heap-timingweight", "200", "--placer-heap-critexp", "3")
# nextpnr rounds clock periods to whole picoseconds.
CLOCK_TOLERANCE = 0.001


@dataclass(frozen=True)
class Source:
    """Input of the tools: RTLIL of the module ``top``, and its pin and clock constraints."""

    rtlil: str
    constraints: str

    @property
    def digest(self) -> bytes:
        """The SHA-256 of both."""
        return hashlib.sha256(self.rtlil.encode() + self.constraints.encode()).digest()


class Design:
    """The design of a board, whose layout depends neither on the network in its memories nor on the
    phase of a second clock.

    Parameters
    ----------
    board : Board
    make_top : Callable[[bytes | None], Elaboratable]
        ``make_top(digest)`` is the whole design, which tells the host this digest of the design
        without a network. ``make_top(None)`` is the latter: without network, name and digest, and
        the same for all phases.
    key : str or None
        A digest of everything that the layout depends on, except the seed of place and route; None:
        the layout is not kept.
    phase : Phase or None
        That of the whole design's second clock, if it has one. The layout does not depend on it.
    """

    def __init__(
        self,
        board: Board,
        make_top: Callable[[bytes | None], Elaboratable],
        *,
        key: str | None = None,
        phase: Phase | None = None,
    ):
        self.board = board
        self.make_top = make_top
        self.key = key
        self.phase = phase

    @cached_property
    def source(self) -> Source:
        """The design without a network; ResiduumError if its sizes are not possible."""
        with self._possible():
            return convert(self.board, self.make_top(None))

    @property
    def digest(self) -> bytes:
        """The digest of the design without a network."""
        return self.source.digest

    def whole(self) -> Source:
        """The design with its network, for a build that replaces nothing."""
        digest = self.digest
        with self._possible():
            return convert(self.board, self.make_top(digest))

    def memories(self, digest: bytes) -> Memories:
        """The initial contents of the block memories, with the network; ``digest`` is the digest of
        the design, which a kept layout knows."""
        with self._possible():
            return memories_of(self.make_top(digest), self.board.platform())

    @contextlib.contextmanager
    def _possible(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ResiduumError(f"{self.board.name} cannot be built like this: {error}") from None


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
        """LUT sites used: logic, carry bits, and six for each LUT memory, two of them for its write
        port."""
        return self.used["TRELLIS_COMB"]

    @property
    def ff(self) -> int:
        return self.used["TRELLIS_FF"]

    @property
    def ebr(self) -> int:
        return self.used["DP16KD"]

    @property
    def dsp(self) -> int:
        return self.used["MULT18X18D"]


def convert(board: Board, top: Elaboratable) -> Source:
    """RTLIL of the module ``top``, and the constraints of its pins."""
    files = board.platform().prepare(top, name="top", emit_src=False).files
    return Source(*(_text(files[f"top.{suffix}"]) for suffix in ("il", "lpf")))


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content


class Build:
    """The steps of a build: ``synthesise`` once, then ``place`` with any seed, and ``pack``."""

    def __init__(self, board: Board, folder: Path, reporter: Reporter = SILENT):
        self.board = board
        self.folder = folder
        self.reporter = reporter

    def synthesise(self, source: Source) -> Resources:
        """Write the netlist; returns its resources."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "top.lpf").write_text(source.constraints)
        parse = SynthesisLog()
        with phase(self.reporter, self.board.name, "synthesis") as show:
            return synthesise(
                source.rtlil,
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
            *("--json", NETLIST, "--lpf", "top.lpf", "--seed", str(seed)),
            *("--report", report, "--textcfg", layout_file(seed)),
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

    def pack(self, layout: str) -> Path:
        """Turn a layout, a file in the folder, into a bitstream."""
        packed = self.folder / "packed.bit"
        arguments = [*self.board.pack, "--input", layout, "--bit", packed.name]
        packed.unlink(missing_ok=True)
        with phase(self.reporter, self.board.name, "packing"):
            status = toolchain.run("ecppack", arguments, folder=self.folder, log="ecppack.log")
        if status != 0 or not packed.exists():
            raise toolchain.failure("ecppack", "pack it", self.folder / "ecppack.log")
        return packed


def layout_file(seed: int) -> str:
    """The name of the layout that ``Build.place`` writes, in nextpnr's text form."""
    return f"layout-{seed}.config"


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
