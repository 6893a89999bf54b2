"""Layer and cause are found in deliberately broken conversions."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from residuum.cli import main
from residuum.sw.convert.quantize import quantize_weights, weight_scales
from residuum.sw.convert.to_integer import FractionBits, to_integer
from residuum.sw.data.data_sets import load_held_out
from residuum.sw.golden.golden_model import simulate
from residuum.sw.golden.reference import Reference, find_reference, from_float, from_integers
from residuum.sw.look.explain import Explanation, explain, firing_rates, sentences, spikes_from
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network, zoo_file
from residuum.sw.train.qcfs import qcfs
from tests.folders import work_in
from tests.sw.networks import (
    random_float_network,
    random_graph,
    random_images,
    random_input,
    random_network,
)

LEVELS = 4


@pytest.fixture(scope="module")
def digits() -> IntegerNetwork:
    return load_network("digits")


@pytest.fixture(scope="module")
def reference(digits: IntegerNetwork) -> Reference:
    return from_integers(digits, LEVELS, "the reference", own=False)


def replaced(
    network: IntegerNetwork, index: int, weight: np.ndarray | None = None, **changes: object
) -> IntegerNetwork:
    layers = list(network.layers)
    if weight is not None:
        changes["sources"] = (dataclasses.replace(layers[index].source, weight=weight),)
    layers[index] = dataclasses.replace(layers[index], **changes)
    return dataclasses.replace(network, layers=tuple(layers))


def coarse(network: IntegerNetwork, index: int, bits: int) -> IntegerNetwork:
    """The network with fewer weight bits in one layer, and matching biases and thresholds."""
    layer = network.layers[index]
    weight = torch.from_numpy(layer.source.weight.astype(float))
    scales = weight_scales(weight, bits, shared=layer.threshold is None)
    unit = scales.numpy()
    threshold = None if layer.threshold is None else np.rint(layer.threshold / unit).astype(int)
    return replaced(
        network,
        index,
        weight=quantize_weights(weight, scales, bits).numpy().astype(int),
        bias=np.rint(layer.bias / unit).astype(int),
        threshold=threshold,
    )


def explained(network: IntegerNetwork, reference: Reference, **stages: int) -> Explanation:
    images, labels = load_held_out("digits")
    return explain(network, reference, images[:300], labels[:300], **{"tau": 4, "T": 4, **stages})


def broken(digits: IntegerNetwork, how: str, index: int) -> IntegerNetwork:
    layer = digits.layers[index]
    if how == "thresholds":
        assert layer.threshold is not None
        return replaced(digits, index, threshold=layer.threshold * 3)
    if how == "biases":
        return replaced(digits, index, bias=np.zeros_like(layer.bias))
    return coarse(digits, index, 2)


@pytest.mark.parametrize(
    ("how", "index", "hint"),
    [
        ("thresholds", 0, "its thresholds are 3.00 times those of the reference"),
        ("weights", 0, "its weights differ from those of the reference (signal to noise 8."),
        ("weights", 2, "its weights differ from those of the reference (signal to noise 3."),
        ("biases", 0, "its biases are all 0"),
        ("biases", 1, "its biases are all 0"),
    ],
)
def test_the_broken_layer_is_named(
    how: str, index: int, hint: str, digits: IntegerNetwork, reference: Reference
) -> None:
    found = explained(broken(digits, how, index), reference)
    name = digits.layers[index].name
    assert (found.significant, found.worst.name, found.worst.cause) == (True, name, how)
    assert found.worst.loss > 0.8 * found.lost
    text = "\n".join(sentences(found))
    assert f"Layer {name} loses {found.worst.loss:.1f} of them: {hint}" in text
    assert "What to do: " in text


@pytest.mark.parametrize(("how", "index"), [("thresholds", 1), ("weights", 1)])
def test_a_fault_that_costs_nothing_is_still_found(
    how: str, index: int, digits: IntegerNetwork, reference: Reference
) -> None:
    """In a network this small the fault changes the rates, but no class."""
    found = explained(broken(digits, how, index), reference)
    assert not found.significant
    assert (found.worst.name, found.worst.cause) == (digits.layers[index].name, how)
    text = "\n".join(sentences(found))
    assert "Nothing is lost beyond chance" in text
    assert f"is in {found.worst.name}: " in text
    assert ("3.00 times those of the reference" in text) == (how == "thresholds")


def test_coarse_thresholds_are_told_from_wrong_ones(
    digits: IntegerNetwork, reference: Reference
) -> None:
    """Thresholds rounded to multiples of 2,500 have random errors, not a common factor."""
    threshold = digits.layers[1].threshold
    assert threshold is not None
    rounded = (threshold + 1250) // 2500 * 2500
    found = explained(replaced(digits, 1, threshold=rounded), reference)
    assert (found.worst.name, found.worst.cause) == ("conv2", "thresholds")
    assert not found.worst.threshold_wrong


def test_too_few_steps(digits: IntegerNetwork, reference: Reference) -> None:
    found = explained(digits, reference, tau=0, T=1)
    assert found.layers[0].cause == "levels"
    assert found.layers[0].errors["timing"] == 0


def test_nothing_is_wrong_with_the_network_itself(
    digits: IntegerNetwork, reference: Reference
) -> None:
    """Against its own integers, a network only has timing errors, and none in the first layer,
    whose current is constant."""
    found = explained(digits, reference)
    assert not found.significant
    for layer in found.layers:
        errors = {key: error for key, error in layer.errors.items() if key != "timing"}
        assert max(errors.values()) < 1e-12
        assert layer.sqnr_db is None
    assert found.layers[0].rate_error == pytest.approx(0, abs=1e-12)
    assert found.layers[1].errors["timing"] > 0


def test_losses_add_up(digits: IntegerNetwork, reference: Reference) -> None:
    found = explained(coarse(digits, 1, 3), reference)
    assert sum(layer.loss for layer in found.layers) == pytest.approx(found.lost)
    images, labels = load_held_out("digits")
    trace = simulate(coarse(digits, 1, 3), images[:300], tau=4, T=4)
    assert found.spiking == pytest.approx(100 * float((trace.prediction == labels[:300]).mean()))


@pytest.mark.parametrize("seed", range(8))
def test_rates_of_a_float_network_are_its_activations(seed: int) -> None:
    """The reference is QCFS with thresholds and units, as in training."""
    network = random_float_network(seed)
    integers = to_integer(network, bits=8)
    images = random_images(seed, integers, 3)
    rates, logits = from_float(network, "").rates(images)
    x = torch.from_numpy(images).double() / 255
    for layer, rate in zip(network.layers[:-1], rates, strict=True):
        source = layer.source
        x = F.avg_pool2d(x, source.pool)
        weight, bias = torch.from_numpy(source.weight), torch.from_numpy(layer.bias)
        z = F.conv2d(x, weight, bias, source.stride, source.padding[::2])
        assert layer.threshold is not None
        # Compare rates and QCFS activations in the same unit.
        x = qcfs(z, layer.threshold, network.levels)
        torch.testing.assert_close(rate * layer.threshold, x)
    last = network.layers[-1]
    z = F.conv2d(
        F.avg_pool2d(x, last.source.pool),
        torch.from_numpy(last.source.weight),
        torch.from_numpy(last.bias),
    )
    torch.testing.assert_close(logits, z.flatten(1))


@pytest.mark.parametrize("seed", range(6))
def test_integers_stand_for_the_float_network(seed: int) -> None:
    """With many bits, both references have nearly the same weights and biases."""
    network = random_float_network(seed)
    fine = to_integer(network, bits=16, fraction_bits=FractionBits(8, 8))
    ours, theirs = from_integers(fine, 4, "", own=True), from_float(network, "")
    for a, b in list(zip(ours.layers, theirs.layers, strict=True))[:-1]:
        np.testing.assert_allclose(a.sources[0].weight, b.sources[0].weight, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(a.bias, b.bias, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", [s for s in range(30) if len(random_network(s).layers) > 2][:6])
def test_spikes_on_activations_are_exact_where_theory_says_so(seed: int) -> None:
    """With a constant current and T = L, the last hidden layer fires exactly at its QCFS level."""
    network = random_network(seed)
    images = random_images(seed, network, 4)
    reference = from_integers(network, LEVELS, "", own=True)
    rates, logits = reference.rates(images)
    index = len(network.layers) - 2
    found = spikes_from(network, index, images, rates, LEVELS, tau=0, T=LEVELS)
    # `logits` are per step; the network sums T steps.
    np.testing.assert_allclose(found, logits * LEVELS, atol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_radix_code_on_activations_is_the_reference(seed: int) -> None:
    """In radix code the reference of the own integers has the numbers of the golden model, so every
    hybrid gives the same logits, on graphs with two sources, pooling and groups."""
    network = random_graph(seed, code="radix")
    images = random_images(seed, network, 3)
    reference = from_integers(network, 1, "", own=True)
    golden = simulate(network, images, tau=0, T=1)
    rates, logits = reference.rates(images)
    for layer, rate in zip(golden.layers, rates, strict=True):
        torch.testing.assert_close(firing_rates(layer), rate)
    np.testing.assert_allclose(golden.logits, logits, rtol=1e-6, atol=1e-3)
    for index in range(1, len(network.layers)):
        found = spikes_from(network, index, images, rates, 1, tau=0, T=1)
        assert np.array_equal(found, golden.logits)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("code", ["rate", "radix"])
def test_any_graph_is_explained(seed: int, code: str) -> None:
    """Losses add up on any graph; against itself, weights and biases have no errors."""
    network = random_graph(seed, code=code)
    probe = 0 if code == "radix" or any(layer.strict for layer in network.layers) else 2
    stages = {"tau": probe, "T": 1 if code == "radix" else 3}
    images = random_input(seed, network, 6, sum(stages.values()))
    labels = simulate(network, images, **stages).prediction
    reference = from_integers(network, LEVELS, "the reference", own=True)
    found = explain(network, reference, images, labels, **stages)
    assert found.spiking == 100
    assert sum(layer.loss for layer in found.layers) == pytest.approx(found.lost)
    for layer in found.layers:
        assert max(layer.errors[cause] for cause in ("weights", "biases", "thresholds")) < 1e-9
    assert list(sentences(found))


def test_float_network_beside_a_file_is_found(tmp_path: Path) -> None:
    network = random_float_network(1)
    integers = to_integer(network, bits=8)
    integers.save(tmp_path / "mine-8bit.npz")
    network.save(tmp_path / "mine-float.npz")
    model = str(tmp_path / "mine-8bit.npz")
    found = find_reference(integers, model, against=None, T=4)
    assert (found.source, found.own) == ("the float network", False)
    (tmp_path / "mine-float.npz").unlink()
    assert find_reference(integers, model, against=None, T=4).own


def test_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    digits: IntegerNetwork,
) -> None:
    work_in(tmp_path, monkeypatch)
    broken(digits, "thresholds", 0).save("bad.npz")
    reference = str(zoo_file("digits", 8))
    assert main(["explain", "bad.npz", "--images", "60", "--against", reference]) == 0
    report = json.loads((tmp_path / "build/explain/bad.json").read_text())
    assert (report["worst"], report["cause"]) == ("conv1", "thresholds")
    out = capsys.readouterr().out
    assert "Layer conv1 loses" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_mistakes_get_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in(tmp_path, monkeypatch)
    (tmp_path / "file").write_text("")
    other = str(zoo_file("mnist", 8))
    for arguments, sentence in (
        (["none"], "there is no network 'none'"),
        (["digits", "--images", "400"], "400 images are wanted, but digits has 360"),
        (["digits", "--against", "none.npz"], "there is no file none.npz"),
        (["digits", "--against", "file"], "file is not a Residuum network, or it is damaged"),
        (
            ["digits", "--against", other],
            " layers and 'digits' has 3; they are not the same network",
        ),
        (["digits", "--images", "2", "--json", "file/x.json"], "cannot be written"),
    ):
        assert main(["explain", *arguments]) == 1
        error = capsys.readouterr().err.splitlines()
        assert sentence in error[-1]
        assert error[-1].startswith("residuum: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "file"]
