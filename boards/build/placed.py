"""Synthesis of a board's design, and its place and route with one seed: two pieces of work."""

from dataclasses import asdict
from typing import Any

import numpy as np

from residuum.boards.build.bitstream import prepare
from residuum.boards.build.layout import NETLIST, Build
from residuum.boards.build.toolchain import alone_in
from residuum.boards.catalogue import find
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, digest_of_file
from residuum.sw.network.library import is_path, network_file
from residuum.sw.progress import reporter_here


def network_digest(model: str = "", bits: int | None = None, **_: Any) -> str:
    """SHA-256 of the files that may hold the network of these options of `prepare`."""
    widths = (bits,) if bits or is_path(model) or not model else (4, 8)
    files = [network_file(model, width) for width in widths if model]
    return " ".join(digest_of_file(file) for file in files if file.exists())


def synthesised(board: str, options: dict[str, Any], network: str) -> dict[str, Any]:
    """The netlist and the constraints of a board's design, its resources, and the order.

    Parameters
    ----------
    options
        Of `residuum.boards.build.bitstream.prepare`.
    network
        Its `network_digest`.
    """
    if network != network_digest(**options):
        raise ResiduumError(f"the network {options['model']} on this machine is another one")
    device, reporter, folder = find(board), reporter_here(), build_folder() / "timing" / board
    with reporter.task(f"{board}: elaboration"):
        order, design = prepare(device, **options)
    with alone_in(folder, reporter):
        resources = Build(device, folder, reporter).synthesise(design.source)
        netlist = np.fromfile(folder / NETLIST, np.uint8)
    return {
        "order": {key: getattr(order, key) for key in ("preset", "lanes", "steps", "target_mhz")},
        "resources": asdict(resources),
        "netlist": netlist,
        "constraints": design.source.constraints,
    }


def placed(
    board: str, netlist: np.ndarray, constraints: str, target_mhz: float, seed: int
) -> dict[str, Any]:
    """The values of the `Layout` of a netlist, the bytes of yosys's JSON file."""
    folder = build_folder() / "timing" / f"{board}-{seed}"
    with alone_in(folder, reporter_here()):
        netlist.tofile(folder / NETLIST)
        (folder / "top.lpf").write_text(constraints)
        build = Build(find(board), folder, reporter_here())
        return asdict(build.place(seed, target_mhz))
