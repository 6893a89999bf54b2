"""The import rules: dependencies point one way, and imports have no side effects."""

import subprocess
import sys
from pathlib import Path, PurePath

import pytest

from tests.imports import (
    MAY_IMPORT,
    Import,
    by_plain_name,
    by_plain_name_in_page,
    cycles_of_files,
    cycles_of_folders,
    front_door_only,
    read,
    upwards,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

# Modules outside residuum/ that may import rich or argparse, with the reason; so far none.
EXCEPTIONS: dict[str, str] = {}


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return read(ROOT)


def none(found: list[str]) -> None:
    """Fail if there are findings, with one line for each."""
    if found:
        pytest.fail(f"{len(found)} found:\n" + "\n".join(found), pytrace=False)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_lead_down(imports, folder):
    none(upwards(imports, folder))


def test_no_cycle_of_files(imports):
    none(cycles_of_files(imports))


def test_no_cycle_of_folders(imports):
    none(cycles_of_folders(imports))


def test_only_the_front_door_parses_arguments_and_prints(imports):
    none(front_door_only(imports, EXCEPTIONS))


def test_no_room_is_imported_by_its_plain_name(imports):
    none(by_plain_name([*imports, *read(ROOT, ["tests"])]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_imports_a_room_by_its_plain_name(page):
    none(by_plain_name_in_page(page.relative_to(ROOT).as_posix(), page.read_text()))


@pytest.mark.parametrize("module", ["residuum", "residuum.sw.network.integer_network"])
def test_torch_is_not_imported_unasked(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("False\n", "")


# ---------------------------------------------------------------------------------------------
# Tests of the rules, on small trees that break them.


@pytest.fixture
def tree(tmp_path):
    """Writes files, and reads their imports."""

    def write(files: dict[str, str]) -> list[Import]:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return read(tmp_path, {name.split("/")[0]: None for name in files})

    return write


def names(imports: list[Import]) -> list[str]:
    return [each.name for each in imports]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import residuum.hw.isa.config", "residuum.hw.isa.config"),
        ("import residuum.hw.isa.config as c", "residuum.hw.isa.config"),
        ("from residuum.hw.isa.config import C", "residuum.hw.isa.config"),
        ("from residuum.hw.isa import config", "residuum.hw.isa.config"),
        ("from residuum.hw.isa import C", "residuum.hw.isa"),
        ("from . import other", "residuum.sw.other"),
        ("from ..hw.isa import config", "residuum.hw.isa.config"),
        ("from .. import hw", "residuum.hw"),
        ("def f():\n    import torch", "torch"),
        ("if TYPE_CHECKING:\n    import torch", "torch"),
        ("importlib.import_module('residuum.sim')", "residuum.sim"),
    ],
)
def test_every_form_of_an_import_is_read(tree, text, name):
    files = ("hw/__init__.py", "hw/isa/__init__.py", "hw/isa/config.py", "sw/other.py")
    imports = tree({"sw/here.py": text} | dict.fromkeys(files, ""))
    assert names(imports) == [name]


def test_links_are_not_followed(tree, tmp_path):
    tree({"sw/a.py": "import json", "residuum/b.py": "import sys"})
    (tmp_path / "residuum" / "sw").symlink_to("../sw")
    assert names(read(tmp_path, ["residuum"])) == ["sys"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("hw/a.py", "import residuum.sw.files"),
        ("hw/a.py", "import residuum"),
        ("hw/a.py", "import torch.nn"),
        ("hw/a.py", "import amaranth_boards.ulx3s"),
        ("hw/isa/a.py", "import residuum.hw.logic"),
        ("hw/isa/a.py", "from amaranth.lib import data"),
        ("sw/a.py", "import residuum.hw.engine"),
        ("sw/a.py", "import residuum.hw"),
        ("sw/a.py", "import residuum.boards.board"),
        ("sw/a.py", "from residuum.commands import console"),
        ("sw/a.py", "from residuum import api"),
        ("sw/a.py", "from ..cli import main"),
        ("boards/a.py", "def f():\n    import residuum.sim.link"),
        ("boards/a.py", "if TYPE_CHECKING:\n    import residuum.cli"),
        ("sim/a.py", "import residuum.commands.arguments"),
        ("sim/a.py", "import tests.folders"),
    ],
)
def test_an_import_that_leads_up_is_found(tree, file, text):
    folder = PurePath(file).parent.as_posix().replace("/", ".")
    line = 1 + text.count("\n")
    (found,) = upwards(tree({file: text}), folder)
    assert found.startswith(f"{file}:{line} imports ")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("hw/a.py", "import amaranth.lib, residuum.hw.isa.config"),
        ("hw/isa/a.py", "import residuum.hw.isa.b, enum"),
        ("sw/a.py", "import residuum.sw.errors, residuum.hw.isa, torch"),
        ("boards/a.py", "import residuum.sw.errors, residuum.hw.engine, amaranth_boards"),
        ("sim/a.py", "import residuum.boards.board, residuum.hw.engine, residuum.sw.files"),
        ("residuum/commands/a.py", "import residuum.sim.link, residuum.cli, residuum"),
    ],
)
def test_an_import_that_leads_down_is_right(tree, file, text):
    imports = tree({file: text})
    assert [found for folder in MAY_IMPORT for found in upwards(imports, folder)] == []


def test_cycles_of_files(tree):
    imports = tree(
        {
            "sw/a.py": "import residuum.sw.b",
            "sw/b.py": "\ndef f():\n    from residuum.sw import c",
            "sw/c.py": "import residuum.sw.a, residuum.sw.d",
            "sw/d.py": "",
        }
    )
    (found,) = cycles_of_files(imports)
    assert sorted(found.splitlines()[1:]) == [
        "    sw/a.py:1 imports residuum.sw.b",
        "    sw/b.py:3 imports residuum.sw.c",
        "    sw/c.py:1 imports residuum.sw.a",
    ]
    assert cycles_of_folders(imports) == []


@pytest.mark.parametrize("room", ["sw", "sw/deep/er"])
def test_cycles_of_folders_need_no_cycle_of_files(tree, room):
    package = f"residuum.{room.replace('/', '.')}"
    imports = tree(
        {
            f"{room}/one/a.py": f"import {package}.two.a",
            f"{room}/two/a.py": "",
            f"{room}/two/b.py": f"import {package}.one.b",
            f"{room}/one/b.py": "",
        }
    )
    assert cycles_of_files(imports) == []
    (found,) = cycles_of_folders(imports)
    assert sorted(found.splitlines()[1:]) == [
        f"    {room}/one/a.py:1 imports {package}.two.a",
        f"    {room}/two/b.py:1 imports {package}.one.b",
    ]


def test_a_file_and_a_folder_beside_it_may_be_a_cycle(tree):
    imports = tree(
        {
            "hw/engine.py": "import residuum.hw.array.tile",
            "hw/array/tile.py": "import residuum.hw.layouts",
            "hw/array/lanes.py": "import residuum.hw.engine",
            "hw/layouts.py": "",
        }
    )
    (found,) = cycles_of_folders(imports)
    assert {"hw/engine.py", "hw/array"} == set(found.splitlines()[0].split(" -> "))


def test_plain_names_are_found(tree):
    imports = tree(
        {"tests/a.py": "import sim.link\nfrom hw import engine\nimport hwinfo, tests.hw"}
    )
    assert by_plain_name(imports) == [
        "tests/a.py:1 imports sim.link; write residuum.sim.link",
        "tests/a.py:2 imports hw; write residuum.hw",
    ]


def test_plain_names_in_code_of_pages_are_found():
    python = "```python\n>>> from sw import a\nimport residuum.hw\n```\n"
    text = f"import hw\n{python}```sh\npython -m sim.a\n```"
    assert by_plain_name_in_page("a.md", text) == [
        "a.md:3 names sw; write residuum.sw",
        "a.md:7 names sim; write residuum.sim",
    ]


def test_what_only_the_front_door_may_import_is_found(tree):
    imports = tree(
        {
            "residuum/cli.py": "import argparse, rich.table",
            "sw/a.py": "def f():\n    from rich.console import Console",
            "sim/bench.py": "import argparse",
        }
    )
    assert front_door_only(imports, ["sim/bench.py", "sim/old.py"]) == [
        "sw/a.py:2 imports rich.console; only residuum/ may",
        "sim/old.py needs no exception",
    ]
