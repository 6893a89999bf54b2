"""The layout of a design without a network, kept from an earlier build or made."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.boards.board import Board
from residuum.boards.build import kept, toolchain
from residuum.boards.build.layout import NETLIST, Build, Design, Layout, layout_file
from residuum.boards.build.memories import tag, tagged
from residuum.boards.build.progress import phase
from residuum.boards.build.synth import Resources
from residuum.sw.errors import ResiduumError
from residuum.sw.files import write_whole
from residuum.sw.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True)
class Laid:
    """A layout, and what a build with it needs.

    Attributes
    ----------
    seed, tries
        Seed of place and route, and the number of seeds tried up to it.
    netlist, layout
        Resources of the netlist, and the result of place and route.
    text
        The layout in nextpnr's text form, with `tag`s in its block memories.
    memories
        The path of the cell of each block memory, by its number in ``text``.
    design
        The digest of the design without a network.
    tools
        The versions of the tools that made it.
    seconds
        How long synthesis, place and route took.
    """

    seed: int
    tries: int = 1
    netlist: Resources
    layout: Layout
    text: str
    memories: Mapping[int, str]
    design: bytes
    tools: Mapping[str, str]
    seconds: float

    def values(self) -> dict[str, Any]:
        """Plain values and an array, for `residuum.boards.build.kept`."""
        return {
            "seed": self.seed,
            "netlist": asdict(self.netlist),
            "layout": asdict(self.layout),
            "text": np.frombuffer(self.text.encode(), np.uint8),
            "memories": [[number, path] for number, path in self.memories.items()],
            "design": self.design.hex(),
            "tools": dict(self.tools),
            "seconds": self.seconds,
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Laid":
        layout = values["layout"]
        return cls(
            seed=values["seed"],
            netlist=Resources(**values["netlist"]),
            layout=Layout(**layout | {"path": tuple(layout["path"])}),
            text=values["text"].tobytes().decode(),
            memories=dict(values["memories"]),
            design=bytes.fromhex(values["design"]),
            tools=values["tools"],
            seconds=values["seconds"],
        )


class Maker:
    """Gives the layouts of a design: kept ones at once, others by the tools, in a build folder.

    ``must_keep``: a new layout that cannot be kept is an error.
    """

    def __init__(
        self,
        board: Board,
        design: Design,
        folder: Path,
        reporter: Reporter = SILENT,
        *,
        must_keep: bool = False,
    ):
        self.board = board
        self.design = design
        self.folder = folder
        self.reporter = reporter
        self.must_keep = must_keep
        self._netlist: Resources | None = None
        self._paths: list[str] = []
        self._tools: dict[str, str] = {}
        self._seconds = 0.0

    def laid(self, seed: int, target_mhz: float) -> Laid:
        """The layout with a seed, also if it misses the clock.

        Raises
        ------
        ResiduumError
            If a tool fails, or if the netlist and its layout have different block memories.
        """
        if self.design.key is None:
            return self._make(seed, target_mhz)
        key = hashlib.sha256(f"{self.design.key} {seed}".encode()).hexdigest()
        values = kept.get(self.board.name, key, self.reporter)
        if values is not None:
            laid = Laid.from_values(values)
            what = "serves again" if laid.layout.met else "missed the clock"
            self.reporter.say(
                f"{self.board.name} (seed {seed}): the layout of an earlier build {what}"
            )
            return laid
        laid = self._make(seed, target_mhz)
        try:
            kept.put(self.board.name, key, laid.values())
        except ResiduumError as error:
            if self.must_keep:
                raise
            self.reporter.say(f"the layout is not kept for later builds: {error}")
        return laid

    def _make(self, seed: int, target_mhz: float) -> Laid:
        if not self._tools:
            # WebAssembly tools are compiled at their first run, which takes a while.
            with phase(self.reporter, self.board.name, "looking for tools"):
                self._tools = {tool: toolchain.version(tool) for tool in toolchain.BUILDING}
        netlist = self._netlist or self._synthesise()
        started = time.monotonic()
        layout = Build(self.board, self.folder, self.reporter).place(seed, target_mhz)
        text = (self.folder / layout_file(seed)).read_text()
        try:
            memories = tagged(text, self._paths)
        except ValueError as error:
            raise ResiduumError(
                f"the memories of the layout in {layout_file(seed)} are not known: {error}; "
                "take the versions of the tools that constraints.txt names"
            ) from None
        return Laid(
            seed=seed,
            netlist=netlist,
            layout=layout,
            text=text,
            memories=memories,
            design=self.design.digest,
            tools=self._tools,
            seconds=round(self._seconds + time.monotonic() - started, 1),
        )

    def _synthesise(self) -> Resources:
        started = time.monotonic()
        build = Build(self.board, self.folder, self.reporter)
        self._netlist = build.synthesise(self.design.source)
        path = self.folder / NETLIST
        netlist = toolchain.read_json(path, "yosys")
        self._paths = tag(netlist)
        write_whole(path, json.dumps(netlist).encode())
        self._seconds = time.monotonic() - started
        return self._netlist
