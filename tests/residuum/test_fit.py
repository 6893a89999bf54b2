"""``residuum fit``, and the stages and sizes that commands choose."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from residuum.cli import main
from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.sw.layers import layer
from tests.sw.networks import random_graph


@pytest.fixture
def radix(in_tmp: Path) -> str:
    """A network in radix code for the digits: one layer of neurons, and the classes."""
    rng = np.random.default_rng(0)
    zeros = np.zeros(10, int)
    hidden = layer(0, "a", rng.integers(-8, 8, (10, 1, 8, 8)), zeros, np.full(10, 300))
    out = layer(1, "out", rng.integers(-8, 8, (10, 10, 1, 1)), zeros, None)
    layers = (replace(hidden, bits=4), out)
    metadata = {"dataset": "digits"}
    network = IntegerNetwork("radix", (1, 8, 8), layers, 8, code="radix", metadata=metadata)
    network.save("radix.npz")
    return "radix.npz"


def test_all_presets_and_their_boards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "cifar10", "--bits", "4"]) == 0
    out = capsys.readouterr().out
    assert "12f (ulx3s-12f): too small" in out
    assert "85f-4bit (ulx3s, ulx3s-85f, orangecrab-85f" in out
    assert "--weight-rows 26678" in out


def test_the_words_are_those_of_bitstream(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weight-rows", "700", "--feature-rows", "64"]
    assert main(["fit", "digits", "--board", "ulx3s-12f", *options]) == 1
    out = capsys.readouterr().out
    sentence = "layer 'classifier' takes 512 weight rows, all layers take 809; this engine has 700"
    assert sentence in out
    assert "rows of feature memory; this engine has 64" in out
    assert main(["bitstream", "ulx3s-12f", "--model", "digits", *options]) == 1
    assert sentence in capsys.readouterr().err


def test_what_cannot_run_is_said(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weight, zeros = np.ones((2, 1, 2, 2), int), np.zeros(2, int)
    pooled = {"pool": (2, 2), "dilation": (3, 3)}
    hidden = layer(0, "a", weight, zeros, np.full(2, 300), **pooled)
    out = layer(1, "out", np.ones((2, 2, 1, 1), int), zeros, None)
    IntegerNetwork("pooled", (1, 8, 8), (hidden, out), 8).save("pooled.npz")
    assert main(["fit", "pooled.npz", "--json", "fit.json", "--preset", "12f"]) == 1
    sentence = (
        "layer 'a' has a dilated convolution behind average pooling, which the engine cannot run"
    )
    assert sentence in capsys.readouterr().out
    report = json.loads(Path("fit.json").read_text())
    assert report["not_runnable"] == [sentence]
    assert {need["what"]: need["needed"] for need in report["engines"]["12f"]}["layers"] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["digits", "--preset", "9f"], "there is no preset '9f'; the presets are 12f, 12f-4bit"),
        (["digits", "--board", "x"], "there is no board 'x'; the boards are ulx3s"),
        (["digits", "--lanes", "2000"], "engine cannot be built: lanes must be in 1..1024, not 2"),
        (["digits", "--potential-bits", "12"], "potential_bits must be at least accumulator_bits"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *words]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "explain", "show", "report", "summary"])
def test_radix_networks_need_no_stages(
    command: str, radix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--images", "20"] if command in ("eval", "explain", "report") else []
    assert main([command, radix, *few]) == 0
    capsys.readouterr()
    assert main([command, radix, "--T", "4"]) == 1
    assert capsys.readouterr().err == (
        "residuum: network 'radix' is in radix code, which runs once: tau must be 0 and T 1, not 0 "
        "and 4\n"
    )
    assert main([command, radix, "--correction", "carry"]) == 1
    assert capsys.readouterr().err == (
        "residuum: network 'radix' is in radix code, which has no probe and so no correction "
        "'carry'; leave the correction out\n"
    )


def test_the_choice_of_tau_refuses_radix_code(
    radix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["suggest", radix, "--images", "5"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "radix code, which" in error
    assert error.startswith("residuum: ")


def test_explain_of_radix_code_has_no_stages(
    radix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", radix, "--images", "20"]) == 0
    out = capsys.readouterr().out
    assert "radix, 8-bit weights, radix code" in out
    assert "silenced" not in out


def test_engines_of_other_sizes_hold_the_network() -> None:
    """The sizes reach the design, and the report names them."""
    from residuum.boards.build.bitstream import prepare
    from residuum.boards.catalogue import find

    order, _ = prepare(find("ulx3s-12f"), model="digits", sizes={"weight_rows": 1700, "lanes": 8})
    assert (order.lanes, order.preset) == (8, "12f with 1,700 weight rows, 8 lanes")
    with pytest.raises(ResiduumError, match="this engine has 512"):
        prepare(find("ulx3s-12f"), model="digits", sizes={"weight_rows": 512})


def test_strict_networks_run_without_a_probe(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = (random_graph(seed, "rate", "image") for seed in range(99))
    next(net for net in seeds if any(each.strict for each in net.layers)).save("strict.npz")
    assert main(["summary", "strict.npz"]) == 0
    assert "tau 0, T 4" in capsys.readouterr().out
    assert main(["summary", "strict.npz", "--tau", "1"]) == 1
    assert "or the correction carry" in capsys.readouterr().err
    assert main(["summary", "strict.npz", "--correction", "carry"]) == 0
    assert "tau 4, T 4, carry" in capsys.readouterr().out
    load_network("strict.npz")
