"""``residuum sim`` from end to end."""

import dataclasses
import json
import re

import pytest

from residuum import cli
from residuum.hw.isa.config import EngineConfig
from residuum.sim.link.simulated import build_accelerator
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.library import load_network

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


@pytest.mark.long
def test_plain_conversion_and_other_lanes(tmp_path):
    status, report = run(
        tmp_path, "digits", "--images", "2", "--tau", "0", "--T", "3", "--lanes", "6"
    )
    assert (status, report["mismatches"], report["lanes"]) == (0, 0, 6)
    assert EngineConfig.for_lanes(6).tiles == 1


@pytest.mark.long
def test_weights_from_an_sdram(tmp_path):
    status, report = run(
        tmp_path, "digits", "--images", "2", "--sdram", "--weight-rows", "64", "--lanes", "16"
    )
    assert (status, report["mismatches"], report["lanes"]) == (0, 0, 16)
    # More than the 3,471 cycles with all weights in the store.
    assert 5000 < report["cycles_per_image"] < 10000
    assert report["predicted_cycles_per_image"] == pytest.approx(
        report["cycles_per_image"], rel=0.05
    )


def test_a_mismatch_is_told_and_ends_with_status_1(tmp_path, monkeypatch, capsys):
    """A golden model without silencing differs from the engine."""

    def unmasked(network, images, *, tau, T, correction):
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
        (["digits", "--tau", "16", "--T", "16", "--lanes", "4"], "steps must be in 1..31 "),
        (["digits", "--weight-rows", "64"], "--weight-rows is for --sdram"),
        (
            ["digits", "--sdram", "--weight-rows", "100"],
            "a power of two of at least 16 weight_rows",
        ),
        (["digits", "--lanes", "5000"], "lanes must be in 1..1024, not 5000"),
        (["nothing"], "there is no network 'nothing'"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, sentence, capsys):
    assert cli.main(["sim", *arguments]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["sim", "digits"],
        ["verify", "digits"],
        ["bench", "--models", "digits", "--no-build"],
        ["netlist", "digits"],
        ["run"],
        ["info"],
        ["serve"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("place", ["/proc/x", pytest.param("file", marks=pytest.mark.long)])
def test_a_build_folder_that_cannot_be_made_is_one_sentence(
    arguments, place, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESIDUUM_BUILD", str(tmp_path / place))
    build_accelerator.cache_clear()
    assert cli.main(arguments) == 1
    assert re.search(
        r"^residuum: .*\S+ cannot be (written|made): .+$", capsys.readouterr().err, re.M
    )


def test_no_lanes_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["sim", "digits", "--lanes", "0"])
    assert "argument --lanes: 0 is too small, at least 1" in capsys.readouterr().err


def test_a_name_with_brackets_is_printed_as_it_is(in_tmp, capsys):
    """Brackets are markup for the console that prints tables and progress."""
    network = load_network("digits")
    path = in_tmp / "[red][x]mine.npz"
    dataclasses.replace(network, name="[/x]").save(path)
    assert cli.main(["sim", str(path), "--images", "1"]) == 0
    assert "[red][x]mine, per image" in capsys.readouterr().out


def test_narrow_terminals_get_lines_instead_of_a_table(in_tmp, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    _, report = run(in_tmp, "digits", "--images", "1")
    lines = capsys.readouterr().out.splitlines()
    first = report["layers"][0]
    assert f"  cycles: {first['cycles']:,.0f}" in lines[lines.index(first["name"]) :]


@pytest.mark.long
def test_waves(in_tmp, capsys):
    """The wave file is about as large as predicted, and the command prints its size."""
    status, _ = run(in_tmp, "digits", "--images", "1", "--waves", "--lanes", "16")
    size = (in_tmp / "build" / "waves" / "digits-8bit-16x8.vcd").stat().st_size / 1e6
    said = capsys.readouterr()
    expected = float(re.search(r"the waves will take about ([\d,]+) MB", said.err)[1])
    assert status == 0
    assert f"the waves take {size:,.1f} MB" in said.out
    assert size / 2 < expected < size * 2


def test_too_many_waves_are_refused_before_the_build(capsys):
    assert cli.main(["sim", "digits", "--waves"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"the waves will take about [\d,]+ MB, \d+ MB per image; at most 500 MB", said)
