"""Pieces of work: what is kept and when it counts, errors, killed processes, and Dask clusters."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from residuum.cli import main
from residuum.hw.isa.presets import preset
from residuum.sw.errors import ResiduumError
from residuum.sw.network.library import load_network
from residuum.sw.pieces import depends
from residuum.sw.pieces.depends import modules_of
from residuum.sw.pieces.run import Piece, PiecesFailed, Pool, run
from residuum.sw.pieces.store import decode, digest_of, encode
from tests.folders import work_in
from tests.sw.pieces_work import bad, double, logged
from tests.sw.reporter import Recorder

ROOT = Path(__file__).resolve().parents[2]
THREADS = Pool(jobs=2, in_threads=True)
PROCESSES = Pool(jobs=2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def doubles(count: int, function=double) -> list[Piece]:
    return [Piece(function, {"number": n}, f"number {n}") for n in range(count)]


# ---------------------------------------------------------------------------------------------
# What is kept


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.5,
        "text",
        [1, [2]],
        {"a": {"b": True}},
        np.arange(6).reshape(2, 3),
        {"x": np.ones(0)},
    ],
    ids=str,
)
def test_a_kept_result_is_the_same(value):
    np.testing.assert_equal(decode(encode(value)), value)


@pytest.mark.parametrize("length", [0, 1, 20, -1])
def test_damaged_bytes_are_told(length):
    content = encode({"right": np.arange(100), "name": "x"})
    with pytest.raises(ValueError, match="the bytes are damaged: "):
        decode(content[:length])


def test_a_piece_cannot_depend_on_the_place_of_a_file():
    with pytest.raises(TypeError, match="a piece cannot depend on a PosixPath: PosixPath"):
        digest_of({"file": Path("x")}, {})


class Colour(Enum):
    RED = 1
    BLUE = 2


def test_different_arguments_have_different_digests():
    network = load_network("digits")
    values = [
        *(None, True, 1, 1.0, "1", b"1", [], {}, [1], [[1]], {"a": 1}, {"b": 1}, ["a", 1]),
        *(np.array([1]), np.array([1.0]), np.array([[1]]), np.array([2]), Colour.RED, Colour.BLUE),
        *(
            network,
            load_network("digits", 4),
            preset("12f"),
            preset("85f"),
            ["ab", "c"],
            ["a", "bc"],
        ),
    ]
    assert len({digest_of(value, {}) for value in values}) == len(values)
    assert digest_of(network, {}) == digest_of(load_network("digits"), {})
    assert digest_of({"a": 1, "b": 2}, {}) == digest_of({"b": 2, "a": 1}, {})


@pytest.mark.parametrize("pool", [THREADS, PROCESSES], ids=["threads", "processes"])
def test_results_are_in_order_and_kept(pool, folder):
    log = str(folder / "log")
    pieces = [Piece(logged, {"number": n, "log": log}, f"number {n}") for n in (5, 3, 5, 1)]
    for _ in range(2):
        assert run(pieces, pool, title="numbers") == [5, 3, 5, 1]
    assert sorted((folder / "log").read_bytes()) == [1, 3, 5]


def test_a_store_that_cannot_be_written_is_told(folder):
    (folder / "build" / "pieces").touch()
    with pytest.raises(ResiduumError, match="build/pieces cannot be written: a file is in the way"):
        run(doubles(1), THREADS, title="doubles")


def test_the_progress_covers_all_that_is_missing():
    reporter = Recorder()
    run(doubles(3), THREADS, title="doubles", unit="numbers")
    run(doubles(5), THREADS, title="doubles", unit="numbers", reporter=reporter)
    assert reporter.said == ["doubles: 3 of 5 numbers were done before"]
    assert reporter.tasks == {"doubles": (2, 2)}


TWO = """
import sys
from residuum.sw.pieces.run import Piece, Pool, run
from tests.sw.pieces_work import slow
given = [{"number": n, "log": sys.argv[1], "seconds": 0.05} for n in range(40)]
print(sum(run([Piece(slow, each, str(each)) for each in given], Pool(2), title="two")))
"""


def test_two_commands_at_once_share_the_store(folder):
    """Also with a third that is killed in the middle: what it finished counts."""
    command = [sys.executable, "-c", TWO, str(folder / "log")]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True}
    killed = subprocess.Popen(command, **options, start_new_session=True)
    while not (folder / "log").exists():
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    others = [subprocess.Popen(command, **options) for _ in range(2)]
    assert [other.communicate()[0] for other in others] == [f"{sum(range(40))}\n"] * 2
    before = (folder / "log").read_bytes()
    assert subprocess.run(command, **options, check=True).stdout == f"{sum(range(40))}\n"
    assert (folder / "log").read_bytes() == before


# ---------------------------------------------------------------------------------------------
# What a result depends on

PACKAGE = {
    "work/__init__.py": "",
    "work/engine.py": "from work import adder\ndef f(x):\n    from work.late import y\n",
    "work/adder.py": '"""Adds."""\nimport numpy\n',
    "work/late.py": "from .deep import core\ny = 1\n",
    "work/deep/__init__.py": "",
    "work/deep/core.py": "BENCH = 'work.bench'\n",
    "work/deep/core.cpp": "int x;\n",
    "work/bench.py": "z = 3\n",
    "work/golden.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import work.late\n",
    "work/other.py": "",
}


@pytest.fixture
def codes(folder, monkeypatch):
    """Writes the package with changes; returns the digests of ``work.engine`` and ``work.golden``,
    found without a cache."""

    def find(changes: dict[str, str]) -> tuple[str, str]:
        for name, text in (PACKAGE | changes).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        for cached in (depends.code_digest, depends._file, depends._source, depends._beside):
            cached.cache_clear()
        return depends.code_digest("work.engine"), depends.code_digest("work.golden")

    monkeypatch.syspath_prepend(folder)
    yield find
    shutil.rmtree(folder / "work")
    for cached in (depends.code_digest, depends._file, depends._source, depends._beside):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("file", "text", "changed"),
    [
        ("adder.py", '"""Adds."""\nimport numpy\nx = 1\n', (True, False)),
        ("adder.py", '"""Adds two."""\n\n# A comment.\nimport   numpy\n', (False, False)),
        ("adder.py", '"""Adds."""\nimport torch\n', (True, False)),
        ("late.py", "from .deep import core\ny = 2\n", (True, False)),
        ("deep/__init__.py", "x = 1", (True, False)),
        ("deep/core.cpp", "int y;\n", (True, False)),
        ("deep/.core.cpp.swp", "int y;\n", (False, False)),
        ("bench.py", "z = 4\n", (True, False)),
        ("golden.py", "x = 1", (False, True)),
        ("golden.py", "from typing import TYPE_CHECKING\n", (False, False)),
        ("other.py", "x = 1", (False, False)),
        ("__init__.py", "x = 1", (False, False)),
    ],
)
def test_only_a_change_of_what_it_depends_on_counts(file, text, changed, codes):
    before = codes({})
    after = codes({f"work/{file}": text})
    assert tuple(a != b for a, b in zip(after, before, strict=True)) == changed


def test_only_what_depends_on_a_change_is_computed_again(folder, monkeypatch):
    """Two pieces, run by a new process each time."""
    program = textwrap.dedent(
        """
        from residuum.sw.pieces.run import Piece, Pool, run
        from work import engine, golden
        pieces = [Piece(module.f, {}, module.__name__) for module in (engine, golden)]
        run(pieces, Pool(1, in_threads=True), title="two")
        """
    )
    function = "\ndef f():\n    open('log', 'a').write(__name__ + ' ')\n"

    def ran(**changes: str) -> list[str]:
        files = {"engine": "import work.adder", "golden": "", "adder": "x = 1", "other": "y = 1"}
        for name, text in (files | changes).items():
            path = folder / "work" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + function)
        (folder / "log").write_text("")
        path = os.pathsep.join([str(folder), str(ROOT)])
        subprocess.run(
            [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": path}
        )
        return (folder / "log").read_text().split()

    assert ran() == ["work.engine", "work.golden"]
    assert ran() == []
    assert ran(adder="x = 2") == ["work.engine"]
    assert ran(adder="x = 2  # two", other="y = 2", golden="# nothing") == []
    assert ran(golden="z = 1") == ["work.golden"]


def test_pieces_of_the_engine_depend_on_the_hardware_and_others_do_not():
    engine, golden, study = map(
        modules_of,
        ("residuum.sim.bench.compared", "residuum.sim.bench.accuracy", "residuum.sw.study.measure"),
    )
    hardware = {
        f"residuum.{path.relative_to(ROOT).with_suffix('')}".replace("/", ".")
        for path in (ROOT / "hw").rglob("*.py")
        if path.parent.name not in ("hw", "link", "sdram") and path.name != "__init__.py"
    }
    # What stands around the engine: the protocol, and the way of raw pixels into it.
    around = {"host.images", "host.inference", "host.pixels", "host.walk", "isa.protocol"}
    assert hardware - engine == {f"residuum.hw.{name}" for name in around}
    assert "residuum.sim.bench.measure_bench" in engine
    assert "residuum.sw.golden.golden_model" in engine & golden
    assert not [name for name in golden | study if ".hw" in name]
    assert not [name for name in engine | golden | study if "pieces" in name or "commands" in name]


def test_the_tools_of_a_piece_count(monkeypatch):
    names = modules_of("residuum.sim.bench.compared")
    found = {line.split()[0] for line in depends._versions(names)}
    assert found >= {"amaranth", "cocotb", "numpy", "torch", "verilator", "yosys", "g++"}
    assert "nextpnr-ecp5" not in found
    assert "nextpnr-ecp5" in {
        line.split()[0] for line in depends._versions(modules_of("residuum.sim.bench.routed"))
    }


# ---------------------------------------------------------------------------------------------
# Errors

LOST = (2, 3, 5, 7, 11)
WHY = {
    2: r"number 2 \(number=2\): ValueError in pieces_work.py:\d+: no 2 here",
    3: r"number 3 \(number=3\): its process was killed( by SIGKILL\(-9\))?, "
    "as when memory runs out",
    5: r"number 5 \(number=5\): MemoryError in pieces_work.py:\d+: ",
    7: r"number 7 \(number=7\): the number 7 is not possible",
    11: r"number 11 \(number=11\): TypeError in store.py:\d+: the result of a piece cannot hold a "
    "object",
}


def check_bad(count: int, pool: Pool, folder: Path) -> None:
    """Each piece that cannot be computed is named, and all others are kept."""
    with pytest.raises(PiecesFailed) as caught:
        run(doubles(count, bad), pool, title="numbers")
    said = str(caught.value)
    lines = "\n  ".join(WHY.values())
    assert re.fullmatch(
        f"5 of {count:,} pieces of numbers failed, the others are done and kept in build/pieces: "
        + lines,
        said,
    )
    good = [piece for piece in doubles(count, bad) if piece.arguments["number"] not in LOST]
    reporter = Recorder()
    assert run(good, pool, title="again", reporter=reporter) == [
        2 * n for n in range(count) if n not in LOST
    ]
    assert reporter.tasks == {}


def test_pieces_that_fail_are_named_and_the_others_done(folder):
    check_bad(60, PROCESSES, folder)


@pytest.mark.long
def test_ten_thousand_pieces_of_which_some_fail(folder):
    check_bad(10_000, PROCESSES, folder)


def test_many_failures_are_counted():
    pieces = [Piece(bad, {"number": 2, "more": n}, f"piece {n}") for n in range(30)]
    with pytest.raises(PiecesFailed, match=r"(?s)^30 of 30 pieces .*\n  and 10 more$"):
        run(pieces, THREADS, title="numbers")


# ---------------------------------------------------------------------------------------------
# Clusters


@dataclass(frozen=True)
class Cluster:
    """A scheduler and two workers, each a program of its own, as docs/cluster.md starts them."""

    address: str
    workers: list[subprocess.Popen]


@pytest.fixture
def dask(tmp_path_factory):
    pytest.importorskip("distributed")
    place = tmp_path_factory.mktemp("cluster")
    file = place / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard"]
    with contextlib.ExitStack() as exits:

        def start(*words: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, *where],
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            exits.callback(process.wait)
            exits.callback(kill, process)
            return process

        start("scheduler", "--port", "0")
        while not file.exists():
            time.sleep(0.1)
        workers = [start("worker", "--nthreads", "1") for _ in range(2)]
        yield Cluster(json.loads(file.read_text())["address"], workers)


def kill(process: subprocess.Popen) -> None:
    """End a program and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.long
def test_a_cluster_computes_the_same(dask, folder):
    check_bad(60, Pool(cluster=dask.address), folder)


@pytest.mark.long
def test_a_study_on_a_cluster_of_which_a_worker_is_killed_is_the_same(dask, folder, capsys):
    """Two workers, one of which is killed when some portions are kept."""
    words = ["study", "--models", "digits", "--images", "all"]
    assert main([*words, "--out", "here", "--jobs", "1"]) == 0
    shutil.move("build/pieces", "before")
    shutil.move("build/study/report.json", "report.json")
    killed = []

    def kill_one() -> None:
        while len(list(Path("build/pieces").rglob("*"))) < 6:
            time.sleep(0.02)
        kill(dask.workers[0])
        killed.append(len(list(Path("build/pieces").rglob("*"))))

    thread = threading.Thread(target=kill_one)
    thread.start()
    assert main([*words, "--out", "there", "--cluster", dask.address]) == 0
    thread.join()
    pieces = sorted(path.name for path in Path("before").rglob("*") if path.is_file())
    assert killed[0] < len(pieces)
    assert sorted(path.name for path in Path("build/pieces").rglob("*") if path.is_file()) == pieces
    for name in ("study.md", *(path.name for path in Path("here").glob("*.png"))):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes()
    assert Path("report.json").read_bytes() == Path("build/study/report.json").read_bytes()
    assert "is gone; others take over its pieces" in capsys.readouterr().err


@pytest.mark.long
def test_a_worker_with_other_sources_is_refused(dask, monkeypatch):
    monkeypatch.setattr("residuum.sw.pieces.run.code_digest", lambda module: "of another commit")
    with pytest.raises(ResiduumError, match=r"has other sources or tools than this command: stop"):
        run(doubles(4), Pool(cluster=dask.address), title="doubles")


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch, capsys):
    pytest.importorskip("distributed")
    words = ["study", "--models", "digits", "--images", "5", "--cluster"]
    for address in ("tcp://127.0.0.1:9", "nowhere"):
        assert main([*words, address]) == 1
        said = capsys.readouterr().err
        assert f"there is no Dask scheduler at {address}" in said
        assert "start one with `dask scheduler`" in said
