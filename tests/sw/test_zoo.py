"""The committed networks: shapes and accuracy on the held-out images."""

import os

import pytest

from residuum.hw.isa.presets import preset
from residuum.sw.compiler.program import compile_network
from residuum.sw.data.data_sets import DATA_VARIABLE, load_held_out
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.library import float_file, load_network, zoo_names

needs_data = pytest.mark.skipif(
    not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} names no folder with the images"
)
# Images of the slow CIFAR-10 network; `residuum eval cifar10` runs all of them.
SOME = 1000


def accuracy(model: str, bits: int, count: int | None = None) -> float:
    """Accuracy in percent on the held-out images, or the first ``count``, at tau 4, T 4."""
    images, labels = (array[:count] for array in load_held_out(model))
    trace = simulate(load_network(model, bits), images, tau=4, T=4, keep_layers=False)
    return 100 * float((trace.prediction == labels).mean())


@pytest.mark.parametrize(("bits", "least"), [(8, 97.5), (4, 97.5)])
def test_digits_accuracy(bits: int, least: float) -> None:
    assert accuracy("digits", bits) >= least


@needs_data
@pytest.mark.parametrize(
    ("model", "bits", "least"),
    [("mnist", 8, 99.3), pytest.param("mnist", 4, 99.3, marks=pytest.mark.long)],
)
def test_accuracy_on_all_test_images(model: str, bits: int, least: float) -> None:
    assert accuracy(model, bits) >= least


@needs_data
@pytest.mark.parametrize(
    ("model", "bits", "least"),
    [
        ("fashion", 4, 91),
        ("cifar10", 4, 88),
        pytest.param("fashion", 8, 91, marks=pytest.mark.long),
        pytest.param("cifar10", 8, 88, marks=pytest.mark.long),
    ],
)
def test_accuracy_on_some_test_images(model: str, bits: int, least: float) -> None:
    assert accuracy(model, bits, SOME) >= least


def test_mnist_has_at_most_40000_weights() -> None:
    assert sum(layer.source.weight.size for layer in load_network("mnist").layers) <= 40_000


@pytest.mark.parametrize("model", zoo_names())
def test_float_network_has_the_layers_of_the_integer_one(model: str) -> None:
    floating, integer = FloatNetwork.load(float_file(model)), load_network(model)
    assert [layer.source.weight.shape for layer in floating.layers] == [
        layer.source.weight.shape for layer in integer.layers
    ]


@pytest.mark.parametrize("model", ["digits", "mnist"])
@pytest.mark.parametrize("bits", [8, 4])
def test_small_engine_suffices(model: str, bits: int) -> None:
    """16-bit accumulators and 22-bit potentials are enough."""
    network = load_network(model, bits)
    for layer in network.layers:
        limits = bounds(network, layer, 4)
        assert signed_bits(int(limits.acc_min.min()), int(limits.acc_max.max())) <= 16
        assert signed_bits(int(limits.potential_min.min()), int(limits.potential_max.max())) <= 22


@pytest.mark.parametrize(
    ("model", "bits", "name"),
    [
        ("digits", 8, "12f"),
        ("mnist", 8, "12f"),
        ("mnist", 4, "12f"),
        ("fashion", 4, "85f-4bit"),
        ("cifar10", 4, "85f-4bit"),
    ],
)
def test_network_fits_its_preset(model: str, bits: int, name: str) -> None:
    network, config = load_network(model, bits), preset(name)
    for tau, T in ((4, 4), (0, 8)):
        assert compile_network(network, config, tau=tau, T=T).config == config
