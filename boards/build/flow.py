"""From an order to a bitstream and its report.

The layout is kept from an earlier build where possible (`residuum.boards.build.laid`). Then only
the contents of the block memories, and the phase of an SDRAM's clock, are replaced, which takes
seconds. Each board has a build folder, used by one process at a time.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.laid import Laid, Maker
from residuum.boards.build.layout import Build, Design, Layout
from residuum.boards.build.memories import fill
from residuum.boards.build.pll import with_phase
from residuum.boards.build.published import MISSED, bitstream_left, publish
from residuum.sw.errors import ResiduumError
from residuum.sw.files import write_json
from residuum.sw.progress import SILENT, Reporter

FILLED = "filled.config"
# For the 12F, nextpnr reports the resources of the die, but the data sheet fewer: FPGA-DS-02012,
# table "Product Selection Guide".
SOLD_AS: dict[str, dict[str, int]] = {
    "LFE5U-12F": {"lut": 12_000, "ff": 12_000, "ebr": 32, "dsp": 28}
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network in the memories of a bitstream, for the report.

    ``digest`` is the SHA-256 of the network's file; ``contents`` the digest of its words in the
    memories (`residuum.hw.isa.contents.contents_digest`), in hexadecimal digits.
    """

    name: str
    weight_bits: int
    digest: str
    contents: str


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


def available(board: Board, layout: Layout) -> dict[str, int]:
    """Size of the device, for each resource in a report."""
    kinds = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}
    offered = {name: layout.available[kind] for name, kind in kinds.items()}
    return {**offered, **SOLD_AS.get(board.device, {})}


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
    started = time.monotonic()
    with _tools_in(folder, reporter):
        maker = Maker(order.board, design, folder, reporter)
        laid = _that_meets_its_clock(order, maker, started)
        packed = _pack_filled(order, laid, design, folder, reporter)
        report = report_of(order, laid, started)
        publish(folder, packed, report)
    return report


def make_layout(
    order: Order, design: Design, folder: Path, reporter: Reporter = SILENT
) -> dict[str, Any]:
    """Make and keep the layout for later builds; returns the report.

    Raises
    ------
    ResiduumError
        As `build`, and if the layout cannot be kept.
    """
    started = time.monotonic()
    with _tools_in(folder, reporter):
        maker = Maker(order.board, design, folder, reporter, must_keep=True)
        laid = _that_meets_its_clock(order, maker, started)
    return report_of(order, laid, started)


@contextlib.contextmanager
def _tools_in(folder: Path, reporter: Reporter) -> Iterator[None]:
    for tool in toolchain.BUILDING:
        toolchain.find(tool)
    with toolchain.alone_in(folder, reporter):
        yield


def _that_meets_its_clock(order: Order, maker: Maker, started: float) -> Laid:
    """The layout of the first seed that meets the clock."""
    tried: list[Laid] = []
    for seed in range(order.seed, order.seed + order.tries):
        tried.append(maker.laid(seed, order.target_mhz))
        if tried[-1].layout.met:
            return replace(tried[-1], tries=len(tried))
    best = replace(max(tried, key=lambda laid: laid.layout.fmax_mhz), tries=len(tried))
    write_json(maker.folder / MISSED, report_of(order, best, started))
    layout, target = best.layout, order.target_mhz
    raise ResiduumError(
        f"{order.board.name} reaches {layout.fmax_mhz:.1f} MHz, {target - layout.fmax_mhz:.1f} MHz "
        f"less than the {target:g} MHz that were asked for, so there is no "
        f"{bitstream_left(maker.folder)}; the slowest path goes from {layout.path[0]} to "
        f"{layout.path[1]}; ask for less with FREQ=MHZ (--freq), or try other seeds (--seed, "
        "--tries)"
    )


def _pack_filled(
    order: Order, laid: Laid, design: Design, folder: Path, reporter: Reporter
) -> Path:
    """Pack the layout with the contents of the design's memories, and its phase."""
    with reporter.task(f"{order.board.name}: memory contents"):
        memories = design.memories(laid.design)
        try:
            filled = fill(laid.text, laid.memories, memories)
            if design.phase is not None:
                filled = with_phase(filled, design.phase)
        except ValueError as error:
            raise ResiduumError(
                f"the layout of {order.board.name} is not one of this design: {error}"
            ) from None
    (folder / FILLED).write_text(filled)
    return Build(order.board, folder, reporter).pack(FILLED)


def report_of(order: Order, laid: Laid, started: float) -> dict[str, Any]:
    """The report of a build that began at ``started``, by `time.monotonic`."""
    board, layout = order.board, laid.layout
    return {
        "board": board.name,
        "device": board.device,
        "speed_grade": board.speed_grade,
        "preset": order.preset,
        "lanes": order.lanes,
        "steps": order.steps,
        "network": order.network and asdict(order.network),
        "target_mhz": round(order.target_mhz, 3),
        "fmax_mhz": round(layout.fmax_mhz, 2),
        "met": layout.met,
        "lut": layout.lut,
        "carry": laid.netlist.carry,
        "ff": layout.ff,
        "ebr": layout.ebr,
        "dsp": layout.dsp,
        "available": available(board, layout),
        "seed": laid.seed,
        "tries": laid.tries,
        "digest": laid.design.hex(),
        "tools": dict(laid.tools),
        "layout_seconds": laid.seconds,
        "seconds": round(time.monotonic() - started, 1),
    }
