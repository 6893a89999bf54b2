"""Replacement of memory contents beside full builds, on whole boards."""

import json

import pytest

from residuum.boards.build.bitstream import prepare
from residuum.boards.catalogue import find
from residuum.cli import main
from residuum.sim.bench import bitstreams
from tests.folders import work_in

ROW = {
    "board": "ulx3s-12f",
    "preset": "12f",
    "network": "mnist",
    "layout_seconds": 300.5,
    "full_seconds": 301.2,
    "replaced_seconds": 7.25,
    "equal": True,
}


@pytest.mark.long
@pytest.mark.hours
def test_three_networks_on_two_boards_give_the_files_of_full_builds():
    """Eight times place and route; what is done is kept for the next run of the same sources."""
    rows = bitstreams.measure(bitstreams.BOARDS, bitstreams.NETWORKS, tries=3)
    assert [(row["board"], row["network"], row["equal"]) for row in rows] == [
        (board, network, True) for board in bitstreams.BOARDS for network in bitstreams.NETWORKS
    ]
    assert all(10 * row["replaced_seconds"] < row["layout_seconds"] for row in rows)


@pytest.mark.parametrize("board", bitstreams.BOARDS)
@pytest.mark.parametrize("network", bitstreams.NETWORKS)
def test_the_networks_fit_the_boards(board, network):
    assert prepare(find(board), model=network)[0].network is not None


def command(monkeypatch, tmp_path, *rows):
    monkeypatch.setattr(bitstreams, "measure", lambda *_, **__: list(rows))
    work_in(tmp_path, monkeypatch)
    return main(["bench", "--bitstreams", "--json", "found.json"])


def test_the_table_tells_seconds_and_equality(monkeypatch, tmp_path, capsys):
    assert command(monkeypatch, tmp_path, ROW) == 0
    printed = capsys.readouterr().out
    for value in ("ulx3s-12f", "mnist", "301", "7.2", "yes"):
        assert value in printed
    assert json.loads((tmp_path / "found.json").read_text())["rows"] == [ROW]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"equal": False}, "the bitstream with mnist on ulx3s-12f is not the one of a full build"),
        (
            {"replaced_seconds": 20.1},
            "the bitstream with mnist on ulx3s-12f took 20.1 s, 20 allowed",
        ),
    ],
    ids=["other", "slow"],
)
def test_another_file_or_a_slow_replacement_ends_with_status_1(
    change, sentence, monkeypatch, tmp_path, capsys
):
    assert command(monkeypatch, tmp_path, ROW, ROW | change) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"residuum: {sentence}"
