"""``residuum verify``: resumable, with the same result after any number of interruptions."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from residuum import cli
from residuum.hw.isa.host_map import Counter
from residuum.sim.bench import measure
from residuum.sim.bench.compared import Totals
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.library import load_network, network_name, zoo_file
from residuum.sw.pieces import run as pieces
from tests.folders import work_in

ROOT = Path(__file__).resolve().parents[2]
REPORT = Path("build/verify/digits-8bit.json")


def run(*arguments: str, model: str = "digits") -> tuple[int, dict]:
    status = cli.main(["verify", model, *arguments])
    path = REPORT.with_stem(network_name(model))
    return status, json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Work in an empty folder, in parts of two images; lists the first images of started parts."""
    started: list[int] = []
    real = measure.on_engine

    def counted(**given):
        started.append(given["first"])
        return real(**given)

    work_in(tmp_path, monkeypatch)
    monkeypatch.setattr(measure, "LARGEST_PART", 2)
    monkeypatch.setattr(measure, "on_engine", counted)
    return started


@pytest.fixture
def simulated(parts, monkeypatch):
    """As `parts`, with stubs in place of simulations: every image takes 10 cycles, and image 3 has
    a mismatch."""

    def numbers(*, network, images, first, **given):
        parts.append(first)
        totals = Totals.empty(len(network.layers))
        totals.images = len(images)
        totals.counters[:, Counter.CYCLES] = 10 * totals.images
        totals.counters[:, Counter.EVENTS] = totals.images
        if first <= 3 < first + len(images):
            totals.mismatches, totals.first = 1, "image 3"
        return totals.to_json()

    monkeypatch.setattr(measure, "on_engine", numbers)


def interrupt_after(monkeypatch, count: int, started: list[int] | None = None) -> None:
    """Raise Ctrl-C when the main program waits for the (``count`` + 1)-th time, and not before more
    than ``count`` parts have ``started``."""
    real, calls = pieces.wait, []

    def wait(*arguments, **options):
        calls.append(1)
        if len(calls) > count:
            while started is not None and len(started) <= count:
                time.sleep(0.01)
            monkeypatch.setattr(pieces, "wait", real)
            raise KeyboardInterrupt
        return real(*arguments, timeout=None, return_when=options["return_when"])

    monkeypatch.setattr(pieces, "wait", wait)


@pytest.mark.long
def test_broken_off_and_resumed_is_the_same_as_in_one_go(parts, monkeypatch, capsys):
    """On the engine, with three parts: Ctrl-C comes during the second part."""
    interrupt_after(monkeypatch, 1, parts)
    assert run("--images", "5", "--jobs", "1") == (130, {})
    said = capsys.readouterr().err
    assert (
        "interrupted; 4 of 5 images of digits-8bit, tau 4, T 4, 16 lanes are done and kept in "
        "build/pieces; " in said
    )
    assert said.rstrip().endswith("the same command goes on from there")

    status, resumed = run("--images", "5", "--jobs", "1")
    assert (status, resumed["images"], resumed["mismatches"]) == (0, 5, 0)
    assert parts == [0, 2, 4]

    monkeypatch.setattr(measure, "LARGEST_PART", 5)
    assert run("--images", "5") == (0, resumed)
    assert parts == [0, 2, 4, 0]


# A program that runs `residuum verify` in parts of 40 images.
VERIFY = """
import sys
from residuum import cli
from residuum.sim.bench import measure
from residuum.sim.bench.compared import Totals
measure.LARGEST_PART = 40
sys.exit(cli.main(["verify", "digits", "--images", "80", "--jobs", "1"]))
"""


def interrupted(folder: Path, *, again: bool) -> tuple[int, str, int]:
    """Send SIGINT to the process group of a measurement, as the terminal does at Ctrl-C.

    With ``again``, send it twice. Returns exit status, standard error, and the number of kept
    parts.
    """
    scratch = folder / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", VERIFY],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as command:
        assert command.stderr is not None
        while not list(scratch.glob("*/steps")):
            assert command.poll() is None
            time.sleep(0.02)
        os.killpg(command.pid, signal.SIGINT)
        said = [command.stderr.readline()]
        if again:
            os.killpg(command.pid, signal.SIGINT)
        said += command.stderr.readlines()
    parts = sum(path.is_file() for path in Path("build/pieces").rglob("*"))
    assert list(scratch.iterdir()) == []
    return command.returncode, "".join(said), parts


def test_ctrl_c_finishes_and_keeps_what_is_being_simulated(in_tmp):
    status, said, parts = interrupted(in_tmp, again=False)
    assert (status, parts) == (130, 1)
    assert "finishing what is being simulated; interrupt again to drop it" in said
    assert (
        "interrupted; 40 of 80 images of digits-8bit, tau 4, T 4, 16 lanes are done and kept in "
        in said
    )


@pytest.mark.long
def test_a_second_ctrl_c_drops_it(in_tmp):
    status, said, parts = interrupted(in_tmp, again=True)
    assert (status, parts) == (130, 0)
    assert (
        "interrupted; 0 of 80 images of digits-8bit, tau 4, T 4, 16 lanes are done and kept in "
        in said
    )


def test_a_mismatch_is_told_and_ends_with_status_1(parts, monkeypatch, capsys):
    def unmasked(network, images, *, tau, T, correction):
        return simulate(network, images, tau=0, T=tau + T)

    monkeypatch.setattr("residuum.sw.golden.golden_model.simulate", unmasked)
    status, report = run("--images", "1")
    assert (status, report["mismatches"] > 0) == (1, True)
    assert "values differ; the first: layer 'conv1', image 0, position" in capsys.readouterr().err


def test_a_finished_run_starts_nothing(simulated, parts, capsys):
    first = run("--images", "6", "--jobs", "2")
    assert (first[0], first[1]["mismatches"]) == (1, 1)
    assert "1 values differ; the first: image 3" in capsys.readouterr().err
    assert sorted(parts) == [0, 2, 4]
    assert run("--images", "6") == first
    assert len(parts) == 3


def test_more_images_go_on_from_fewer(simulated, parts):
    run("--images", "5", "--jobs", "1")
    assert run("--images", "8", "--jobs", "1")[1]["images"] == 8
    assert parts == [0, 2, 4, 4, 6]


def test_all_held_out_images_by_default(simulated, parts, monkeypatch):
    monkeypatch.setattr(measure, "LARGEST_PART", 200)
    assert run()[1]["images"] == 360
    assert sorted(parts) == [0, 200]


def test_a_changed_network_is_done_anew(simulated, parts):
    path = Path("mine.npz")
    path.write_bytes(zoo_file("digits", 8).read_bytes())
    run("--images", "2", model=str(path))
    network = load_network("digits")
    first, *others = network.layers
    changed = dataclasses.replace(first, bias=first.bias + 1)
    dataclasses.replace(network, layers=(changed, *others)).save(path)
    run("--images", "2", model=str(path))
    run("--images", "2", model=str(path))
    assert parts == [0, 0]


@pytest.mark.parametrize("what", ["software", "steps", "lanes", "images"])
def test_whatever_a_result_depends_on_makes_it_anew(what, simulated, parts, monkeypatch):
    run("--images", "2")
    more: list[str] = []
    if what == "software":
        monkeypatch.setattr(pieces, "code_digest", lambda module: "another golden model")
    elif what == "images":
        np.savez("other.npz", images=np.full((2, 8, 8), 9, np.uint8), labels=[0, 0])
        more = ["--data", "other.npz", "--split", "all"]
    else:
        more = {"steps": ["--tau", "3"], "lanes": ["--lanes", "8"]}[what]
    run("--images", "2", *more)
    assert parts == [0, 0]


def test_a_damaged_file_is_told_and_computed_again(simulated, parts, capsys):
    first = run("--images", "2")
    (kept,) = (path for path in Path("build/pieces").rglob("*") if path.is_file())
    kept.write_bytes(b"{")
    assert run("--images", "2") == first
    assert (
        f"{kept} is damaged; digits-8bit, tau 4, T 4, 16 lanes, images 0 to 1 is computed again"
        in (capsys.readouterr().err)
    )
    assert parts == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digits", "--preset", "99f"], "there is no preset '99f'"),
        (["digits", "--images", "361"], "361 images are wanted, but digits has 360 held-out"),
        (
            ["fashion", "--bits", "4", "--preset", "12f"],
            "takes 2304 weight rows, all layers take 6034; this engine has 2048",
        ),
        (["digits", "--tau", "30", "--T", "30"], "steps must be in 1..31 "),
        (["nothing"], "there is no network 'nothing'"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, sentence, capsys):
    assert cli.main(["verify", *arguments]) == 1
    assert sentence in capsys.readouterr().err
