"""The committed networks: shapes and accuracy on the held-out images."""

import os

import numpy as np
import pytest

from residuum.hw.isa.presets import preset
from residuum.sw.compiler.program import compile_network
from residuum.sw.data.data_sets import DATA_VARIABLE
from residuum.sw.data.held_out import held_out
from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.library import float_file, float_file_of, load_network, zoo_file, zoo_names

needs_data = pytest.mark.skipif(
    not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} names no folder with the images"
)
# Images of the slow CIFAR-10 network; `residuum eval cifar10` runs all of them.
SOME = 1000


# Images of the deep ones, which take a second for a few.
FEW = 500
RESNETS = ("resnet20", "resnet20-radix")
LARGEST_FILE = 400_000


def accuracy(model: str, bits: int, count: int | None = None, **how: str) -> float:
    """Accuracy in percent on the held-out images, or the first ``count``, at tau 4, T 4, or in
    radix code."""
    network = load_network(model, bits)
    images, labels = (array[:count] for array in held_out(network, model))
    stages = {"tau": 0, "T": 1} if network.code == "radix" else {"tau": 4, "T": 4}
    trace = simulate(network, images, **stages, **how, keep_layers=False)
    return 100 * float((trace.prediction == labels).mean())


@pytest.mark.parametrize(("bits", "least"), [(8, 97.5), (4, 97.5)])
def test_digits_accuracy(bits: int, least: float) -> None:
    assert accuracy("digits", bits) >= least


@needs_data
@pytest.mark.parametrize(
    ("model", "bits", "least"),
    [
        ("mnist", 8, 99.3),
        ("mnist-radix", 4, 99.4),
        pytest.param("mnist", 4, 99.3, marks=pytest.mark.long),
        pytest.param("mnist-radix", 8, 99.4, marks=pytest.mark.long),
    ],
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


@needs_data
@pytest.mark.parametrize(
    ("model", "bits", "correction", "least"),
    [
        ("resnet20-radix", 4, "none", 90.5),
        pytest.param("resnet20-radix", 8, "none", 90.5, marks=pytest.mark.long),
        pytest.param("resnet20", 4, "mask", 70, marks=pytest.mark.long),
        pytest.param("resnet20", 8, "mask", 70, marks=pytest.mark.long),
        pytest.param("resnet20", 4, "carry", 70, marks=pytest.mark.long),
        pytest.param("resnet20", 8, "carry", 70, marks=pytest.mark.long),
    ],
)
def test_accuracy_of_the_resnets(model: str, bits: int, correction: str, least: float) -> None:
    assert accuracy(model, bits, FEW, correction=correction) >= least


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("model", RESNETS)
def test_resnets_are_small_files_that_name_their_command(model: str, bits: int) -> None:
    network = load_network(model, bits)
    assert (network.name, network.weight_bits, len(network.layers)) == (model, bits, 20)
    assert zoo_file(model, bits).stat().st_size <= LARGEST_FILE
    trained = "residuum train resnet20 --data-set cifar10 --seed 0 --epochs 60"
    source = "residuum import sw/zoo/resnet20-float.npz"
    assert (
        network.metadata["command"]
        == {
            ("resnet20", 8): trained,
            ("resnet20", 4): f"{source} --data cifar10 --bits 4 --code rate --tau 4 --T 4",
            ("resnet20-radix", 8): f"{source} --name resnet20-radix --data cifar10 --bits 8 "
            "--bits-per-activation 4",
            ("resnet20-radix", 4): f"{source} --name resnet20-radix --data cifar10 --bits 4 "
            "--bits-per-activation 4",
        }[model, bits]
    )
    if network.metadata["command"] != trained:
        assert network.metadata["source sha256"] == digest_of_file(float_file("resnet20"))
        assert network.metadata["command of the float network"] == trained


@pytest.mark.parametrize(("tau", "T", "correction"), [(4, 4, None), (0, 4, None), (0, 1, "carry")])
def test_radix_code_has_no_steps_and_no_correction(
    tau: int, T: int, correction: str | None
) -> None:
    network = load_network("resnet20-radix")
    images = np.zeros((1, *network.input_shape), np.uint8)
    with pytest.raises(ResiduumError, match="'resnet20-radix' is in radix code, which"):
        simulate(network, images, tau=tau, T=T, correction=correction)


def test_mnist_has_at_most_40000_weights() -> None:
    assert sum(layer.source.weight.size for layer in load_network("mnist").layers) <= 40_000


@pytest.mark.parametrize("model", zoo_names())
def test_float_network_has_the_layers_of_the_integer_one(model: str) -> None:
    integer = load_network(model)
    floating = FloatNetwork.load(float_file_of(integer, model))
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
