"""The reference in rates: of integers, of float networks, on graphs and in both codes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.accuracy import describe, evaluate
from residuum.sw.golden.golden_model import simulate
from residuum.sw.golden.reference import find_reference, from_float, from_integers, staircase
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import IMAGE, INPUT, SPIKES, MaxPool, Source
from residuum.sw.network.integer_network import RADIX, RATE
from tests.sw.networks import (
    random_float_graph,
    random_graph,
    random_images,
    random_input,
    random_trains,
)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_own_integers_in_radix_code_are_the_golden_model(seed: int) -> None:
    """Every number of every map, ties included, and the logits."""
    network = random_graph(seed, RADIX)
    images = random_images(seed, network, 2)
    golden = simulate(network, images, tau=0, T=1)
    rates, logits = from_integers(network, 1, "", own=True).rates(images)
    for found, layer, trace in zip(rates, network.layers, golden.layers, strict=False):
        assert np.array_equal(torch.round(found * (2**layer.bits - 1)).numpy(), trace.values)
    assert np.allclose(logits.numpy(), golden.logits, rtol=1e-9)


@given(seed=st.integers(0, 2**32), T=st.integers(1, 6))
@settings(max_examples=30)
def test_own_integers_in_rate_code_are_the_first_layer_of_a_constant_input(
    seed: int, T: int
) -> None:
    """A layer that reads only the image has a constant current: rates are exact with L = T."""
    network = random_graph(seed, RATE, IMAGE)
    layers = tuple(replace(layer, strict=False) for layer in network.layers)
    network = replace(network, layers=layers)
    images = random_images(seed, network, 2)
    golden = simulate(network, images, tau=0, T=T)
    rates, _ = from_integers(network, T, "", own=True).rates(images)
    for found, layer, trace in zip(rates, layers, golden.layers, strict=False):
        if all(source.map == INPUT for source in layer.sources):
            # A tie of T*I and half a threshold may fall to either side in float64.
            away = np.abs(np.rint(found.numpy() * T) - trace.values)
            assert away.max() <= 1
            assert (away > 0).mean() < 0.2


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_float_reference_is_the_network_of_rounded_activations(seed: int) -> None:
    """Rates are activations / lambda, logits are those of the float network."""
    rng = np.random.default_rng(seed)
    network = random_float_graph(seed, IMAGE)
    # Weights without a common divisor have no ties.
    layers = tuple(
        replace(
            layer,
            sources=tuple(
                replace(source, weight=rng.normal(size=source.weight.shape))
                for source in layer.sources
            ),
            start="half",
            max_pool=MaxPool((1, 1), (1, 1)) if layer.threshold else None,
        )
        for layer in network.layers
    )
    network = replace(network, layers=layers)
    images = rng.integers(0, 256, (2, *network.input_shape), np.uint8)
    expected = []

    def rounded(index: int, layer: FloatLayer, z: torch.Tensor) -> torch.Tensor:
        expected.append(staircase(z / layer.threshold, network.levels))
        return expected[-1] * layer.threshold

    pixels = torch.from_numpy(images.astype(np.float64) / 255)
    logits = forward(network, pixels, activation=rounded)
    rates, found = from_float(network, "").rates(images)
    assert torch.allclose(found, logits)
    for one, other in zip(rates, expected, strict=True):
        assert torch.allclose(one, other)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_reference_goes_on_from_given_maps(seed: int) -> None:
    network = random_graph(seed, RADIX)
    images = random_images(seed, network, 2)
    reference = from_integers(network, 1, "", own=True)
    rates, logits = reference.rates(images)
    for index in range(len(network.layers)):
        assert torch.equal(reference.logits_from(index, images, rates), logits)
    last = network.layers[-1]
    changed = [torch.rand_like(each) for each in rates]
    inputs = [
        reference.inputs(images) if source.map == INPUT else changed[source.map]
        for source in last.sources
    ]
    found = reference.logits_from(len(changed), images, changed)
    assert torch.equal(found, reference.layers[-1].drive(inputs).flatten(1))


def test_spike_trains_enter_as_their_rates() -> None:
    network = random_graph(4, RATE, SPIKES)
    trains = random_trains(4, network, 2, 5)
    reference = from_integers(network, 5, "", own=True)
    assert torch.equal(reference.inputs(trains), torch.from_numpy(trains.mean(axis=1)))
    assert reference.rates(trains)[1].shape == (2, network.classes)


def relu_network(threshold: float) -> FloatNetwork:
    layers = (
        FloatLayer("relu", (Source(np.ones((1, 1, 1, 1))),), np.zeros(1), threshold),
        FloatLayer("out", (Source(np.ones((1, 1, 1, 1)), 0),), np.zeros(1), None),
    )
    return FloatNetwork("relu", (1, 1, 1), layers, None)


def test_reference_needs_a_range() -> None:
    with pytest.raises(ResiduumError, match="layer 'relu' of network 'relu' is a plain ReLU"):
        from_float(relu_network(math.inf), "")


def test_levels_of_a_plain_network_follow_the_maps_in_radix_code(tmp_path: Path) -> None:
    """A float network without levels, and integers of K = 3: the reference rounds to 7 levels."""
    relu_network(2.0).save(tmp_path / "net-float.npz")
    network = random_graph(0, RADIX)
    first, last = network.layers[0], network.layers[-1]
    one = np.ones((1, 1, 1, 1), int)
    layers = (
        replace(first, name="relu", sources=(Source(one),), bias=np.zeros(1, int), bits=3,
                threshold=np.ones(1, int), max_pool=None, shift=0),
        replace(last, name="out", sources=(Source(one, 0),), bias=np.zeros(1, int), shift=0),
    )  # fmt: skip
    network = replace(network, input_shape=(1, 1, 1), layers=layers, pad=None)
    network.save(tmp_path / "net-8bit.npz")
    model = str(tmp_path / "net-8bit.npz")
    reference = find_reference(network, model, against=None, T=1)
    assert reference.source == "the float network"
    assert reference.levels == 7
    rates, _ = reference.rates(np.full((1, 1, 1, 1), 128, np.uint8))
    assert rates[0].item() == pytest.approx(2 / 7)
    other = replace(network, layers=(layers[0], replace(layers[1], sources=(Source(one, 0),) * 2)))
    with pytest.raises(ResiduumError, match="layer 'out' has another source, weight shape"):
        find_reference(other, model, against=None, T=1)


@pytest.mark.parametrize("code", [RATE, RADIX])
def test_accuracy_counts_right_images_and_active_neurons(code: str) -> None:
    network = random_graph(9, code)
    T = 1 if code == RADIX else 4
    images = random_input(9, network, 6, T)
    golden = simulate(network, images, tau=0, T=T)
    labels = golden.prediction.copy()
    labels[0] += 1
    tally = evaluate(network, images, labels, tau=0, T=T)
    assert (tally.right, tally.images) == (5, 6)
    for index, layer in enumerate(golden.layers):
        assert tally.fired[index] == (layer.values > 0).sum()
        assert tally.neurons[index] == layer.values.size
    text = describe(network, tally, 0, T)
    assert ("radix code" in text) == (code == RADIX)
    assert "83.33 % of 6 images right" in text
