"""Place and route of an engine on a board, for the benchmark: one piece of work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from residuum.boards.build.bitstream import prepare
from residuum.boards.build.flow import build
from residuum.boards.build.published import MISSED, REPORT
from residuum.boards.catalogue import find
from residuum.sw.compiler.fit import preset_named
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, digest_of_file
from residuum.sw.network.library import widest_bits, zoo_file
from residuum.sw.progress import reporter_here

# The network in the memories.
FILLING = "digits"

Json = dict[str, Any]


def routed(board_name: str, preset_name: str, tries: int, digits: str) -> Json:
    """The report (`boards/build/layout.py`) of place and route of an engine on a board.

    Reuses an earlier build of the same design with any network, also one of ``residuum bitstream``.
    The memories hold the digits network; their contents affect neither clock nor area. ``digits``
    is the SHA-256 of its file.
    """
    board, reporter = find(board_name), reporter_here()
    bits = widest_bits(FILLING, preset_named(preset_name).weight_bits)
    if digest_of_file(zoo_file(FILLING, bits)) != digits:
        raise ResiduumError(f"the network {FILLING} on this machine is another one")
    folder = (build_folder() / "bench" / f"{board_name}-{preset_name}").resolve()
    with reporter.task(f"{board_name}, {preset_name}: elaborating"):
        order, design = prepare(
            board, model=FILLING, bits=bits, preset_name=preset_name, tries=tries
        )

    def found(*paths: Path) -> Json | None:
        reports = (_read(path) for path in paths)
        return next((r for r in reports if r and r.get("digest") == design.digest.hex()), None)

    report = found(folder / REPORT, build_folder() / board_name / REPORT)
    if report is None:
        # A build that misses its clock still reports its Fmax. More seeds may meet the clock.
        missed = found(folder / MISSED)
        if missed is not None and missed.get("tries", 0) >= tries:
            return missed
        try:
            report = build(order, design, folder, reporter)
        except ResiduumError:
            report = found(folder / MISSED)
            if report is None:
                raise
    return report


def _read(path: Path) -> Json | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
