"""The study: its report against the golden model, its page and plots, and the two commands."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from residuum.cli import main
from residuum.sw.convert.to_integer import FractionBits, to_integer
from residuum.sw.data.data_sets import load_dataset
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.corrections import CARRY
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import INPUT, Source
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.pieces import run as pieces
from residuum.sw.study import page
from residuum.sw.study import report as study_report
from residuum.sw.study.measure import CASES
from residuum.sw.study.page import render, table, verdict
from residuum.sw.study.plots import ACCURACY, draw
from residuum.sw.study.report import Images, Study, load_subject, paired_difference, standard_error
from residuum.sw.study.suggest import advice, best, divisions
from tests.folders import work_in

IMAGES = 30


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a small untrained network for the digits; accuracy at chance level is enough."""
    folder = tmp_path_factory.mktemp("zoo")
    rng = np.random.default_rng(0)

    def layer(
        name: str, map: int, shape: tuple[int, ...], threshold: float | None, **how: Any
    ) -> FloatLayer:
        weight = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        source = Source(weight, map, **how)
        return FloatLayer(name, (source,), rng.normal(size=shape[0]) / 8, threshold)

    border = (1, 1, 1, 1)
    layers = (
        layer("conv1", INPUT, (3, 1, 3, 3), 0.5, padding=border),
        layer("conv2", 0, (4, 3, 3, 3), 0.4, stride=(2, 2), padding=border),
        layer("conv3", 1, (4, 4, 3, 3), 0.3, padding=border),
        layer("classifier", 2, (10, 4, 4, 4), None),
    )
    network = FloatNetwork("digits", (1, 8, 8), layers, levels=4)
    network.save(folder / "digits-float.npz")
    network = FloatNetwork.load(folder / "digits-float.npz")
    for bits in (8, 4):
        integer = to_integer(network, bits=bits, metadata={"dataset": "digits"})
        integer.save(folder / f"digits-{bits}bit.npz")
    return folder


@pytest.fixture(scope="module")
def digits() -> Images:
    data = load_dataset("digits")
    return Images(data.test_images[:IMAGES], data.test_labels[:IMAGES])


@pytest.fixture(scope="module")
def report(zoo: Path, digits: Images, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A whole report, measured in portions of 12, 12 and 6 images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_report, "PORTION", 12)
        patch.setenv("RESIDUUM_BUILD", str(tmp_path_factory.mktemp("build")))
        model = Study(load_subject("digits", zoo), digits).run()
    return {"command": "residuum study", "engine": {"potential_bits": 24}, "models": [model]}


def golden_accuracy(network: IntegerNetwork, data: Images, tau: int, T: int) -> float:
    prediction = simulate(network, data.images, tau=tau, T=T).prediction
    return 100 * float(np.mean(prediction == data.labels))


@pytest.mark.parametrize(("tau", "T"), [(0, 1), (0, 8), (0, 16), (1, 1), (4, 4), (8, 3), (8, 8)])
def test_accuracy_is_that_of_the_golden_model(
    report: dict, zoo: Path, digits: Images, tau: int, T: int
) -> None:
    network = IntegerNetwork.load(zoo / "digits-8bit.npz")
    found = report["models"][0]["accuracy"][str(tau)][T - 1]
    assert found == pytest.approx(golden_accuracy(network, digits, tau, T))


def test_all_settings_are_in_the_report(report: dict) -> None:
    accuracy = report["models"][0]["accuracy"]
    assert {tau: len(row) for tau, row in accuracy.items()} == {
        "0": 16,
        **{str(tau): 8 for tau in range(1, 9)},
    }


def test_same_total_compares_equal_numbers_of_steps(report: dict) -> None:
    model = report["models"][0]
    rows = model["same_total"]
    assert len(rows) == 64
    for row in rows:
        assert row["tau"] + row["T"] == row["total"]
        assert row["plain"] == model["accuracy"]["0"][row["total"] - 1]
        assert row["srp"] == model["accuracy"][str(row["tau"])][row["T"] - 1]
        assert row["difference"] == pytest.approx(row["srp"] - row["plain"])


@pytest.mark.parametrize(("bits", "fraction"), [(3, 4), (8, 0), (8, 6)])
def test_bits_are_those_of_the_converted_network(
    report: dict, zoo: Path, digits: Images, bits: int, fraction: int
) -> None:
    network = to_integer(
        FloatNetwork.load(zoo / "digits-float.npz"),
        bits=bits,
        fraction_bits=FractionBits(spikes=fraction),
    )
    rows = report["models"][0]["bits"]["weight" if fraction == 4 else "fraction"]
    row = next(row for row in rows if row["bits"] == (bits if fraction == 4 else fraction))
    for stage, accuracy in row["accuracy"].items():
        tau, T = map(int, stage.split(","))
        assert accuracy == pytest.approx(golden_accuracy(network, digits, tau, T))
    limits = [bounds(network, layer, 8) for layer in network.layers]
    assert row["bound"] == max(
        signed_bits(int(limit.potential_min.min()), int(limit.potential_max.max()))
        for limit in limits
    )
    assert row["used"] <= row["bound"]


def test_used_bits_cover_the_residuals_of_the_golden_model(
    report: dict, zoo: Path, digits: Images
) -> None:
    network = to_integer(FloatNetwork.load(zoo / "digits-float.npz"), bits=8)
    for tau in (1, 4, 8):
        trace = simulate(network, digits.images, tau=tau, T=1)
        for layer, row in zip(
            trace.layers, report["models"][0]["bits"]["potentials"][:-1], strict=True
        ):
            assert row["low"] <= layer.residual.min()
            assert row["high"] >= layer.residual.max()


def test_shares_of_a_layer_are_all_of_it(report: dict) -> None:
    for layer in report["models"][0]["unevenness"]["layers"]:
        for shares in (layer["plain"], *layer["srp"].values()):
            assert set(shares) == set(CASES)
            assert sum(shares.values()) == pytest.approx(100)


def test_second_layer_loses_all_that_fires_too_often_if_tau_is_T(report: dict) -> None:
    """The second layer has the same input trains in both stages, so v(tau) < 0 is exact."""
    second = report["models"][0]["unevenness"]["layers"][1]
    assert second["plain"]["fires, ANN silent"] > 0
    assert second["srp"]["4"]["fires, ANN silent"] == 0
    assert second["srp"]["4"]["fires too often"] == 0
    assert second["own"]["too many"] == pytest.approx(
        second["plain"]["fires, ANN silent"] + second["plain"]["fires too often"]
    )
    assert second["silenced"]["4"]["would have fired"] == pytest.approx(second["own"]["too many"])


def test_paired_error_is_that_of_the_mean_of_differences() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(400) < 0.8, rng.random(400) < 0.7
    change = 100 * (first.astype(float) - second)
    difference, error = paired_difference(first, second)
    assert difference == pytest.approx(change.mean())
    assert error == pytest.approx(change.std() / np.sqrt(400))


def test_standard_error_is_that_of_the_mean() -> None:
    right = np.random.default_rng(2).random(500) < 0.9
    expected = 100 * right.std() / np.sqrt(500)
    assert standard_error(100 * right.mean(), 500) == pytest.approx(expected)


def test_more_images_measure_only_the_new_portions(
    zoo: Path, digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in(tmp_path, monkeypatch)
    monkeypatch.setattr(study_report, "PORTION", 5)
    subject = load_subject("digits", zoo)

    def kept() -> set[Path]:
        return {path for path in (tmp_path / "build" / "pieces").rglob("*") if path.is_file()}

    few = Images(digits.images[:10], digits.labels[:10])
    first = Study(subject, few).run()
    before = kept()
    assert Study(subject, few).run() == first
    assert kept() == before
    more = Images(digits.images[:15], digits.labels[:15])
    assert Study(subject, more).run()["images"] == 15
    assert len(kept()) == len(before) * 3 / 2
    assert before <= kept()


def test_page_shows_the_numbers_of_the_report(report: dict) -> None:
    model = report["models"][0]
    page = render(report)
    for tau, row in model["accuracy"].items():
        label = f"tau {tau}" if tau != "0" else "plain (tau 0)"
        assert f"| {label} | {' | '.join(f'{value:.2f}' for value in row[:8])} |" in page
    for layer in model["bits"]["potentials"]:
        assert f"| {layer['name']} | {layer['low']} .. {layer['high']} | {layer['used']} |" in page
    assert "| SRP | CIFAR-100 | VGG-16 | 4 | 76.28 | 71.52 | 74.31 | 75.42 | 76.25 |" in page
    assert "None" not in page.replace("None of 64 settings", "")
    assert "nan" not in page


def test_tables_of_the_page_are_whole(report: dict) -> None:
    """Every row of a table has as many cells as its head."""
    head = 0
    for line in render(report).splitlines():
        if not line.startswith("|"):
            head = 0
            continue
        head = head or line.count("|")
        assert line.count("|") == head


@pytest.mark.parametrize("name", ["_METHOD", "_ACCURACY", "_TOTAL", "_RESET", "_UNEVENNESS"])
def test_committed_page_has_the_texts_of_the_generator(name: str) -> None:
    committed = (Path(__file__).parents[2] / "docs" / "study.md").read_text()
    assert getattr(page, name).strip() in committed


def test_plots_of_the_page_are_drawn(report: dict, tmp_path: Path) -> None:
    paths = draw(report, tmp_path)
    assert {path.name for path in paths} == set(re.findall(r"\((\S+\.png)\)", render(report)))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    before = (tmp_path / ACCURACY).read_bytes()
    draw(report, tmp_path)
    assert (tmp_path / ACCURACY).read_bytes() == before


@pytest.mark.parametrize(
    ("difference", "error", "words"),
    [
        (0.0, 0.0, "no difference"),
        (0.0, 0.3, "no difference"),
        (0.5, 0.3, "no clear difference"),
        (-0.5, 0.3, "no clear difference"),
        (1.0, 0.3, "a clear gain"),
        (-1.0, 0.3, "a clear loss"),
    ],
)
def test_verdict(difference: float, error: float, words: str) -> None:
    assert verdict({"difference": difference, "error": error}) == words


def test_table() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def test_command_writes_page_plots_and_report(
    zoo: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "--zoo", str(zoo), "--models", "digits,mnist", "--images", "10"]
    assert main(words) == 0
    output = capsys.readouterr().err
    assert f"mnist is left out: there is no {zoo / 'mnist-8bit.npz'}" in output
    folder = in_folder / "build" / "study"
    model = json.loads((folder / "report.json").read_text())["models"][0]
    assert (model["name"], model["images"]) == ("digits", 10)
    page = (folder / "study.md").read_text()
    assert f"    residuum study --models digits,mnist --images 10 --zoo {zoo}" in page
    assert len(list(folder.glob("study-*.png"))) == 4
    assert main([*words, "--out", "elsewhere"]) == 0
    assert (in_folder / "elsewhere" / "study.md").read_text() == page


def test_networks_that_were_just_trained_are_studied(
    zoo: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --images, a data set with fewer images than the default is used whole."""
    (in_folder / "build" / "zoo").symlink_to(zoo)
    assert main(["study", "--zoo", "build/zoo", "--models", "digits"]) == 0
    model = json.loads((in_folder / "build/study/report.json").read_text())["models"][0]
    assert model["images"] == 360
    page = (in_folder / "build/study/study.md").read_text()
    assert "    residuum study --models digits --zoo build/zoo\n" in page


def test_interrupted_study_says_what_is_kept(
    zoo: Path,
    in_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["study", "--zoo", str(zoo), "--models", "digits", "--images"]
    assert main([*words, "5"]) == 0
    monkeypatch.setattr(pieces, "wait", interrupted)
    assert main([*words, "all"]) == 130
    said = capsys.readouterr().err
    assert "finishing what is being measured; interrupt again to drop it" in said
    assert re.search(
        r"interrupted; [\d,]+ of [\d,]+ steps of study digits are done and kept in build/pieces; "
        r"the same command goes on from there\n$",
        said,
    )


def interrupted(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "mnist"], "there is nothing to study: no model of mnist has its files"),
        (["--models", "digit"], "there is no model 'digit'; the known ones are digits, mnist"),
        (["--models", "digits,digits"], "--models names a model twice: digits,digits"),
        (["--models", "digits", "--images", "361"],
         "361 images are wanted, but digits has 360 held-out images"),
    ],
)  # fmt: skip
def test_wrong_study_gets_a_sentence(
    zoo: Path,
    in_folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(["study", "--zoo", str(zoo), *words]) == 1
    assert f"residuum: {message}" in capsys.readouterr().err


def test_files_of_two_networks_get_a_sentence(zoo: Path, tmp_path: Path) -> None:
    for name in ("digits-8bit.npz", "digits-float.npz"):
        (tmp_path / name).write_bytes((zoo / name).read_bytes())
    small = FloatNetwork(
        "digits",
        (1, 1, 1),
        (FloatLayer("out", (Source(np.ones((10, 1, 1, 1))),), np.zeros(10), None),),
        4,
    )
    small.save(tmp_path / "digits-float.npz")
    with pytest.raises(ResiduumError, match="are not of the same network"):
        load_subject("digits", tmp_path)


def test_divisions_are_those_of_the_golden_model(zoo: Path) -> None:
    network = IntegerNetwork.load(zoo / "digits-8bit.npz")
    data = load_dataset("digits")
    train = Images(data.train_images[:IMAGES], data.train_labels[:IMAGES])
    rows = divisions(network, train.images, train.labels, 5)
    assert [(row["tau"], row["T"]) for row in rows] == [(0, 5), (1, 4), (2, 3), (3, 2), (4, 1)]
    for row in rows:
        expected = golden_accuracy(network, train, row["tau"], row["T"])
        assert row["accuracy"] == pytest.approx(expected)


def row(tau: int, accuracy: float, error: float = 0.1) -> dict:
    difference = accuracy - 90.0
    return {"tau": tau, "T": 9, "accuracy": accuracy, "difference": difference, "error": error}


def test_best_of_equal_divisions_has_the_shortest_probe() -> None:
    rows = [row(0, 90.0), row(1, 91.0), row(2, 91.0)]
    assert best(rows)["tau"] == 1
    assert advice(rows).startswith("equally good: tau 2 with T 9")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(0, 90.0), row(1, 89.0)], "no probe does better than plain conversion"),
        ([row(0, 90.0), row(1, 91.0)], "is clear"),
        ([row(0, 90.0), row(1, 91.0, error=0.5)], "may be chance"),
    ],
)
def test_advice(rows: list[dict], words: str) -> None:
    assert words in advice(rows)


def test_suggest_prints_the_best_division(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(zoo / "digits-8bit.npz")
    assert main(["suggest", path, "--steps", "3", "--images", "40"]) == 0
    assert re.search(r"best on 40 training images: tau \d, T \d with", capsys.readouterr().out)


def test_suggest_finds_the_division_for_another_correction(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With carry, each row is what the golden model has."""
    path, data = str(zoo / "digits-8bit.npz"), load_dataset("digits")
    images, labels = data.train_images[:40], data.train_labels[:40]
    words = ["--steps", "3", "--images", "40", "--correction", "carry"]
    assert main(["suggest", path, *words]) == 0
    said = capsys.readouterr().out
    assert "8-bit weights, 3 steps, carry" in said
    network = IntegerNetwork.load(path)
    for tau in (1, 2):
        golden = simulate(network, images, tau=tau, T=3 - tau, correction=CARRY)
        share = 100 * float((golden.prediction == labels).mean())
        assert re.search(rf"{tau} +\W* *{3 - tau} +\W* *{share:.2f} %", said)


@pytest.mark.parametrize("words", [[], ["--images", "all"], ["--images", "1437"]])
def test_suggest_takes_all_images_of_a_small_set(
    zoo: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["suggest", str(zoo / "digits-8bit.npz"), "--steps", "1", *words]) == 0
    assert "best on 1,437 training images: tau 0, T 1" in capsys.readouterr().out


def test_suggest_prints_a_name_as_it_is(
    zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = replace(IntegerNetwork.load(zoo / "digits-8bit.npz"), name="[/x]")
    network.save(tmp_path / "x.npz")
    assert main(["suggest", str(tmp_path / "x.npz"), "--steps", "1", "--images", "5"]) == 0
    assert "[/x], 8-bit weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--steps", "32"], 1, "--steps must be at most 31, not 32"),
        (["--steps", "0"], 2, "0 is too small"),
        (["--correction", "most"], 1, "there is no correction 'most'"),
        (["--correction", "none"], 1, "the correction 'none' is for runs without a probe"),
        (["--images", "many"], 2, "'many' is not a number"),
        (["--images", "1438"], 1, "1438 images are wanted, but digits has 1437 training images"),
    ],
)
def test_wrong_suggest_gets_a_sentence(
    zoo: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    try:
        result = main(["suggest", str(zoo / "digits-8bit.npz"), *words])
    except SystemExit as ending:
        result = int(ending.code or 0)
    assert result == status
    assert message in capsys.readouterr().err
