import json
from dataclasses import replace

import pytest

from residuum.boards.build import placed as pieces
from residuum.boards.build import timing
from residuum.boards.build.flow import Order
from residuum.boards.build.layout import Layout
from residuum.boards.build.synth import count
from residuum.boards.catalogue import find
from residuum.cli import main
from tests.boards.tiny import order_and_design


def layout(fmax_mhz, lut=9_000):
    used = {"TRELLIS_COMB": lut, "TRELLIS_RAMW": 0, "TRELLIS_FF": 8_000, "DP16KD": 24}
    path = ("scanner.busy", f"walker.row_{fmax_mhz:g}")
    return Layout(fmax_mhz=fmax_mhz, met=True, used=used, available={}, path=path)


def row(clocks, name="ulx3s-12f", lut=9_000):
    order = Order(board=find(name), preset="12f", lanes=16, steps=8, target_mhz=190, seed=1)
    layouts = {seed: layout(clock, lut) for seed, clock in enumerate(clocks, start=1)}
    return timing.summarise(order, count({"CCU2C": 700}), layouts)


def test_a_row_has_minimum_median_and_the_path_of_the_slowest_seed():
    found = row([190, 151.5, 170])
    assert found["fmax_mhz"] == {"1": 190, "2": 151.5, "3": 170}
    assert (found["fmax_min_mhz"], found["fmax_median_mhz"]) == (151.5, 170)
    assert found["path"] == {"from": "scanner.busy", "to": "walker.row_151.5"}
    assert (found["lut"], found["carry"], found["ff"], found["ebr"]) == (9_000, 700, 8_000, 24)
    assert found["below_required"] == []


@pytest.mark.parametrize(
    ("clocks", "lut", "complaints"),
    [
        ([149.9, 190], 12_000, ["ulx3s-12f, 12f: 149.9 of 150 MHz"]),
        ([150, 190], 12_001, ["ulx3s-12f, 12f: 12,001 LUT, 12,000 allowed"]),
        ([150, 190], 12_000, []),
    ],
)
def test_what_is_required_is_held_against_the_slowest_seed(clocks, lut, complaints):
    assert row(clocks, lut=lut)["below_required"] == complaints


def test_a_board_without_a_goal_is_only_measured():
    found = row([20], "ecpix5-45")
    assert (found["goal"], found["below_required"]) == (None, [])


@pytest.fixture
def tiny_designs(tmp_path, monkeypatch):
    """The command on the tiny design; records the requested options."""
    asked = {}

    def prepare(board, *, preset_name, freq, **_):
        asked[board.name, preset_name] = freq
        order, design = order_and_design(round(freq or 150), board.name)
        return replace(order, preset=preset_name), design

    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(pieces, "prepare", prepare)
    return tmp_path, asked


@pytest.mark.long
def test_the_table_has_all_designs_and_their_goals(tiny_designs, capsys):
    folder, asked = tiny_designs
    assert main(["timing", "--seeds", "2"]) == 0
    rows = json.loads((folder / "timing" / "report.json").read_text())
    printed = capsys.readouterr().out
    assert asked == {design: goal.aim_mhz for design, goal in timing.GOALS.items()}
    assert [(r["board"], r["preset"]) for r in rows] == list(timing.GOALS)
    for found, goal in zip(rows, timing.GOALS.values(), strict=True):
        assert list(found["fmax_mhz"]) == ["1", "2"]
        assert f"{found['fmax_min_mhz']:.1f}" in printed
        assert f"{found['fmax_min_mhz'] - goal.required_mhz:+.1f}" in printed
    assert printed.count("slowest path: count -> ") == len(timing.GOALS)


def test_a_board_below_its_goal_ends_with_status_1(tiny_designs, monkeypatch, capsys):
    goal = timing.Goal(required_mhz=700, aim_mhz=190)
    monkeypatch.setattr(timing, "GOALS", {("ulx3s-12f", "12f"): goal})
    assert main(["timing", "--seeds", "1"]) == 1
    assert "below what is required: ulx3s-12f" in capsys.readouterr().err


def test_one_board_at_another_clock(tiny_designs):
    folder, asked = tiny_designs
    assert main(["timing", "--board", "ulx3s-25f", "--seeds", "1", "--freq", "100"]) == 0
    assert asked == {("ulx3s-25f", "25f"): 100}


def test_another_preset(tiny_designs):
    _, asked = tiny_designs
    assert main(["timing", "--board", "ulx3s", "--preset", "85f-8bit", "--seeds", "1"]) == 0
    assert asked == {("ulx3s", "85f-8bit"): None}


def test_an_unknown_preset_is_one_sentence(tiny_designs, capsys):
    _, asked = tiny_designs
    assert main(["timing", "--preset", "nope", "--seeds", "1"]) == 1
    assert capsys.readouterr().err.startswith(
        "residuum: there is no preset 'nope'; the presets are"
    )
    assert asked == {}


def test_a_board_that_is_named_twice_is_measured_once(tiny_designs):
    folder, _ = tiny_designs
    assert main(["timing", "--board", "ulx3s", "--board", "ulx3s", "--seeds", "1"]) == 0
    assert len(json.loads((folder / "timing" / "report.json").read_text())) == 1


@pytest.mark.parametrize("words", [["--freq", "0"], ["--seeds", "0"], ["--seeds", "1000000000"]])
def test_nonsense_is_one_sentence_and_status_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["timing", *words])
    assert caught.value.code == 2
    assert f"argument {words[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["30", "60", "80"])
def test_the_table_is_not_cut_on_a_narrow_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(timing, "measure", lambda *_, **__: [row([190, 151.5]), row([152.5])])
    assert main(["timing"]) == 0
    printed = capsys.readouterr().out.split("ulx3s-12f, 12f: asked")[0]
    for value in ("151.5", "170.8", "9,000", "8,000", "12,000 LUT", "-3,000", "+2.5"):
        assert value in printed
    assert max(map(len, printed.splitlines())) <= int(columns)
