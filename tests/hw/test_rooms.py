"""Imports inside hw: no folder imports its user, and what software reads stands on its own."""

import ast
import graphlib
from pathlib import Path

HARDWARE = Path(__file__).resolve().parents[2] / "hw"


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def room(module: str) -> str:
    """The folder of a module of hw, or the file where it lies in none: array, layouts, engine."""
    return module.removeprefix("residuum.hw.").split(".")[0]


def test_no_folder_imports_its_user():
    uses: dict[str, set[str]] = {}
    for path in HARDWARE.rglob("*.py"):
        here = room(".".join(path.relative_to(HARDWARE).with_suffix("").parts))
        there = {room(name) for name in imported(path) if name.startswith("residuum.hw.")}
        uses.setdefault(here, set()).update(there - {here})
    assert set(graphlib.TopologicalSorter(uses).static_order()) >= {"isa", "layouts", "engine"}
    assert {user for user, used in uses.items() if used & {"engine", "accelerator"}} == {
        "accelerator"
    }


def test_what_software_reads_imports_no_gateware():
    files = sorted((HARDWARE / "isa").glob("*.py"))
    names = {name for path in files for name in imported(path)}
    assert "residuum.hw.isa.config" in names
    outside = {name for name in names if name.startswith(("residuum", "amaranth"))}
    assert {name for name in outside if not name.startswith("residuum.hw.isa.")} == set()
