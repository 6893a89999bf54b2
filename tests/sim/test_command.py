"""``residuum sim`` from end to end."""

import json

import pytest

from residuum import cli
from residuum.hw.isa.config import EngineConfig
from residuum.sw.golden.golden_model import simulate

KEYS = {
    *("model", "tau", "T", "lanes", "steps", "images", "mismatches", "rtl_accuracy"),
    *("golden_accuracy", "cycles_per_image", "events_per_image", "sops_per_image", "layers"),
}


def run(tmp_path, *arguments: str) -> tuple[int, dict]:
    path = tmp_path / "report.json"
    status = cli.main(["sim", *arguments, "--json", str(path)])
    return status, json.loads(path.read_text())


def test_digits_on_the_engine(tmp_path):
    status, report = run(tmp_path, "digits", "--images", "5")
    assert status == 0
    assert set(report) >= KEYS
    assert (report["images"], report["mismatches"]) == (5, 0)
    assert report["cycles_per_image"] == report["predicted_cycles_per_image"]
    assert report["rtl_accuracy"] == report["golden_accuracy"]


def test_plain_conversion_and_other_lanes(tmp_path):
    status, report = run(
        tmp_path, "digits", "--images", "2", "--tau", "0", "--T", "3", "--lanes", "6"
    )
    assert (status, report["mismatches"], report["lanes"]) == (0, 0, 6)
    assert EngineConfig.for_lanes(6).tiles == 1


def test_a_mismatch_is_told_and_ends_with_status_1(tmp_path, monkeypatch, capsys):
    """A model that silences nothing differs from the engine, which does."""

    def unmasked(network, images, *, tau, T):
        return simulate(network, images, tau=0, T=tau + T)

    monkeypatch.setattr("residuum.sw.golden.golden_model.simulate", unmasked)
    status, report = run(tmp_path, "digits", "--images", "2")
    assert (status, report["mismatches"] > 0) == (1, True)
    assert "values differ; the first: layer 'conv1', image 0, position" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digits", "--images", "1000"], "1000 images are wanted, but digits has 360 held-out"),
        (["digits", "--tau", "30", "--T", "30"], "steps must be in 1..31 "),
        (["nothing"], "there is no network 'nothing'"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, sentence, capsys):
    assert cli.main(["sim", *arguments]) == 1
    assert sentence in capsys.readouterr().err
