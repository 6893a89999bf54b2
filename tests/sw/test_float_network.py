"""The file of a float network: round trip, and errors for damaged files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.float_snn import simulate_float
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import SPIKES, MaxPool, Pad, Preprocessing
from tests.sw.networks import random_float_graph, random_float_network, same


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_saved_network_is_the_same(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Weights k/16 are exact in float32, so nothing may change."""
    network = random_float_graph(seed)
    first = network.layers[0]
    if first.threshold is not None:
        threshold = math.inf if seed % 2 else 1 / 3
        first = replace(first, max_pool=MaxPool((1, 1), (1, 1)), threshold=threshold)
    channels = network.input_shape[0]
    network = replace(
        network,
        layers=(first, *network.layers[1:]),
        pad=None if network.input == SPIKES else Pad((0, 0, 0, 0), (0.25,) * channels),
        class_names=tuple(f"{c} ä" for c in range(network.classes)),
        preprocessing=Preprocessing(std=(0.5,) * channels),
        metadata={"licence": "CC0"},
        levels=None if seed % 2 else 4,
    )
    path = tmp_path_factory.mktemp("net") / "net-float.npz"
    network.save(path)
    assert same(FloatNetwork.load(path), network)


def test_loaded_network_behaves_the_same(tmp_path: Path) -> None:
    network = random_float_network(5)
    network.save(tmp_path / "net.npz")
    loaded = FloatNetwork.load(tmp_path / "net.npz")
    images = np.random.default_rng(0).random((3, *network.input_shape))
    logits = simulate_float(network, images, tau=2, T=3).logits
    assert np.array_equal(simulate_float(loaded, images, tau=2, T=3).logits, logits)


def test_weights_are_kept_to_the_precision_of_training(tmp_path: Path) -> None:
    network = random_float_network(5)
    source = network.layers[0].source
    third = replace(source, weight=np.full_like(source.weight, 1 / 3))
    changed = replace(
        network, layers=(replace(network.layers[0], sources=(third,)), *network.layers[1:])
    )
    changed.save(tmp_path / "net.npz")
    loaded = FloatNetwork.load(tmp_path / "net.npz").layers[0].source.weight
    assert loaded.dtype == np.float64
    assert np.abs(loaded - 1 / 3).max() < 2**-25


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_files_of_version_1_are_read(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A chain of layers, as version 1 of the format wrote it."""
    network = random_float_network(seed)
    header = {
        "format": "residuum float network",
        "version": 1,
        "name": network.name,
        "input_shape": list(network.input_shape),
        "levels": network.levels,
        "layers": [
            {
                "name": layer.name,
                "threshold": layer.threshold,
                "stride": layer.source.stride[0],
                "padding": layer.source.padding[0],
                "pool": list(layer.source.pool),
            }
            for layer in network.layers
        ],
    }
    arrays = {f"weight_{i}": layer.source.weight for i, layer in enumerate(network.layers)}
    arrays |= {f"bias_{i}": layer.bias for i, layer in enumerate(network.layers)}
    path = tmp_path_factory.mktemp("net") / "net.npz"
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    assert same(FloatNetwork.load(path), network)


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
        ({"version": 3}, "has format version 3, but this program reads versions 1 and 2"),
        ({"layers": None}, "is damaged: parts of the network are missing"),
        ({"layers": [{"name": "conv"}]}, "is damaged: parts of the network are missing"),
        ({"layers": []}, "cannot be: network 'random' has no layer"),
        ({"name": ""}, "cannot be: the network has no name"),
        ({"input_shape": [4]}, r"cannot be: .* needs an input shape \(C, H, W\)"),
        ({"input_shape": [7, 40, 40]}, "but its input has 7"),
        ({"input": "sound"}, "reads 'sound'"),
        ({"pad": {"sides": [1, 1, 1, 1], "pixel": []}}, "needs a border pixel"),
        ({"pad": {"border": 1}}, "is damaged: parts of the network are missing"),
        ({"levels": 0}, "has 0 levels; it must be a number from 1 on"),
        ({"levels": "many"}, "has 'many' levels"),
        ({"class_names": ["a"] * 99}, "but 99 class names"),
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
        ("weight_0_0", np.zeros((1, 9), np.float32), "needs a weight array with 4 dimensions"),
    ],
)
def test_wrong_array_gets_a_sentence(
    tmp_path: Path, name: str, value: np.ndarray, message: str
) -> None:
    with pytest.raises(ResiduumError, match=message):
        FloatNetwork.load(rewritten(tmp_path / "net.npz", {}, **{name: value}))


def test_weight_that_is_no_number_gets_a_sentence(tmp_path: Path) -> None:
    weight = random_float_network(5).layers[0].source.weight.astype(np.float32)
    weight.flat[0] = np.nan
    with pytest.raises(ResiduumError, match="has a weight or bias that is not a finite number"):
        FloatNetwork.load(rewritten(tmp_path / "net.npz", {}, weight_0_0=weight))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": -1.0}, r"has the threshold -1.0; it must be positive"),
        ({"threshold": math.nan}, r"has the threshold nan; it must be positive"),
        ({"threshold": None}, "needs a threshold"),
        ({"start": "full"}, "has the start potential 'full'; it must be 'half' or 'zero'"),
        ({"name": ""}, "a layer has no name"),
        ({"bias": np.zeros(99)}, r"channels and a bias of \(99,\)"),
        ({"sources": ()}, "must read one or two sources"),
    ],
)
def test_wrong_layer_gets_a_sentence(changes: dict, message: str) -> None:
    network = random_float_network(5)
    first, *rest = network.layers
    with pytest.raises(ResiduumError, match=message):
        replace(network, layers=(replace(first, **changes), *rest))


def test_output_layer_has_no_max_pooling() -> None:
    network = random_float_network(5)
    last = replace(network.layers[-1], max_pool=MaxPool((1, 1), (1, 1)))
    with pytest.raises(ResiduumError, match="is the output layer and must not have max-pooling"):
        replace(network, layers=(*network.layers[:-1], last))
