import json
import re

import pytest

from residuum.boards.build import program, toolchain
from residuum.boards.catalogue import BOARDS
from residuum.cli import main
from tests.boards.fake import fake


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """A bitstream for every board, and a stub of openFPGALoader."""
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


def test_it_says_which_network_and_engine_are_loaded(loader, capfd):
    report = {"network": {"name": "mine [/x]"}, "preset": "85f-4bit", "target_mhz": 120.0}
    (loader / "ulx3s" / "report.json").write_text(json.dumps(report))
    assert main(["program", "ulx3s"]) == 0
    assert capfd.readouterr().out == "ulx3s: loading mine [/x], preset 85f-4bit, 120 MHz\n"


def test_empty_memories_and_a_missing_report_are_told(loader, capsys):
    main(["program", "ulx3s"])
    assert "ulx3s: loading an unknown network" in capsys.readouterr().out
    report = {"network": None, "preset": "85f", "target_mhz": 150}
    (loader / "ulx3s" / "report.json").write_text(json.dumps(report))
    main(["program", "ulx3s"])
    assert "ulx3s: loading empty memories, preset 85f, 150 MHz" in capsys.readouterr().out


@pytest.mark.parametrize("report", ['{"network": null}', '{"network": "digits"}', "[]", "{"])
def test_a_strange_report_does_not_stop_it(loader, capsys, report):
    (loader / "ulx3s" / "report.json").write_text(report)
    assert main(["program", "ulx3s"]) == 0
    assert "ulx3s: loading an unknown network" in capsys.readouterr().out


def test_a_later_build_that_missed_its_clock_is_told(loader, capsys):
    (loader / "ulx3s" / "missed.json").write_text("{}")
    assert main(["program", "ulx3s"]) == 0
    assert "note: a later build missed its clock" in capsys.readouterr().out


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


def test_its_death_by_a_signal_is_one_sentence(loader, monkeypatch, capsys):
    monkeypatch.setenv(toolchain.variable(program.TOOL), str(fake(loader, "dying", "kill -15 $$")))
    assert main(["program", "ulx3s"]) == 1
    assert "openFPGALoader was stopped by SIGTERM" in capsys.readouterr().err
