"""README and docs against the project: links, commands, folders, addresses, worked examples."""

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from residuum.cli import COMMANDS, _parser
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import LayerDescriptor
from residuum.hw.isa.host_map import Counter, HostMap, Region
from residuum.sw.compiler.axes import axis_entries
from residuum.sw.network.integer_network import FORMAT

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
ENGINE = ROOT / "docs" / "engine.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[str]:
    """The `make` and `residuum` command lines in code blocks and in inline code."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    found = [line for line in lines + inline if re.match(r"(make|residuum) \S", line)]
    return [line for line in found if line != FORMAT]


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    _, _, after = text.partition(f"| {heading} |")
    rows = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def anchor(heading: str) -> str:
    """GitHub's anchor for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        name, _, part = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        headings = re.findall(r"^#+ (.*)", target.read_text(), re.M) if part else []
        if not target.is_file() or (part and part not in map(anchor, headings)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    names = re.findall(r"`((?:residuum|hw|sw|sim|boards|docs|tests)/[\w./-]*)`", page.read_text())
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    wrong = []
    for command in commands(page.read_text()):
        program, *words = shlex.split(command)
        if program == "make":
            names = [word for word in words if "=" not in word]
            variables = [word.split("=")[0] for word in words if "=" in word]
            found = all(re.search(rf"^{name}:", makefile, re.M) for name in names)
            found &= all(re.search(rf"^{name} *=", makefile, re.M) for name in variables)
        else:
            found = accepted(words)
        if not found:
            wrong.append(command)
    assert wrong == []


def accepted(words: list[str]) -> bool:
    """Whether `residuum` accepts a command line; words in capitals are placeholders."""
    if words in (["--help"], ["--version"]) or words in [[command.name] for command in COMMANDS]:
        return True
    # A placeholder after an option stands for a number, any other one for a name.
    filled = [
        ("4" if before.startswith("--") else "digits")
        if word.isalpha() and word.isupper()
        else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    try:
        parsed = _parser(filled).parse_args(filled)
    except (SystemExit, argparse.ArgumentError):
        return False
    return callable(parsed.run)


def test_readme_lists_the_folders() -> None:
    listed = {row[0].strip("`").rstrip("/") for row in table(README.read_text(), "folder")}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    assert {name for name in listed if "/" not in name} == folders


def test_readme_names_every_step_of_the_path_of_a_spike() -> None:
    row = next(row for row in table(README.read_text(), "folder") if row[0] == "`hw/`")
    folders = {path.parent.name for path in (ROOT / "hw").glob("*/__init__.py")}
    assert set(re.findall(r"`(\w+)`", row[1])) == folders


def test_every_subcommand_is_in_the_docs() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert [c.name for c in COMMANDS if f"residuum {c.name}" not in text] == []


def test_host_map_of_the_default_engine() -> None:
    host_map = HostMap(EngineConfig())
    expected = [
        (
            region.name,
            f"0x{host_map.address(region):05X}",
            ", ".join(f"{name} ({width})" for name, width in host_map.fields(region)),
        )
        for region in Region
    ]
    assert [tuple(row[:3]) for row in table(ENGINE.read_text(), "region")] == expected


def test_configuration_table_shows_names_and_defaults() -> None:
    rows = [(row[0].split("`")[1], row[1]) for row in table(ENGINE.read_text(), "parameter")]
    expected = [(name, str(field.default)) for name, field in fields().items()]
    assert rows == expected


def fields() -> dict:  # type: ignore[type-arg]
    return EngineConfig.__dataclass_fields__


def test_counter_table() -> None:
    rows = [(row[0], int(row[1])) for row in table(ENGINE.read_text(), "counter")]
    assert rows == [(counter.name, counter.value) for counter in Counter]


def test_number_of_descriptor_words() -> None:
    words = len(LayerDescriptor.places(EngineConfig()))
    assert f"is {words} words" in ENGINE.read_text()


def test_axis_table_example() -> None:
    rows = [tuple(map(int, row[1:])) for row in table(ENGINE.read_text(), "output")]
    assert rows == axis_entries(size=5, pool=1, kernel=3, stride=2, padding=1, outputs=3)
