"""The sweep of `residuum memtest` over the phases of an SDRAM's clock, with made-up boards."""

from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import pytest

from residuum.boards.build import flow, program
from residuum.boards.build.sdram import SWEPT, best_phases
from residuum.cli import main
from residuum.commands import devices, memtest
from residuum.sw.errors import ResiduumError
from residuum.sw.host import external

DIGEST = bytes(range(32))
SWEEP = ["memtest", "--sweep", "ulx3s", "--device", "serial:/dev/mine"]


@pytest.mark.parametrize(
    ("wrong", "best"),
    [
        ({45: 3, 75: 0, 105: 0, 135: 0, 165: 1}, (75, 135)),
        ({45: 0, 75: 1, 105: 0, 135: 0, 165: 0}, (105, 165)),
        ({45: 0, 75: 0, 105: 9, 135: 0, 165: 0}, (45, 75)),
        ({45: 1, 75: 0, 105: 1}, (75, 75)),
        ({45: 1, 75: 1}, None),
    ],
)
def test_the_longest_row_of_phases_without_a_wrong_word(wrong, best):
    assert best_phases(wrong) == best


def test_several_tests_together():
    results = [
        external.TestResult(0, 0, 0, 0, 0),
        external.TestResult(2, 0b100, 0x12, 0x4, 0x0),
        external.TestResult(1, 0b001, 0x01, 0x1, 0x0),
    ]
    assert external.combined(results) == external.TestResult(3, 0b101, 0x12, 0x4, 0x0)
    assert external.combined(results[:1]) == results[0]


class Bench:
    """A board whose memory is right at some phases; its port is gone for a moment after loading."""

    def __init__(self, good):
        self.good = good
        self.digest = DIGEST
        self.made, self.built, self.loaded, self.tests, self.gone = [], [], [], 0, 0

    def make_layout(self, order, design, folder, reporter):
        self.made.append(design.phase)

    def build(self, order, design, folder, reporter):
        self.built.append(design.phase)
        return {"digest": DIGEST.hex()}

    def load(self, board, path, cable=None):
        self.loaded.append((board.name, path.parts[-3:], cable))
        self.gone = 1

    def open_device(self, address, reporter):
        assert address == "serial:/dev/mine"
        if self.gone:
            self.gone -= 1
            raise ResiduumError("there is no /dev/mine")
        config = SimpleNamespace(external=24, burst_bits=21)
        identity = SimpleNamespace(config=config, digest=self.digest)
        return nullcontext(SimpleNamespace(identity=identity))

    def test(self, device, pattern, bursts, *, seed):
        self.tests += 1
        wrong = 0 if SWEPT[len(self.loaded) - 1] in self.good else 7
        return external.TestResult(wrong, 1 if wrong else 0, 0, 1 if wrong else 0, 0)


@pytest.fixture
def bench(monkeypatch):
    def use(good):
        bench = Bench(good)
        monkeypatch.setattr(flow, "make_layout", bench.make_layout)
        monkeypatch.setattr(flow, "build", bench.build)
        monkeypatch.setattr(program, "load", bench.load)
        monkeypatch.setattr(devices, "open_device", bench.open_device)
        monkeypatch.setattr(external, "test", bench.test)
        monkeypatch.setattr(memtest.time, "sleep", lambda seconds: None)
        return bench

    return use


def test_a_sweep_tells_the_phases_without_wrong_words_and_their_middle(bench, capsys):
    found = bench({105.0, 135.0, 165.0, 195.0, 285.0})
    assert main([*SWEEP, "--megabytes", "1", "--cable", "ft4232"]) == 0
    printed = capsys.readouterr().out
    assert found.made == found.built[:1]
    # In steps of 30 degrees, and of 9 by the PLL.
    places = [8 * phase.cycles + phase.eighths for phase in found.built]
    assert all(3 <= later - place <= 4 for place, later in pairwise(places))
    assert found.loaded == [("ulx3s", ("ulx3s", "phases", "residuum.bit"), "ft4232")] * len(SWEPT)
    assert found.tests == len(SWEPT) * len(external.PATTERNS)
    assert "no wrong words from 105 to 195 degrees; take --sdram-phase 150" in printed
    rows = [line.split()[:2] for line in printed.splitlines() if line.strip()[:1].isdigit()]
    assert ["45", "42"] in rows
    assert ["105", "0"] in rows


def test_a_sweep_without_a_good_phase_ends_with_status_1(bench, capsys):
    bench(set())
    assert main(SWEEP) == 1
    assert "wrong words at every phase; try a slower clock, --freq" in capsys.readouterr().out


def test_a_sweep_notices_another_board_at_the_port(bench, capsys):
    bench(set(SWEPT)).digest = bytes(32)
    assert main(SWEEP) == 1
    assert "serial:/dev/mine is not the board that was loaded" in capsys.readouterr().err


def test_a_port_that_stays_away_is_told(bench, capsys, monkeypatch):
    monkeypatch.setattr(memtest, "GONE", -1)
    bench(set(SWEPT))
    assert main(SWEEP) == 1
    assert "there is no /dev/mine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "ulx3s"], "a sweep needs a board: name its port with --device serial:PORT"),
        ([*SWEEP[1:], "--preset", "85f"], "85f is no engine of ulx3s with an SDRAM; those are "),
        (["--sweep", "ecpix5-85", "--device", "serial:/dev/x"], "ecpix5-85 has no SDRAM with"),
        (["--sweep", "nothing", "--device", "serial:/dev/x"], "nothing"),
        (["--preset", "85f-sdram"], "--preset is for a sweep over the phases, --sweep BOARD"),
    ],
)
def test_a_sweep_that_is_not_possible_is_one_sentence(arguments, message, capsys):
    assert main(["memtest", *arguments]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
