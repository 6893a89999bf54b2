"""The file of a float network: round trip, and errors for damaged files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.float_snn import simulate_float
from residuum.sw.network.float_network import FloatNetwork
from tests.sw.networks import random_float_network


def equal(first: FloatNetwork, second: FloatNetwork) -> bool:
    """Whether all fields and values are equal."""
    if [first.name, first.input_shape, first.levels, len(first.layers)] != [
        second.name, second.input_shape, second.levels, len(second.layers)
    ]:  # fmt: skip
        return False
    return all(
        [a.name, a.threshold, a.stride, a.padding, a.pool]
        == [b.name, b.threshold, b.stride, b.padding, b.pool]
        and np.array_equal(a.weight, b.weight)
        and np.array_equal(a.bias, b.bias)
        for a, b in zip(first.layers, second.layers, strict=True)
    )


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_saved_network_is_the_same(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Weights k/16 are exact in float32, so nothing may change."""
    network = random_float_network(seed)
    path = tmp_path_factory.mktemp("net") / "net-float.npz"
    network.save(path)
    assert equal(FloatNetwork.load(path), network)


def test_loaded_network_behaves_the_same(tmp_path: Path) -> None:
    """Spikes of the float network, and the integers converted from it."""
    network = random_float_network(5)
    network.save(tmp_path / "net.npz")
    loaded = FloatNetwork.load(tmp_path / "net.npz")
    images = np.random.default_rng(0).random((3, *network.input_shape))
    logits = simulate_float(network, images, tau=2, T=3).logits
    assert np.array_equal(simulate_float(loaded, images, tau=2, T=3).logits, logits)
    integers = [to_integer(each, bits=4).layers for each in (network, loaded)]
    for first, second in zip(*integers, strict=True):
        assert np.array_equal(first.weight, second.weight)
        assert np.array_equal(first.bias, second.bias)


def test_weights_are_kept_to_the_precision_of_training(tmp_path: Path) -> None:
    network = random_float_network(5)
    weight = np.full_like(network.layers[0].weight, 1 / 3)
    changed = replace(
        network, layers=(replace(network.layers[0], weight=weight), *network.layers[1:])
    )
    changed.save(tmp_path / "net.npz")
    loaded = FloatNetwork.load(tmp_path / "net.npz").layers[0].weight
    assert loaded.dtype == np.float64
    assert np.abs(loaded - 1 / 3).max() < 2**-25


def rewritten(path: Path, change: dict, **arrays: np.ndarray) -> Path:
    """A valid file at ``path``, with changes to header and arrays."""
    random_float_network(5).save(path)
    with np.load(path) as archive:
        kept = {name: archive[name] for name in archive.files}
    header = json.loads(str(kept["header"])) | change
    np.savez(path, **{**kept, **arrays, "header": np.array(json.dumps(header))})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "residuum integer network"}, "is not a float network of Residuum"),
        ({"version": 2}, "has format version 2, but this program reads version 1"),
        ({"layers": None}, "is damaged: parts of the network are missing"),
        ({"layers": [{"name": "conv"}]}, "is damaged: parts of the network are missing"),
        ({"layers": []}, "cannot be: it has no layer"),
        ({"name": ""}, "cannot be: it has no name"),
        ({"input_shape": [4]}, "is damaged: parts of the network are missing"),
        ({"input_shape": [7, 40, 40]}, "on 7 input channels"),
        ({"levels": 0}, "levels 0"),
        ({"levels": "many"}, "levels 'many'"),
    ],
)
def test_wrong_header_gets_a_sentence(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ResiduumError, match=message):
        FloatNetwork.load(rewritten(tmp_path / "net.npz", change))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias_0", np.zeros(99, np.float32), r"a bias of \(99,\)"),
        ("bias_0", np.array(["a"]), "parts of the network are missing"),
        ("weight_0", np.zeros((1, 9), np.float32), r"has the weight shape \(1, 9\)"),
    ],
)
def test_wrong_array_gets_a_sentence(
    tmp_path: Path, name: str, value: np.ndarray, message: str
) -> None:
    with pytest.raises(ResiduumError, match=message):
        FloatNetwork.load(rewritten(tmp_path / "net.npz", {}, **{name: value}))


def test_weight_that_is_no_number_gets_a_sentence(tmp_path: Path) -> None:
    weight = random_float_network(5).layers[0].weight.astype(np.float32)
    weight.flat[0] = np.nan
    with pytest.raises(ResiduumError, match="has a weight or bias that is not a finite number"):
        FloatNetwork.load(rewritten(tmp_path / "net.npz", {}, weight_0=weight))


def test_threshold_must_be_positive(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "net.npz", {})
    with np.load(path) as archive:
        layers = json.loads(str(archive["header"]))["layers"]
    layers[0]["threshold"] = -1.0
    with pytest.raises(ResiduumError, match=r"has the threshold -1.0; it must be positive"):
        FloatNetwork.load(rewritten(path, {"layers": layers}))
    layers[0]["threshold"] = None
    with pytest.raises(ResiduumError, match="needs a threshold"):
        FloatNetwork.load(rewritten(path, {"layers": layers}))
