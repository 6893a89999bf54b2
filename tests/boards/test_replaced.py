"""Another network, and another phase of a second clock, in a bitstream by replacement of settings,
on a small design."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io

from residuum.boards.board import MHZ
from residuum.boards.build import bitstream, kept
from residuum.boards.build.flow import build, make_layout
from residuum.boards.build.laid import Maker
from residuum.boards.build.layout import Build, Design, layout_file
from residuum.boards.build.memories import fill, memories_of, tagged
from residuum.boards.build.pll import shifted_phase, solve, with_phase
from residuum.boards.build.published import BITSTREAM
from residuum.boards.build.sdram import LAID
from residuum.boards.build.top import add_clock
from residuum.boards.catalogue import find
from residuum.cli import main
from residuum.hw.memory.block import BlockMemory
from residuum.sw.errors import ResiduumError
from tests.boards.recorder import Recorder
from tests.boards.tiny import order_at

# Width and depth of each memory: the four geometries with words of 9 bits or more and less, more
# than one cell in width and in depth.
SIZES = ((36, 512), (20, 1024), (9, 4096), (4, 3000))


class Player(Elaboratable):
    """Shows one bit of all words of some memories on an LED, one after another, and on another one
    a clock that is some degrees later."""

    def __init__(self, dividers, contents, shift):
        self.dividers = dividers
        self.contents = contents
        self.shift = shift

    def elaborate(self, platform):
        m = Module()
        add_clock(m, platform, self.dividers, shift=self.shift)
        time, shown = Signal(12), Signal()
        m.d.sync += time.eq(time + 1)
        for number, (width, depth) in enumerate(SIZES):
            words = self.contents[number] if self.contents else ()
            memory = BlockMemory(width=width, depth=depth, ecp5=True, init=words)
            m.submodules[f"memory_{number}"] = memory
            m.d.comb += memory.read_address.eq(time)
            shown = shown ^ memory.read_data.xor()
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.sync += led.o.eq(shown)
        m.submodules.late = late = io.Buffer("o", platform.request("led", 1, dir="-"))
        m.d.chip += late.o.eq(~late.o)
        return m


def order_and_design(seed, key="player"):
    """An order, and a design whose memories hold random words that follow from a seed, as does the
    phase of its second clock."""
    board, generator = find("ulx3s-12f"), np.random.default_rng(seed)
    dividers = solve(board.oscillator_hz, 100 * MHZ)
    # The first memory holds zeros now and then, as networks without some layers do.
    contents = [
        () if seed % 2 and number == 0 else
        [int(word) for word in generator.integers(0, 1 << width, depth - seed)]
        for number, (width, depth) in enumerate(SIZES)
    ]  # fmt: skip
    shift = 67.5 * (seed + 1)

    def make_top(digest):
        if digest is None:
            return Player(dividers, None, LAID)
        return Player(dividers, contents, shift)

    design = Design(board, make_top, key=key, phase=shifted_phase(dividers, shift))
    return order_at(board, dividers), design


def whole_build(seed, folder):
    """The bitstream that the tools make of the whole design, without any replacement."""
    order, design = order_and_design(seed)
    steps = Build(order.board, folder)
    steps.synthesise(design.whole())
    steps.place(order.seed, order.target_mhz)
    return steps.pack(layout_file(order.seed)).read_bytes()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the layout of the design."""
    folder = tmp_path_factory.mktemp("layouts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "kept_folder", lambda: folder)
        make_layout(*order_and_design(0), tmp_path_factory.mktemp("prepared"))
    return folder


@pytest.fixture
def cache(prepared, tmp_path, monkeypatch):
    """A copy of that cache, in use."""
    folder = tmp_path / "layouts"
    shutil.copytree(prepared, folder)
    monkeypatch.setattr(kept, "kept_folder", lambda: folder)
    return folder


@pytest.fixture
def no_placement(monkeypatch):
    def place(*_):
        raise AssertionError("placed again")

    monkeypatch.setattr(Build, "place", place)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("seed", [1, 2])
def test_replacement_gives_the_file_of_a_whole_build_byte_for_byte(seed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Build, "synthesise", lambda *_: pytest.fail("synthesised again"))
        build(*order_and_design(seed), tmp_path / "replaced")
    replaced = (tmp_path / "replaced" / BITSTREAM).read_bytes()
    assert replaced == whole_build(seed, tmp_path / "whole")


@pytest.mark.usefixtures("cache", "no_placement")
def test_other_contents_give_another_bitstream_of_the_same_design(tmp_path):
    reports = [build(*order_and_design(seed), tmp_path / str(seed)) for seed in (1, 2)]
    files = {(tmp_path / str(seed) / BITSTREAM).read_bytes() for seed in (1, 2)}
    assert len(files) == 2
    assert reports[0]["digest"] == reports[1]["digest"]


def test_a_layout_is_prepared_without_a_network(cache, tmp_path, monkeypatch, capsys):
    asked = []

    def prepare(board, *, model, **_):
        asked.append(model)
        return order_and_design(3)

    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(bitstream, "prepare", prepare)
    assert main(["bitstream", "ulx3s-12f", "--prepare"]) == 0
    told = capsys.readouterr()
    assert asked == [""]
    assert "ulx3s-12f (seed 1): the layout of an earlier build serves again" in told.err
    assert f"the layout is kept in {cache}; a bitstream now takes seconds" in told.out
    assert not (tmp_path / "build" / "ulx3s-12f" / BITSTREAM).exists()


@pytest.mark.usefixtures("cache", "no_placement")
def test_a_layout_that_missed_its_clock_is_not_made_again(tmp_path, monkeypatch):
    order, design = order_and_design(1)
    laid = Maker(order.board, design, tmp_path).laid(1, order.target_mhz)
    slow = replace(laid, layout=replace(laid.layout, met=False, fmax_mhz=90))
    monkeypatch.setattr(Maker, "_make", lambda *_: slow)
    design.key, reporter = "slow", Recorder()
    for _ in range(2):
        with pytest.raises(ResiduumError, match="ulx3s-12f reaches 90.0 MHz, 10.0 MHz less"):
            build(order, design, tmp_path / "build", reporter)
    assert reporter.lines == ["ulx3s-12f (seed 1): the layout of an earlier build missed the clock"]


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damaged, "it is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "it is damaged"),
        (lambda path: path.write_bytes(b""), "it is damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    ],
    ids=["a bit", "cut", "empty", "folder"],
)
def test_a_damaged_layout_is_told_and_made_anew(harm, reason, cache, tmp_path, monkeypatch):
    (path,) = cache.iterdir()
    harm(path)
    reporter = Recorder()
    monkeypatch.setattr(Maker, "_make", lambda *_: pytest.fail("made anew"))
    with pytest.raises(pytest.fail.Exception, match="made anew"):
        build(*order_and_design(1), tmp_path / "build", reporter)
    told = [line for line in reporter.lines if "cannot be used" in line]
    assert len(told) == 1
    assert f"{path.name} cannot be used: {reason}; the layout is made anew" in told[0]


def test_the_layout_of_another_design_under_this_name_is_told(cache, tmp_path):
    (path,) = cache.iterdir()
    board, reporter = "ulx3s-12f", Recorder()
    other = "0" * 64
    path.rename(kept.file_of(board, other))
    assert kept.get(board, other, reporter) is None
    assert "it holds the layout of another design" in reporter.lines[0]


def test_a_layout_without_a_second_clock_has_no_phase():
    with pytest.raises(ValueError, match="it has 0 settings CLKOS2_CPHASE"):
        with_phase("word: CLKOS_CPHASE 0000000\n", shifted_phase(solve(25 * MHZ, 100 * MHZ), 90))


@pytest.mark.usefixtures("cache")
def test_a_layout_with_other_memories_is_one_sentence(tmp_path):
    """As after a change that the key does not see."""
    order, design = order_and_design(1)
    strange = Design(order.board, design.make_top, key=design.key)
    strange.memories = lambda digest: {"elsewhere": np.zeros(2048, np.uint16)}
    with pytest.raises(ResiduumError, match="the layout of ulx3s-12f is not one of this design: "):
        build(order, strange, tmp_path / "build")


@pytest.mark.usefixtures("cache")
def test_a_cache_that_cannot_be_written_hinders_only_a_preparation(tmp_path, monkeypatch):
    order, design = order_and_design(1)
    laid = Maker(order.board, design, tmp_path).laid(order.seed, order.target_mhz)
    monkeypatch.setattr(Maker, "_make", lambda *_: laid)
    monkeypatch.setattr(kept, "kept_folder", lambda: Path("/proc/nowhere"))
    reporter = Recorder()
    build(order, design, tmp_path / "build", reporter)
    assert any("the layout is not kept for later builds: " in line for line in reporter.lines)
    with pytest.raises(ResiduumError, match="cannot be written"):
        make_layout(order, design, tmp_path / "build")


@pytest.mark.usefixtures("cache")
def test_only_the_layouts_that_were_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(kept, "MOST", 3)
    for number in range(5):
        kept.put("ulx3s", f"{number}" * 64, {"number": number})
    reporter = Recorder()
    found = [kept.get("ulx3s", f"{number}" * 64, reporter) for number in range(5)]
    assert found[-1] == {"number": 4}
    assert sum(values is not None for values in found) == 3


def test_the_memories_of_a_design_are_those_of_its_modules():
    """Word 1 of the first memory, 36 bits wide, is words 4 to 7 of its cell."""
    order, design = order_and_design(2)
    found = memories_of(design.make_top(b""), order.board.platform())
    words = np.random.default_rng(2).integers(0, 1 << 36, 510)
    cell = found["memory_0.ebr_0_0.dp16kd"]
    assert sum(int(word) << 9 * k for k, word in enumerate(cell[4:8])) == words[1]
    assert len(found) == 1 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".bram_init 3\n" + "000 " * 2047 + "000\n", "memory 3 of the layout holds something else"),
        ("", "the layout has 0 block memories, the netlist 1"),
    ],
)
def test_a_layout_without_tags_is_not_taken(text, message):
    with pytest.raises(ValueError, match=message):
        tagged(text, ["memory"])


def test_memories_that_the_table_does_not_have_are_not_replaced():
    text = ".bram_init 3\n" + "000 " * 2047 + "000\n"
    with pytest.raises(ValueError, match="other block memories than its table says"):
        fill(text, {}, {})
