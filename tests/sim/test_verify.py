"""``residuum verify``: resumable, with the same result after any number of interruptions."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from residuum import cli
from residuum.hw.isa.host_map import Counter
from residuum.sim.bench import measure
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.library import load_network, network_name, zoo_file
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
    real = measure._run_part

    def counted(task, simulation, first, last, watch):
        started.append(first)
        return real(task, simulation, first, last, watch)

    work_in(tmp_path, monkeypatch)
    monkeypatch.setattr(measure, "LARGEST_PART", 2)
    monkeypatch.setattr(measure, "_run_part", counted)
    return started


@pytest.fixture
def simulated(parts, monkeypatch):
    """As `parts`, with stubs in place of simulations: every image takes 10 cycles, and image 3 has
    a mismatch."""

    def numbers(task, simulation, first, last, watch):
        parts.append(first)
        totals = measure.Totals.empty(len(task.program.layers))
        totals.images = last - first
        totals.counters[:, Counter.CYCLES] = 10 * totals.images
        totals.counters[:, Counter.EVENTS] = totals.images
        if first <= 3 < last:
            totals.mismatches, totals.first = 1, "image 3"
        return totals

    fake = SimpleNamespace(folder=Path("digest-of-the-engine"))
    monkeypatch.setattr("residuum.sim.verilator.engine.build_engine", lambda config: fake)
    monkeypatch.setattr(measure, "_run_part", numbers)
    return fake


def interrupt_after(monkeypatch, count: int) -> None:
    """Raise Ctrl-C when the main program waits for the (``count`` + 1)-th time."""
    real, calls = measure.wait, []

    def wait(*arguments, **options):
        calls.append(1)
        if len(calls) > count:
            monkeypatch.setattr(measure, "wait", real)
            raise KeyboardInterrupt
        return real(*arguments, timeout=None, return_when=options["return_when"])

    monkeypatch.setattr(measure, "wait", wait)


@pytest.mark.long
def test_broken_off_and_resumed_is_the_same_as_in_one_go(parts, monkeypatch, capsys):
    """On the engine, with three parts: Ctrl-C comes during the second part."""
    interrupt_after(monkeypatch, 1)
    assert run("--images", "5", "--jobs", "1") == (130, {})
    said = capsys.readouterr().err
    assert (
        "interrupted; 4 of 5 images of digits-8bit are done and kept in build/verify/digits" in said
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
measure.LARGEST_PART = 40
sys.exit(cli.main(["verify", "digits", "--images", "80", "--jobs", "1"]))
"""


def interrupted(folder: Path, *, again: bool) -> tuple[int, str, list[int]]:
    """Send SIGINT to the process group of a measurement, as the terminal does at Ctrl-C.

    With ``again``, send it twice. Returns exit status, standard error, and the first images of the
    stored parts.
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
    kept = [json.loads(path.read_text()) for path in Path("build/verify").glob("*.json")]
    parts = [int(name.split("-")[0]) for content in kept for name in content["parts"]]
    assert list(scratch.iterdir()) == []
    return command.returncode, "".join(said), parts


def test_ctrl_c_finishes_and_keeps_what_is_being_simulated(in_tmp):
    status, said, parts = interrupted(in_tmp, again=False)
    assert (status, parts) == (130, [0])
    assert "finishing what is being simulated; interrupt again to drop it" in said
    assert "interrupted; 40 of 80 images of digits-8bit are done and kept in " in said


@pytest.mark.long
def test_a_second_ctrl_c_drops_it(in_tmp):
    status, said, parts = interrupted(in_tmp, again=True)
    assert (status, parts) == (130, [])
    assert "interrupted; 0 of 80 images of digits-8bit are done and kept in " in said


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


@pytest.mark.parametrize("what", ["engine", "software", "steps", "lanes", "images"])
def test_whatever_a_result_depends_on_makes_it_anew(what, simulated, parts, monkeypatch):
    run("--images", "2")
    more: list[str] = []
    if what == "engine":
        simulated.folder = Path("digest-of-another-engine")
    elif what == "software":
        monkeypatch.setattr(measure, "software_digest", lambda: "another golden model")
    elif what == "images":
        np.savez("other.npz", images=np.full((2, 8, 8), 9, np.uint8), labels=[0, 0])
        more = ["--data", "other.npz", "--split", "all"]
    else:
        more = {"steps": ["--tau", "3"], "lanes": ["--lanes", "8"]}[what]
    run("--images", "2", *more)
    assert parts == [0, 0]


def test_what_is_kept_is_whole_after_every_part(simulated, parts, monkeypatch):
    """After a kill, the finished parts are still stored."""
    real, seen = os.replace, []

    def replace(source, target):
        if Path(target).name != REPORT.name:
            seen.append(len(json.loads(Path(source).read_text())["parts"]))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    run("--images", "6", "--jobs", "1")
    assert seen == [1, 2, 3]


def test_a_damaged_file_is_named(simulated, capsys):
    run("--images", "2")
    (kept,) = Path("build/verify").glob("digits-8bit-*.json")
    kept.write_text("{")
    assert run("--images", "2")[0] == 1
    assert f"{kept} is damaged; remove it to begin anew" in capsys.readouterr().err


def test_two_at_the_same_work_are_refused(simulated, tmp_path):
    with (
        measure.Store(tmp_path / "work", {"a": 1}),
        pytest.raises(measure.ResiduumError, match="another command is at work on .*; wait for it"),
    ):
        measure.Store(tmp_path / "work", {"a": 1})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digits", "--preset", "99f"], "there is no preset '99f'"),
        (["digits", "--images", "361"], "361 images are wanted, but digits has 360 held-out"),
        (["fashion", "--bits", "4", "--preset", "12f"], "3474 weight rows are needed up to"),
        (["digits", "--tau", "30", "--T", "30"], "steps must be in 1..31 "),
        (["nothing"], "there is no network 'nothing'"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, sentence, capsys):
    assert cli.main(["verify", *arguments]) == 1
    assert sentence in capsys.readouterr().err
