"""The command line: examples, reports, one sentence for every user error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from residuum.cli import COMMANDS, main
from residuum.sw.data.data_sets import PUBLISHED_ONLY, Access, Digits, Split
from residuum.sw.errors import ResiduumError
from residuum.sw.network.library import ZOO, load_network, zoo_file, zoo_names
from residuum.sw.train import training
from residuum.sw.train.models import MODELS


def test_help_shows_examples_without_torch() -> None:
    """--help must be fast, so it must import neither torch nor numpy."""
    script = (
        "import sys; from residuum.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "try: main(['eval', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "residuum eval digits" in done.stdout


@pytest.mark.parametrize("command", [c.name for c in COMMANDS])
def test_every_command_teaches_by_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"examples:\n  residuum {command} " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["bench", "--models", "digits"], ["study", "--models", "digits"]]
    + [[command, "digits"] for command in ("eval", "explain", "netlist", "report", "show", "sim")]
    + [[command, "digits"] for command in ("suggest", "train", "verify")]
    + [["check"], ["run"]],
    ids=lambda words: words[0],
)
def test_allow_modified_reaches_the_data(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(_: Digits, access: Access = PUBLISHED_ONLY) -> Split:
        raise ResiduumError(f"modified files: {access.accepts_modified}")

    monkeypatch.setattr(Digits, "train", asked)
    monkeypatch.setattr(Digits, "test", asked)
    for option, allowed in (([], False), (["--allow-modified"], True)):
        assert main([*words, *option]) == 1
        assert capsys.readouterr().err == f"residuum: modified files: {allowed}\n"


def test_eval_writes_the_report(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "digits", "--images", "40", "--tau", "2", "--T", "3", "--bits", "4"]) == 0
    report = json.loads((in_tmp / "build/eval/digits-4bit.json").read_text())
    accuracy = report.pop("accuracy")
    steps = {"tau": 2, "T": 3, "correction": "mask"}
    assert report == {"model": "digits-4bit", "bits": 4, **steps, "images": 40}
    assert 90 <= accuracy <= 100
    out = capsys.readouterr().out
    assert f"digits: {accuracy:.2f} % of 40 images right (4-bit weights, tau 2, T 3)" in out


def test_eval_keeps_a_report_for_each_width(in_tmp: Path) -> None:
    for bits in ("8", "4"):
        assert main(["eval", "digits", "--images", "5", "--bits", bits]) == 0
    reports = [json.loads(path.read_text()) for path in (in_tmp / "build/eval").iterdir()]
    assert sorted(report["bits"] for report in reports) == [4, 8]


def test_eval_of_a_file(in_tmp: Path) -> None:
    network = load_network("digits")
    network.save(in_tmp / "mine.npz")
    assert main(["eval", "mine.npz", "--images", "5", "--json", "deep/mine.json"]) == 0
    assert json.loads((in_tmp / "deep/mine.json").read_text())["model"] == "mine"


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "digits"]) == 0
    assert "command: residuum train digits --seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["eval", "imagenet"],
            "there is no network 'imagenet'; the known ones are cifar10, digits",
        ),
        (["eval", "digits", "--bits", "5"], "there is no 5-bit digits; there are 4 and 8 bits"),
        (["eval", "none.npz"], "there is no file none.npz"),
        (["eval", "digits", "--images", "361"], "361 images are wanted, but digits has 360"),
        (["summary", str(ZOO / "digits-4bit.npz"), "--bits", "8"], "has 4-bit weights, not 8-bit"),
        (
            ["train", "vgg"],
            "there is no model 'vgg' to train; the known models are cifar10, digits",
        ),
        (["train", "digits", "--bits", "1"], "--bits must be 2 .. 16, not 1"),
        (["train", "digits", "--bits", "8", "17"], "--bits must be 2 .. 16, not 17"),
        (["train", "digits", "--seed", "4294967296"], "--seed must be at most 4294967295, not 42"),
        (["train", "digits", "--activity-penalty", "-1"], "must be at least 0, not -1.0"),
        (["train", "digits", "--activity-penalty", "nan"], "must be at least 0, not nan"),
    ],
)
def test_mistake_gets_one_sentence(
    arguments: list[str], sentence: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("residuum: ")
    assert printed.err.count("\n") == 1
    assert sorted(path.name for path in in_tmp.rglob("*")) == ["build", "verilator"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "residuum: the following arguments are required: COMMAND"),
        (["fly"], "residuum: argument COMMAND: invalid choice: 'fly'"),
        (["eval"], "residuum eval: the following arguments are required: MODEL"),
        (["eval", "digits", "--tau", "-1"], "argument --tau: -1 is too small, at least 0"),
        (["eval", "digits", "--T", "0"], "argument --T: 0 is too small, at least 1"),
        (["eval", "digits", "--T", "x"], "argument --T: 'x' is not a number"),
        (["eval", "digits", "--images", "0"], "argument --images: 0 is too small"),
        (["train"], "residuum train: the following arguments are required: MODEL"),
        (["train", "digits", "--epochs", "0"], "argument --epochs: 0 is too small, at least 1"),
        (["train", "digits", "--seed", "-1"], "argument --seed: -1 is too small, at least 0"),
        (["train", "digits", "--bits", "x"], "argument --bits: 'x' is not a number"),
        (["train", "digits", "--bits"], "argument --bits: expected at least one argument"),
        (["train", "digits", "--activity-penalty", "x"], "invalid float value: 'x'"),
        (["train", "digits", "--install", "--out", "x"], "--out: not allowed with argument --ins"),
    ],
)
def test_wrong_command_line_gets_one_line(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_train_help_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    assert all(f"residuum train {model} " in out for model in MODELS)


def test_train_writes_a_network(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A very short training, up to integer networks that load; then other weight bits of it."""
    assert main(["train", "digits", "--epochs", "1", "--bits", "8", "--out", "nets"]) == 0
    network = load_network(str(zoo_file("digits", 8, Path("nets"))))
    assert network.metadata["command"] == "residuum train digits --seed 0 --epochs 1"
    assert network.metadata["dataset"] == "digits"
    assert "written: nets/digits-8bit.npz" in capsys.readouterr().out
    assert main(["train", "digits", "--epochs", "1", "--bits", "12"]) == 0
    network = load_network(str(zoo_file("digits", 12, Path("build/zoo"))))
    assert network.metadata["command"] == "residuum train digits --seed 0 --epochs 1 --bits 12"
    capsys.readouterr()
    assert main(["train", "digits", "--epochs", "2"]) == 1
    assert "was made with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("saved", "words", "kept"),
    [
        (False, [], "no epoch was finished, so nothing is kept"),
        (
            True,
            [],
            "the finished epochs of the training are kept in build/train/digits.pt, and the same "
            "command goes on from there",
        ),
        (
            True,
            ["--restart"],
            "the finished epochs of the training are kept in build/train/digits.pt, and the same "
            "command without --restart goes on from there",
        ),
    ],
)
def test_interrupted_train_says_what_is_kept(
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    saved: bool,
    words: list[str],
    kept: str,
) -> None:
    def interrupted(*args: object, **how: object) -> None:
        if saved:
            save(*args, **how)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    save = training.save_epoch
    monkeypatch.setattr(training, "save_epoch", interrupted)
    assert main(["train", "digits", "--epochs", "3", *words]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"residuum: interrupted; {kept}"
    monkeypatch.setattr(training, "save_epoch", save)
    if saved:
        assert main(["train", "digits", "--epochs", "3", "--bits", "8"]) == 0
        assert "epoch 1 of 3" not in capsys.readouterr().err


def test_train_looks_at_the_folder_before_it_trains(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_tmp / "taken").write_bytes(b"a file")
    assert main(["train", "digits", "--out", "taken"]) == 1
    assert capsys.readouterr().err == "residuum: taken cannot be written: a file is in the way\n"
    assert not (in_tmp / "build/train/digits.pt").exists()


def test_train_says_that_it_needs_a_compiler(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["train", "mnist"]) == 1
    assert capsys.readouterr().err == (
        "residuum: training of mnist needs the C++ compiler no-such-compiler, which is not there; "
        "install it, or name another in the variable CXX\n"
    )


def test_zoo_has_both_widths_of_all_networks() -> None:
    names = ("cifar10", "digits", "fashion", "mnist", "mnist-radix", "resnet20", "resnet20-radix")
    assert zoo_names() == {model: [4, 8] for model in names}
