"""The committed networks: shapes and accuracy on the held-out images."""

import os

import numpy as np
import pytest

from sw.data import DATA_VARIABLE, load_digits, load_mnist
from sw.golden import simulate
from sw.library import load_network
from sw.network import bounds, signed_bits

needs_mnist = pytest.mark.skipif(
    not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} names no folder with MNIST"
)


def accuracy(model: str, bits: int, images: np.ndarray, labels: np.ndarray) -> float:
    """Percent at tau 4, T 4."""
    trace = simulate(load_network(model, bits), images, tau=4, T=4, keep_layers=False)
    return 100 * float((trace.prediction == labels).mean())


@pytest.mark.parametrize(("bits", "least"), [(8, 97.5), (4, 97.5)])
def test_digits_accuracy(bits: int, least: float) -> None:
    data = load_digits()
    assert accuracy("digits", bits, data.test_images, data.test_labels) >= least


@needs_mnist
@pytest.mark.parametrize(("bits", "least"), [(8, 99.2), (4, 99.0)])
def test_mnist_accuracy(bits: int, least: float) -> None:
    data = load_mnist()
    assert accuracy("mnist", bits, data.test_images, data.test_labels) >= least


@pytest.mark.parametrize("bits", [8, 4])
def test_mnist_is_the_agreed_network(bits: int) -> None:
    network = load_network("mnist", bits)
    assert network.weight_bits == bits
    assert network.input_shape == (1, 28, 28)
    assert network.shapes == ((16, 14, 14), (32, 7, 7), (32, 7, 7), (10, 1, 1))


@pytest.mark.parametrize("model", ["digits", "mnist"])
@pytest.mark.parametrize("bits", [8, 4])
def test_small_engine_suffices(model: str, bits: int) -> None:
    """16-bit accumulators and 22-bit potentials, as in the design's engine."""
    for layer in load_network(model, bits).layers:
        limits = bounds(layer, 4)
        assert signed_bits(int(limits.acc_min.min()), int(limits.acc_max.max())) <= 16
        assert signed_bits(int(limits.potential_min.min()), int(limits.potential_max.max())) <= 22


def test_digits_fit_a_store_of_2048_rows() -> None:
    """Weight rows at 16 lanes: ceil(out/16) * kernel * in, over all layers."""
    rows = sum(
        -(-layer.out_channels // 16) * layer.weight[0].size
        for layer in load_network("digits").layers
    )
    assert rows <= 2048
