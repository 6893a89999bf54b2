import re

import pytest

from residuum.boards.build import program, toolchain
from residuum.boards.catalogue import BOARDS
from residuum.cli import main
from tests.boards.fake import fake


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """A bitstream for every board, and a program that takes the place of openFPGALoader."""
    for name in BOARDS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "residuum.bit").write_bytes(b"bits")
    tool = fake(tmp_path, "loader", f'echo "$@" > {tmp_path}/said\nexit ${{STATUS:-0}}')
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setenv(toolchain.variable(program.TOOL), str(tool))
    return tmp_path


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_loaded_through_its_cable(loader, name):
    assert main(["program", name]) == 0
    said = (loader / "said").read_text().split()
    assert re.match(r"--(board|cable|dfu)", said[0])
    assert said[-1] == str(loader / name / "residuum.bit")


def test_flash_and_another_cable(loader):
    assert main(["program", "ulx3s", "--flash", "--cable", "ft4232"]) == 0
    words = "--board ulx3s --cable ft4232 --write-flash"
    assert (loader / "said").read_text().startswith(words + " ")


def test_no_bitstream_is_one_sentence(loader, capsys):
    (loader / "ulx3s" / "residuum.bit").unlink()
    assert main(["program", "ulx3s"]) == 1
    assert "run `make bitstream BOARD=ulx3s` first" in capsys.readouterr().err


def test_a_missing_programmer_is_named(loader, monkeypatch, capsys):
    monkeypatch.delenv(toolchain.variable(program.TOOL))
    monkeypatch.setenv("PATH", str(loader))
    assert main(["program", "ulx3s"]) == 1
    assert "no openFPGALoader found in PATH; install it" in capsys.readouterr().err


def test_its_failure_is_one(loader, monkeypatch, capsys):
    monkeypatch.setenv("STATUS", "3")
    assert main(["program", "ulx3s"]) == 1
    assert "openFPGALoader ended with status 3" in capsys.readouterr().err
