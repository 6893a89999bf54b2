"""The float SNN with SRP: hand-computed cases, a scalar simulator, and the QCFS network."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.float_snn import simulate_float
from residuum.sw.network.corrections import CARRY, MASK, OFFSET
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import INPUT, SPIKES, ZERO, MaxPool, Pad, Source
from tests.sw.naive import run
from tests.sw.networks import (
    naive_float,
    random_float_graph,
    random_float_network,
    random_trains,
)


def pointwise(weight: list[list[float]], map: int = INPUT) -> tuple[Source]:
    """Weights (out, in) as a 1 x 1 convolution of a map."""
    return (Source(np.array(weight, np.float64)[:, :, None, None], map),)


def late_inhibition() -> FloatNetwork:
    """Two input neurons that fire in turn; the second inhibits c, but only after c has fired.

    theta is 1 everywhere, v(0) = 1/2. Neuron a gets 0.625 per step, neuron b 0.375.

        step            1       2       3       4
        a: v+I       1.125   0.75    1.375   1.0        spikes 1, 3, 4
        a: v         0.125   0.75    0.375   0.0
        b: v+I       0.875   1.25    0.625   1.0        spikes 2, 4
        b: v         0.875   0.25    0.625   0.0
        c = a - 2b    1      -2       1      -1
        c: v+I       1.5    -1.5    -0.5    -1.5        spike 1
        c: v         0.5    -1.5    -0.5    -1.5

    The mean input of c is -1/4, so c should not fire, but it fires once: v(4) = -1.5 shows it.
    """
    return FloatNetwork(
        "late",
        (2, 1, 1),
        (
            FloatLayer("ab", pointwise([[1, 0], [0, 1]]), np.zeros(2), 1.0),
            FloatLayer("c", pointwise([[1, -2]], 0), np.zeros(1), 1.0),
            FloatLayer("out", pointwise([[1], [0]], 1), np.array([0.0, 0.25]), None),
        ),
        levels=4,
    )


IMAGE = np.array([0.625, 0.375]).reshape(1, 2, 1, 1)


def test_hand_computed_without_probe() -> None:
    trace = simulate_float(late_inhibition(), IMAGE, tau=0, T=4)
    assert trace.layers[0].trains[0, :, 0, 0, 0].tolist() == [True, False, True, True]
    assert trace.layers[0].trains[0, :, 1, 0, 0].tolist() == [False, True, False, True]
    assert trace.layers[1].trains[0].flatten().tolist() == [True, False, False, False]
    assert trace.logits.tolist() == [[1.0, 1.0]]


def test_hand_computed_with_probe() -> None:
    """The probe passes unmasked; in the inference c is silenced, a and b fire as before."""
    trace = simulate_float(late_inhibition(), IMAGE, tau=4, T=4)
    ab, c = trace.layers
    assert ab.residual.flatten().tolist() == [0.0, 0.0]
    assert not ab.silenced.any()
    assert np.array_equal(ab.trains[:, :4], ab.trains[:, 4:])
    assert c.residual.flatten().tolist() == [-1.5]
    assert c.trains[0].flatten().tolist() == [True] + [False] * 7
    assert trace.logits.tolist() == [[0.0, 1.0]]
    assert trace.prediction.tolist() == [1]


@pytest.mark.parametrize(
    ("correction", "after_probe"),
    [
        (MASK, [[0, 0, 0, 0], [0, 0, 0, 0]]),
        (CARRY, [[0, 0, 1, 1], [1, 1, 0, 0]]),
        (OFFSET, [[0, 1, 1, 1], [1, 0, 0, 0]]),
    ],
)
def test_hand_computed_corrections(correction: str, after_probe: list[list[int]]) -> None:
    """theta = 1, v(0) = 1/2, four steps of probe. Neuron a has fired too often, b too rarely.

    a: I                     1, -1, -1, 0, then 1, 1, 1, 1
    a: v in the probe      0.5, -0.5, -1.5, -1.5              one spike
    a: v + I with carry        -0.5, 0.5, 1.5, 1.5            from -1.5
    a: v + I with offset        0.5, 1.5, 1.5, 1.5            from 0.5 - 1
    b: I                     0, 0, 2, 2, then 0, 0, 0, 0
    b: v in the probe      0.5, 0.5, 1.5, 2.5                 two spikes
    b: v + I with carry         2.5, 1.5, 0.5, 0.5            from 2.5
    b: v + I with offset        1.5, 0.5, 0.5, 0.5            from 0.5 + 1
    """
    layers = (
        FloatLayer("ab", pointwise([[1, -1, 0], [0, 0, 2]]), np.zeros(2), 1.0),
        FloatLayer("out", pointwise([[1, 0], [0, 1]], 0), np.zeros(2), None),
    )
    network = FloatNetwork("ab", (3, 1, 1), layers, 4, input=SPIKES)
    spikes = [[1, 0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]]
    trains = np.array(spikes, np.float64).T[None, :, :, None, None]
    trace = simulate_float(network, trains, tau=4, T=4, correction=correction)
    (ab,) = trace.layers
    assert ab.residual.flatten().tolist() == [-1.5, 2.5]
    assert ab.trains[0, :4, :, 0, 0].astype(int).T.tolist() == [[1, 0, 0, 0], [0, 0, 1, 1]]
    assert ab.trains[0, 4:, :, 0, 0].astype(int).T.tolist() == after_probe
    assert ab.silenced.flatten().tolist() == [correction == MASK, False]
    assert trace.logits.tolist() == [[float(sum(train)) for train in after_probe]]


@pytest.mark.parametrize("make", [random_float_network, random_float_graph])
@given(
    seed=st.integers(0, 2**32),
    tau=st.integers(0, 5),
    T=st.integers(1, 5),
    correction=st.sampled_from([MASK, CARRY, OFFSET]),
)
@settings(max_examples=60)
def test_equals_naive_two_stages(
    make: Callable[[int], FloatNetwork], seed: int, tau: int, T: int, correction: str
) -> None:
    """All numbers are multiples of small powers of 1/2, so both simulators are exact."""
    network = make(seed)
    if any(layer.strict for layer in network.layers):
        correction = CARRY
    images = np.random.default_rng(seed + 1).integers(0, 17, (1, *network.input_shape)) / 16
    if network.input == SPIKES:
        images = random_trains(seed, network, 1, tau + T).astype(np.float64)
    trace = simulate_float(network, images, tau=tau, T=T, correction=correction)
    how = {"correction": correction, "spikes": network.input == SPIKES}
    hidden, logits = run(naive_float(network), images[0].tolist(), tau, T, **how)
    for layer, (trains, residual, silenced) in zip(trace.layers, hidden, strict=True):
        assert layer.trains[0].tolist() == trains
        assert layer.residual[0].tolist() == residual
        assert layer.silenced[0].tolist() == silenced
        assert layer.values[0].tolist() == np.sum(trains[tau:], axis=0).tolist()
    assert trace.logits[0].tolist() == logits


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_first_layer_fires_as_qcfs_says(levels: int) -> None:
    """T = L, constant input: the mean output of the neuron is the QCFS activation."""
    import torch

    from residuum.sw.train.qcfs import qcfs

    theta = 1.5
    z = np.linspace(-1, 3, 161) + 1e-4  # between the steps of the staircase
    network = FloatNetwork(
        "stairs",
        (1, 1, len(z)),
        (
            FloatLayer("neurons", pointwise([[1]]), np.zeros(1), theta),
            FloatLayer("out", (Source(np.ones((1, 1, 1, len(z))), 0),), np.zeros(1), None),
        ),
        levels,
    )
    trace = simulate_float(network, z.reshape(1, 1, 1, -1), tau=0, T=levels)
    mean = trace.layers[0].trains[0].mean(axis=0).flatten() * theta
    assert mean == pytest.approx(qcfs(torch.from_numpy(z), theta, levels).numpy())


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.full((1, 1, 1, 1), np.nan), "images must be finite numbers of shape .N, 1, 1, 1.; the"),
        (np.zeros((1, 2, 1, 1)), "not of shape .1, 2, 1, 1."),
        ([["x"]], "images must be finite numbers of shape .N, 1, 1, 1."),
    ],
)
def test_wrong_images_get_a_sentence(images: object, sentence: str) -> None:
    with pytest.raises(ResiduumError, match=sentence):
        simulate_float(only_output(), images, tau=1, T=1)  # type: ignore[arg-type]


def only_output(**changes: Any) -> FloatNetwork:
    out = FloatLayer("out", pointwise([[1]]), np.zeros(1), None)
    return FloatNetwork("one", (1, 1, 1), (out,), 4, **changes)


@pytest.mark.parametrize(
    ("trains", "sentence"),
    [
        (np.zeros((1, 1, 1, 1)), "spike trains must be 0 and 1 of shape .N, 2, 1, 1, 1., not of"),
        (np.full((1, 2, 1, 1, 1), 0.5), "spike trains must be 0 and 1 of shape .*another number"),
    ],
)
def test_wrong_trains_get_a_sentence(trains: np.ndarray, sentence: str) -> None:
    with pytest.raises(ResiduumError, match=sentence):
        simulate_float(only_output(input=SPIKES), trains, tau=1, T=1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"threshold": math.inf}, "layer 'c' has a plain ReLU, whose threshold is not known"),
        ({"max_pool": MaxPool((1, 1), (1, 1))}, "layer 'c' has max-pooling, which does not exist"),
        ({"strict": True}, "layer 'c' fires strictly above its threshold"),
    ],
)
def test_what_no_neuron_computes_gets_a_sentence(changes: dict, sentence: str) -> None:
    ab, c, out = late_inhibition().layers
    network = replace(late_inhibition(), layers=(ab, replace(c, **changes), out))
    with pytest.raises(ResiduumError, match=sentence):
        simulate_float(network, IMAGE, tau=1, T=1)


@pytest.mark.parametrize(
    ("changes", "train"),
    [
        ({}, [True, False, True]),
        ({"start": ZERO}, [False, True, False]),
        ({"strict": True}, [False, True, False]),
    ],
)
def test_start_and_strictness(changes: dict, train: list[bool]) -> None:
    """theta = 1, I = 1/2: v + I is 1, 1/2, 1 from 1/2; 1/2, 1, 1/2 from 0; 1, 3/2, 1 if strict."""
    layers = (
        FloatLayer("n", pointwise([[1]]), np.zeros(1), 1.0, **changes),
        FloatLayer("out", pointwise([[1]], 0), np.zeros(1), None),
    )
    network = FloatNetwork("one", (1, 1, 1), layers, 4)
    trace = simulate_float(network, np.full((1, 1, 1, 1), 0.5), tau=0, T=3)
    assert trace.layers[0].trains.flatten().tolist() == train


def test_border_enters_as_pixels() -> None:
    """Sum of a picture 1/2 with a border of 1/4 on one side, twice."""
    out = FloatLayer("out", (Source(np.ones((1, 1, 1, 2))),), np.zeros(1), None)
    network = FloatNetwork("b", (1, 1, 1), (out,), 4, pad=Pad((0, 0, 0, 1), (0.25,)))
    trace = simulate_float(network, np.full((1, 1, 1, 1), 0.5), tau=0, T=2)
    assert trace.logits.tolist() == [[1.5]]
