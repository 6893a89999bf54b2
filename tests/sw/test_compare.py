"""Differences are counted, and the first one is named."""

import numpy as np
import pytest

from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.corrections import CARRY
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from residuum.sw.trace.compare import compare
from residuum.sw.trace.engine_trace import EngineTrace
from tests.sw.networks import random_graph, random_images, random_network

SEED = 5
NETWORK = random_network(SEED)
IMAGES = random_images(SEED, NETWORK, 2)
GOLDEN = simulate(NETWORK, IMAGES, tau=3, T=2)


def engine_trace(**changes: tuple) -> EngineTrace:
    """The golden trace in the form of an engine's; `changes`: name -> (index, new value)."""
    arrays = {
        "logits": GOLDEN.logits.copy(),
        "prediction": GOLDEN.prediction.copy(),
        "counters": np.zeros((2, len(NETWORK.layers), 8), np.int64),
    }
    for index, layer in enumerate(GOLDEN.layers):
        arrays[f"trains_{index}"] = layer.trains.copy()
        arrays[f"silenced_{index}"] = layer.silenced.copy()
    for name, (place, value) in changes.items():
        arrays[name][place] = value
    return EngineTrace.from_arrays(arrays)


def test_equal_traces():
    found = compare(NETWORK, engine_trace(), GOLDEN)
    assert (found.mismatches, found.first) == (0, "")


@pytest.mark.parametrize(
    ("name", "place", "sentence"),
    [
        (
            "trains_0",
            (1, 4, 0, 0, 0),
            "layer 'layer1', image 1, position (0, 0), channel 0, step 4: the spike is "
            "{ours} in the engine, {theirs} in the model",
        ),
        (
            "silenced_0",
            (0, 0, 0, 0),
            "layer 'layer1', image 0, position (0, 0), channel 0: silenced is "
            "{ours} in the engine, {theirs} in the model",
        ),
        (
            "logits",
            (1, 0),
            "layer '{last}', image 1, class 0: the logit is {ours} in the engine, "
            "{theirs} in the model",
        ),
        (
            "prediction",
            (0,),
            "layer '{last}', image 0: the class is {ours} in the engine, {theirs} in the model",
        ),
    ],
)
def test_one_difference_is_named(name, place, sentence):
    right = engine_trace().to_arrays()[name][place]
    wrong = not right if right.dtype == bool else right + 7
    found = compare(NETWORK, engine_trace(**{name: (place, wrong)}), GOLDEN)
    expected = sentence.format(ours=int(wrong), theirs=int(right), last=NETWORK.layers[-1].name)
    assert (found.mismatches, found.first) == (1, expected)


def pooled_radix_network() -> IntegerNetwork:
    """One whose first layer has max-pooling, so that it has more neurons than its map positions."""
    networks = (random_graph(seed, RADIX) for seed in range(200))
    return next(
        net for net in networks if len(net.layers) > 2 and net.neuron_shapes[0] != net.shapes[0]
    )


def test_radix_maps_are_compared_behind_max_pooling():
    """K bits of each position of a map; a mask bit, which no radix map has, is a difference."""
    network = pooled_radix_network()
    golden = simulate(network, random_images(1, network, 2), tau=0, T=1)
    arrays = {"logits": golden.logits, "prediction": golden.prediction, "counters": np.zeros(1)}
    for index, layer in enumerate(golden.layers):
        arrays[f"trains_{index}"] = layer.trains.copy()
        arrays[f"silenced_{index}"] = np.zeros_like(layer.trains[:, 0])
    assert compare(network, EngineTrace.from_arrays(arrays), golden).mismatches == 0
    arrays["trains_0"][1, network.layers[0].bits - 1, 0, 0, 0] ^= True
    arrays["silenced_0"][0, 0, 0, 0] = True
    found = compare(network, EngineTrace.from_arrays(arrays), golden)
    assert found.mismatches == 2
    bit = network.layers[0].bits - 1
    assert f"image 1, position (0, 0), channel 0, bit {bit}: the spike is" in found.first


def test_traces_of_carry_have_no_masks():
    golden = simulate(NETWORK, IMAGES, tau=3, T=2, correction=CARRY)
    arrays = {"logits": golden.logits, "prediction": golden.prediction, "counters": np.zeros(1)}
    for index, layer in enumerate(golden.layers):
        arrays |= {f"trains_{index}": layer.trains, f"silenced_{index}": layer.silenced}
    trace = EngineTrace.from_arrays(arrays)
    assert compare(NETWORK, trace, golden).mismatches == 0
    assert compare(NETWORK, trace, GOLDEN).mismatches > 0


def test_the_first_layer_comes_first_and_images_are_numbered_on():
    trace = engine_trace(logits=((0, 0), 12345678), silenced_0=(slice(None), True))
    found = compare(NETWORK, trace, GOLDEN, first_image=100)
    assert found.mismatches > 1
    assert found.first.startswith("layer 'layer1', image 10")
