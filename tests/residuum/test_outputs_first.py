"""A result that cannot be written is found out before the work, not after it."""

from pathlib import Path

import pytest

from residuum.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "digits", "--json", "file/x.json"],
        ["explain", "digits", "--json", "file/x.json"],
        ["show", "digits", "--out", "file/x.png"],
        ["report", "digits", "--out", "file/x.html"],
        ["sim", "digits", "--json", "file/x.json"],
        ["verify", "digits", "--json", "file/x.json"],
        ["bench", "--models", "digits", "--json", "file/x.json"],
        ["bench", "--models", "digits", "--page", "file/x.md"],
        ["study", "--models", "digits", "--out", "file"],
        ["train", "digits", "--out", "file"],
    ],
    ids=" ".join,
)
def test_before_the_work(
    words: list[str],
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    Path("file").write_text("in the place of a folder")
    for name in (
        "residuum.sw.golden.golden_model.simulate",
        "residuum.sw.golden.accuracy.simulate_batches",
        "residuum.sw.look.explain.explain",
        "residuum.sw.look.page.run_golden",
        "residuum.sw.look.picture.simulate",
        "residuum.sim.verilator.engine.build_engine",
        "residuum.sw.pieces.run.run",
        "residuum.sim.bench.bench.bench",
        "residuum.sw.study.run.measure",
        "residuum.sw.train.training.train",
    ):
        monkeypatch.setattr(name, work)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("residuum: file")
    assert " cannot be written: " in said
    assert said.count("\n") == 1


def test_install_needs_a_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_tmp: Path
) -> None:
    monkeypatch.setattr("residuum.sw.files.checkout", lambda: None)
    assert main(["train", "digits", "--install"]) == 1
    said = "residuum: --install writes to sw/zoo of a checkout; give --out instead\n"
    assert capsys.readouterr().err == said
