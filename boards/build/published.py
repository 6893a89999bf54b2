"""The bitstream and the report of a board's last good build, in its build folder.

``residuum.bit`` and ``report.json`` always belong to the same build, which met its clock: a new
pair replaces both files atomically. A build that misses its clock writes ``missed.json`` instead.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residuum.sw.files import shown, write_json

BITSTREAM, REPORT, MISSED = "residuum.bit", "report.json", "missed.json"


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


def bitstream_left(folder: Path) -> str:
    """What a build that misses its clock leaves in a folder, for its message."""
    bitstream = folder / BITSTREAM
    if not bitstream.exists():
        return "bitstream"
    report = read_report(bitstream)
    return f"new bitstream and {shown(bitstream)} stays ({described(report)})"
