"""The SDRAM controller, the memory tester and a whole chip in Verilator."""

import subprocess
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest

from residuum.hw.isa.host_map import Pattern
from residuum.hw.memory.sdram.parts import SLOWEST, Timing
from residuum.sim.sdram.chip import STORAGE
from residuum.sim.sdram.rules import Rule
from residuum.sim.verilator.build import build_program, verilog_text
from tests.hw.sdram_memory import CLOCK, MemoryBoard

WORDS = 1 << 24
RETENTION = Timing.of(SLOWEST, CLOCK).retention


@dataclass(frozen=True)
class Step:
    """A run of the tester; then a pause in cycles."""

    pattern: Pattern = Pattern.RANDOM
    first: int = 0
    count: int = 1
    writing: int = 1
    reading: int = 1
    seed: int = 1
    pause: int = 0
    unrefreshed: int = 0


@dataclass(frozen=True)
class Result:
    cycles: int
    errors: int
    bad_bits: int
    first_bad: int
    expected: int
    read: int
    seen: int

    @property
    def rules(self) -> list[Rule]:
        return [rule for rule in Rule if self.seen >> rule & 1]


@pytest.fixture(scope="module")
def program() -> Path:
    text = verilog_text(MemoryBoard(SLOWEST, verilog=True))
    main = Path(__file__).with_name("sdram.cpp").read_text()
    sources = {"design.v": text, STORAGE.name: STORAGE.read_text(), "sdram.cpp": main}
    return build_program(sources, name="sdram")


def run(program: Path, *steps: Step, arguments: tuple[str, ...] = ()) -> list[Result]:
    given = "\n".join(" ".join(map(str, map(int, astuple(step)))) for step in steps)
    printed = subprocess.run(
        [program, *arguments], input=given, capture_output=True, text=True, check=True
    ).stdout
    return [Result(*map(int, line.split())) for line in printed.splitlines()]


def test_a_long_read_takes_the_pins_for_97_percent_of_the_time(program):
    # 8 MB of weights: several thousand rows, several hundred refreshes.
    write, read = Step(count=1), Step(count=1 << 18, writing=0)
    cycles = run(program, write, read)[1].cycles
    assert 0.97 < 8 * (1 << 18) / cycles < 1


@pytest.mark.long
def test_the_whole_retention_time_with_reads_and_without(program):
    write = Step(count=1 << 14, reading=0, pause=RETENTION + 10_000)
    read = Step(count=1 << 14, writing=0)
    results = run(program, write, read, Step(count=1 << 20, writing=0), read)
    assert ([results[1].errors, results[3].errors], results[3].rules) == ([0, 0], [])


@pytest.mark.long
def test_without_refreshes_nothing_is_kept(program):
    write, read = Step(count=1 << 10, reading=0), Step(count=1 << 10, writing=0)
    wait = Step(count=1, writing=0, pause=RETENTION + 10_000, unrefreshed=1)
    result = run(program, write, wait, read)[2]
    assert (result.errors > 8000, result.bad_bits, result.rules) == (True, 0xFFFF, [Rule.RETENTION])


def test_words_from_a_file(program, tmp_path):
    words = tmp_path / "words.hex"
    words.write_text("\n".join(f"{address & 0xFFFF:x}" for address in range(8 * 20)))
    read = Step(Pattern.ADDRESS, count=21, writing=0)
    result = run(program, read, arguments=(f"+sdram={words}",))[0]
    assert (result.errors, result.first_bad) == (8, 8 * 20)


@pytest.mark.long
@pytest.mark.parametrize("pattern", [Pattern.ADDRESS, Pattern.PAGE, Pattern.RANDOM])
def test_the_whole_chip(program, pattern):
    result = run(program, Step(pattern, count=WORDS // 8))[0]
    assert (result.errors, result.rules) == (0, [])
    # Some four cycles to write a word, one to read it; and refreshes.
    assert result.cycles < 5.4 * WORDS
