"""The golden model against a naive scalar simulator, closed forms and the theory of SRP."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import (
    firing_share,
    integrate_and_fire,
    simulate,
    simulate_batches,
)
from residuum.sw.network.integer_network import PIXELS, SPIKES, IntegerNetwork, Layer
from tests.sw.naive import run
from tests.sw.networks import naive_integer, random_images, random_network


@given(seed=st.integers(0, 2**32), tau=st.integers(0, 5), T=st.integers(1, 5))
@example(seed=0, tau=4, T=4)
@settings(max_examples=60)
def test_equals_naive_step_by_step_simulation(seed: int, tau: int, T: int) -> None:
    """The golden model (layer by layer, matrices) equals the scalar step-by-step simulation."""
    network = random_network(seed)
    image = random_images(seed, network, 1)
    trace = simulate(network, image, tau=tau, T=T)
    hidden, logits = run(naive_integer(network), image[0].tolist(), tau, T)
    for layer, (trains, residual, silenced) in zip(trace.layers, hidden, strict=True):
        assert layer.trains[0].tolist() == trains
        assert layer.residual[0].tolist() == residual
        assert layer.silenced[0].tolist() == silenced
    assert trace.logits[0].tolist() == logits


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_batches_do_not_depend_on_one_another(seed: int) -> None:
    network = random_network(seed)
    images = random_images(seed, network, 5)
    together = simulate(network, images, tau=2, T=3)
    alone = [simulate(network, images[i : i + 1], tau=2, T=3) for i in range(5)]
    assert np.array_equal(together.logits, np.concatenate([trace.logits for trace in alone]))
    for index, layer in enumerate(together.layers):
        trains = np.concatenate([trace.layers[index].trains for trace in alone])
        assert np.array_equal(layer.trains, trains)


def spike_count(currents: np.ndarray, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """N and v(T) of neurons with the currents (neurons, T)."""
    steps = currents.shape[1]
    trains, residual, _ = integrate_and_fire(
        torch.from_numpy(currents)[:, :, None, None, None], np.array([threshold]), steps
    )
    return trains.sum(dim=1).flatten().numpy(), residual.flatten().numpy()


def level(total: int, threshold: int, steps: int) -> int:
    """QCFS level with L = T of the mean current total/T, in exact fractions."""
    exact = Fraction(total) / threshold + Fraction(1, 2)
    return min(max(exact.numerator // exact.denominator, 0), steps)


@pytest.mark.parametrize("threshold", [1, 2, 3, 7, 16, 25])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_constant_current_gives_the_closed_form(threshold: int, steps: int) -> None:
    """N = clip(floor((T*I + TH/2)/TH), 0, T): the equation that makes QCFS and neuron equal."""
    currents = np.arange(-2 * threshold, 2 * threshold + 1)
    counts, _ = spike_count(np.repeat(currents[:, None], steps, axis=1), threshold)
    assert counts.tolist() == [level(steps * int(i), threshold, steps) for i in currents]


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_negative_residual_means_too_many_spikes(threshold: int, steps: int) -> None:
    """Exhaustive over time-varying currents: N > q <=> v(T) < 0 and N >= 1.

    N is the number of spikes in T steps, q the QCFS level with L = T of the mean current. The
    potential telescopes to v(T) = V0 + sum of I - N*TH, and q is floor((V0 + sum of I)/TH) limited
    to 0 .. T. So v(T) < 0 means that the unlimited level is below N. The limit T never matters,
    since N <= T. The limit 0 matters only if N = 0, which the second condition excludes. A neuron
    with v(T) < 0 and N = 0 does not fire anyway, so SRP may silence it too. Hao et al. (AAAI 2023)
    derive the condition on the residual potential. It also holds for TH >> 1 instead of TH/2: for
    an odd TH no integer is between the two.
    """
    values = range(-threshold - 1, 2 * threshold + 2)
    currents = np.array(list(itertools.product(values, repeat=steps)))
    counts, residual = spike_count(currents, threshold)
    levels = np.array([level(int(total), threshold, steps) for total in currents.sum(axis=1)])
    assert np.array_equal(counts > levels, (residual < 0) & (counts >= 1))


def one_neuron(weight: int, bias: int, threshold: int) -> IntegerNetwork:
    """One pixel, one neuron, one class that counts its spikes."""
    layers = (
        Layer("neuron", np.full((1, 1, 1, 1), weight), np.array([bias]), np.array([threshold]),
              PIXELS, 0),
        Layer("count", np.ones((1, 1, 1, 1), int), np.zeros(1, int), None, SPIKES, 0),
    )  # fmt: skip
    return IntegerNetwork("one", (1, 1, 1), layers, 8)


def test_without_probe_nothing_is_silenced() -> None:
    trace = simulate(one_neuron(-1, 0, 7), np.full((1, 1, 1, 1), 9, np.uint8), tau=0, T=3)
    assert trace.layers[0].residual.tolist() == [[[[3]]]]
    assert not trace.layers[0].silenced.any()


def test_residual_of_zero_is_not_silenced() -> None:
    # V0 = 5, and one step of -5 leaves exactly 0.
    trace = simulate(one_neuron(0, -5, 10), np.zeros((1, 1, 1, 1), np.uint8), tau=1, T=1)
    assert trace.layers[0].residual.tolist() == [[[[0]]]]
    assert not trace.layers[0].silenced.any()


def test_prediction_takes_the_first_of_equal_logits() -> None:
    layer = Layer("out", np.zeros((4, 1, 1, 1), int), np.array([1, 5, 5, 0]), None, PIXELS, 0)
    network = IntegerNetwork("tie", (1, 1, 1), (layer,), 8)
    trace = simulate(network, np.zeros((1, 1, 1, 1), np.uint8), tau=1, T=2)
    assert trace.prediction.tolist() == [1]
    assert trace.logits.tolist() == [[2, 10, 10, 0]]


def test_large_sums_are_exact() -> None:
    """Beyond 2**24 float32 would round; the model must take float64."""
    weight = np.full((1, 1, 41, 41), 32767)
    weight[0, 0, 0, 0] = 1
    layer = Layer("out", weight, np.zeros(1, int), None, PIXELS, 0)
    network = IntegerNetwork("large", (1, 41, 41), (layer,), 16)
    trace = simulate(network, np.full((1, 1, 41, 41), 255, np.uint8), tau=0, T=1)
    assert trace.logits.tolist() == [[255 * (1680 * 32767 + 1)]]


def test_first_odd_sum_beyond_float32_is_exact() -> None:
    """2**24 + 1 is the smallest positive integer that float32 cannot represent."""
    weight = np.array([32767, 32767, 259, 1, 1]).reshape(1, 5, 1, 1)
    layer = Layer("out", weight, np.zeros(1, int), None, PIXELS, 0)
    network = IntegerNetwork("large", (5, 1, 1), (layer,), 16)
    image = np.array([255, 255, 255, 1, 1], np.uint8).reshape(1, 5, 1, 1)
    total = (1 << 24) + 1
    assert int(weight.reshape(-1) @ image.reshape(-1).astype(int)) == total
    assert float(np.float32(total)) != total
    assert simulate(network, image, tau=0, T=1).logits.tolist() == [[total]]


def test_no_image_gives_empty_trace() -> None:
    network = random_network(3)
    trace = simulate(network, np.zeros((0, *network.input_shape), np.uint8), tau=2, T=3)
    assert [layer.trains.shape for layer in trace.layers] == [
        (0, 5, *shape) for shape in network.shapes[:-1]
    ]


def test_logits_only() -> None:
    network = random_network(3)
    images = random_images(3, network, 2)
    trace = simulate(network, images, tau=2, T=3, keep_layers=False)
    assert trace.layers == ()
    assert np.array_equal(trace.logits, simulate(network, images, tau=2, T=3).logits)


def test_batches_cover_all_images_in_order() -> None:
    network = random_network(5)
    images = random_images(5, network, 7)
    logits = np.concatenate([t.logits for t in simulate_batches(network, images, tau=1, T=1)])
    assert np.array_equal(logits, simulate(network, images, tau=1, T=1).logits)


def test_firing_share_counts_neurons_not_spikes() -> None:
    image = np.array([255, 0], np.uint8).reshape(2, 1, 1, 1)
    trace = simulate(one_neuron(1, 0, 100), image, tau=2, T=2)
    assert firing_share(trace.layers[0]) == 0.5


PIXEL = np.zeros((1, 1, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "tau", "T", "message"),
    [
        (PIXEL, -1, 4, "tau must be at least 0, not -1"),
        (PIXEL, 4, 0, "T must be at least 1, not 0"),
        (PIXEL, 9999, 4, "tau must be at most 1024, not 9999"),
        (PIXEL, 2.5, 4, r"tau must be a whole number, not 2\.5"),
        (PIXEL, 4, math.nan, "T must be a whole number, not nan"),
        (PIXEL, 4, True, "T must be a whole number, not True"),
        (PIXEL, "4", 4, "tau must be a whole number, not '4'"),
        (
            np.zeros((1, 1, 1, 1)),
            4,
            4,
            "images must be whole numbers 0 .. 255 in 4 dimension",
        ),
        (torch.zeros((1, 1, 1, 1), requires_grad=True), 4, 4, "dimensions, not float32 of shape"),
        ([[[[math.nan]]]], 4, 4, "dimensions, not float64 of shape"),
        ([[[[256]]]], 4, 4, "in 4 dimensions; there is a 256"),
        ([[[[-1]]]], 4, 4, "in 4 dimensions; there is a -1"),
        ([[[[True]]]], 4, 4, "dimensions, not bool of shape"),
        ([[[[None]]]], 4, 4, "dimensions, not object of shape"),
        ([[[[1], [1, 2]]]], 4, 4, "in 4 dimensions, all lines of the same length"),
        (PIXEL[0], 4, 4, r"not uint8 of shape \(1, 1, 1\)"),
        (np.zeros((1, 1, 2, 1), np.uint8), 4, 4, r"takes images of shape \(1, 1, 1\)"),
        (None, 4, 4, r"dimensions, not object of shape \(\)"),
    ],
)
@pytest.mark.parametrize("keep_layers", [True, False])
def test_wrong_input_gets_a_sentence(
    images: Any, tau: Any, T: Any, message: str, keep_layers: bool
) -> None:
    with pytest.raises(ResiduumError, match=message):
        simulate(one_neuron(1, 0, 1), images, tau=tau, T=T, keep_layers=keep_layers)


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        torch.from_numpy,
        lambda images: images.astype(np.int64),
        lambda images: images[::-1][::-1],
    ],
)
def test_what_can_be_meant_is_accepted(convert: Callable[[np.ndarray], Any]) -> None:
    """Images as lists, tensors and other integer types; tau and T as numpy integers, whose sums may
    wrap."""
    network = random_network(5)
    images = random_images(5, network, 3)
    trace = simulate(network, convert(images), tau=np.uint8(200), T=np.uint8(100))
    assert np.array_equal(trace.logits, simulate(network, images, tau=200, T=100).logits)


def test_largest_possible_window_counts_exactly() -> None:
    layer = Layer("huge", np.full((1, 1, 1, 1), 32767), np.zeros(1, int), None, PIXELS, 0,
                  pool=(1024, 1024))  # fmt: skip
    network = IntegerNetwork("huge", (1, 1024, 1024), (layer,), 16)
    # A window covers at most 2**20 inputs; their sum is below 2**53.
    trace = simulate(network, np.full((1, 1, 1024, 1024), 255, np.uint8), tau=0, T=1)
    assert trace.logits.tolist() == [[(1 << 20) * 255 * 32767]]
