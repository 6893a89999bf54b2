"""Common behaviour of commands: narrow terminals, odd names, unwritable folders."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from residuum.cli import main
from residuum.sim.link.simulated import build_accelerator
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.sw.fake_device import FakeLink
from tests.sw.layers import layer

# Unmatched markup tags, and an incomplete formula.
ODD = "[/x] [red] $_$"


@pytest.fixture
def odd(in_tmp: Path) -> str:
    """The file of a network for digits whose name and layers are called ``ODD``."""
    network = load_network("digits")
    layers = tuple(
        dataclasses.replace(each, name=f"{ODD}/y]{index}")
        for index, each in enumerate(network.layers)
    )
    dataclasses.replace(network, name=ODD, layers=layers).save("[/x].npz")
    return "[/x].npz"


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> str:
    """A network in one layer that fits the fake device; every address opens that device."""
    out = layer(0, ODD, np.ones((10, 1, 8, 8), int), np.zeros(10, int), None)
    network = IntegerNetwork(ODD, (1, 8, 8), (out,), 8, metadata={"dataset": "digits"})
    network.save("[/x].npz")
    monkeypatch.setattr("residuum.sw.host.links.open_link", lambda *_, **__: FakeLink())
    return "[/x].npz"


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary"],
        ["eval", "--images", "3"],
        ["explain", "--images", "3"],
        ["show"],
        ["report", "--images", "3"],
    ],
)
def test_names_are_no_markup(
    arguments: list[str], odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([arguments[0], odd, *arguments[1:]]) == 0
    printed = capsys.readouterr().out
    assert ODD in printed or arguments[0] in ("report", "show")


def test_names_are_no_markup_on_a_device(board: str, capsys: pytest.CaptureFixture[str]) -> None:
    device = ["--device", "serial:/dev/[/x]"]
    stages = ["--tau", "1", "--T", "2"]
    assert main(["run", "--model", board, "--images", "3", *device, *stages]) == 0
    assert f"{ODD}: " in capsys.readouterr().out
    assert main(["info", *device]) == 0
    assert "serial:/dev/[/x]\n" in capsys.readouterr().out


def words(arguments: list[str], columns: int, monkeypatch, capsys) -> tuple[set[str], int]:
    """The words in a command's tables on a terminal of this width, and the longest line."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(arguments) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    inside = [line for line in lines if "──" not in line]
    tables = [line for line in inside if "  " in line or len(line.split()) < 3]
    return {word for line in tables for word in line.split()}, max(map(len, tables))


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "digits", "--images", "5"],
        ["summary", "digits"],
        ["info", "--device", "serial:x"],
        ["run", "--model", "[/x].npz", "--tau", "1", "--T", "2", "--images", "3"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_tables_fit_narrow_terminals(
    arguments: list[str],
    columns: int,
    board: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No line is too long, and no number or name is truncated."""
    wide, _ = words(arguments, 250, monkeypatch, capsys)
    narrow, longest = words(arguments, columns, monkeypatch, capsys)
    digest = bytes(range(16)).hex()
    if arguments[0] == "info" and columns == 40:
        assert wide - narrow == {digest}
    else:
        assert {word for word in wide if any(c.isdigit() for c in word)} - narrow == set()
    assert longest <= columns or arguments[0] == "run"


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "digits", "--images", "3"],
        ["show", "digits"],
        ["report", "digits", "--images", "3"],
        ["eval", "digits", "--images", "3"],
        ["run", "--images", "1"],
        ["info"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_build_folder_that_takes_no_file(
    arguments: list[str],
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (in_tmp / "taken").touch()
    monkeypatch.setenv("RESIDUUM_BUILD", str(in_tmp / "taken"))
    # An earlier test may have built the simulated accelerator already.
    build_accelerator.cache_clear()
    assert main(arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("residuum: taken/")
    assert "cannot be written: Not a directory" in last
