"""IntegerNetwork: checks on construction, bounds, the file format."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.network.integer_network import (
    LARGEST_PIXEL,
    PIXELS,
    SPIKES,
    IntegerNetwork,
    Layer,
    bounds,
    signed_bits,
)
from tests.sw.naive import currents
from tests.sw.networks import naive_integer, random_images, random_network


def layer(**changes: object) -> Layer:
    """A valid hidden layer, 2 channels, 3x3 kernel, with changes."""
    values: dict = {
        "name": "conv",
        "weight": np.ones((2, 1, 3, 3), int),
        "bias": np.zeros(2, int),
        "threshold": np.array([4, 5]),
        "coding": PIXELS,
        "fraction_bits": 0,
        "padding": 1,
    }
    return Layer(**{**values, **changes})


def output(**changes: object) -> Layer:
    """A valid output layer for a 2 x 4 x 4 map."""
    values: dict = {
        "name": "out",
        "weight": np.ones((3, 2, 4, 4), int),
        "bias": np.zeros(3, int),
        "threshold": None,
        "coding": SPIKES,
        "fraction_bits": 4,
    }
    return Layer(**{**values, **changes})


def network(*layers: Layer, **changes: object) -> IntegerNetwork:
    values: dict = {"name": "net", "input_shape": (1, 4, 4), "weight_bits": 8}
    values |= {"layers": layers or (layer(), output())}
    return IntegerNetwork(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "a layer has no name"),
        ({"coding": "rate"}, "has the coding 'rate'; it must be 'pixels' or 'spikes'"),
        ({"fraction_bits": 17}, "needs a fraction_bits of 0 .. 16, not 17"),
        ({"stride": 0}, "needs a stride of 1 .. 65536, not 0"),
        ({"stride": 1.0}, "needs a stride of 1 .. 65536, not 1.0"),
        ({"padding": 3}, "needs a padding of 0 .. 2, not 3"),
        ({"pool": (2, 0)}, "needs a pool of 1 .. 65536, not 0"),
        ({"pool": 2}, r"needs a pool of two sizes \(h, w\), not 2"),
        ({"weight": np.ones((2, 9), int)}, "needs a weight of integers with 4 dimensions"),
        ({"weight": np.ones((2, 1, 3, 3))}, "needs a weight of integers with 4 dimensions"),
        ({"weight": np.ones((0, 1, 3, 3), int)}, "every size must be at least 1"),
        ({"weight": np.full((2, 1, 3, 3), 1 << 40)}, "has a weight that does not fit into 32 bits"),
        ({"bias": np.zeros(3, int)}, "has 2 output channels but 3 values of bias"),
        ({"bias": np.zeros(2)}, "needs a bias of integers with 1 dimension"),
        ({"bias": np.full(2, 1 << 41)}, "has a bias outside -1099511627776 .. 1099511627776"),
        ({"threshold": np.array([1, 0])}, "has a threshold outside 1 .. 1099511627776"),
        (
            {"weight": np.full((2, 1, 512, 512), 32767), "fraction_bits": 8, "pool": (2, 2)},
            "can reach currents beyond 281474976710656",
        ),
        ({"threshold": np.array([1])}, "has 2 output channels but 1 values of threshold"),
    ],
)
def test_wrong_layer_gets_a_sentence(changes: dict, message: str) -> None:
    with pytest.raises(ResiduumError, match=message):
        layer(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(name=""), "the network has no name"),
        (lambda: network(layers=()), "network 'net' has no layer"),
        (lambda: network(input_shape=(4, 4)), r"needs an input shape \(C, H, W\), not \(4, 4\)"),
        (lambda: network(input_shape=(1, 0, 4)), "needs a input_shape of 1 .. 65536, not 0"),
        (lambda: network(input_shape=(2, 4, 4)), "weights for 1 input channels, but its input has"),
        (lambda: network(input_shape=(1, 9, 4)), "has a map of 6 x 1; it must be 1 x 1"),
        (lambda: network(input_shape=(1, 3, 3)), "layer 'out' has a window larger than its 3 x 3"),
        (lambda: network(weight_bits=1), "needs a weight_bits of 2 .. 16, not 1"),
        (lambda: network(layer(weight=np.full((2, 1, 3, 3), 128)), output()),
         "a weight outside the 8-bit range -128 .. 127"),
        (lambda: network(layer(coding=SPIKES), output()), "needs the coding 'pixels'"),
        (lambda: network(layer(), output(coding=PIXELS)), "needs the coding 'spikes'"),
        (lambda: network(layer(threshold=None), output()), "layer 'conv' needs a threshold"),
        (lambda: network(layer(), output(threshold=np.ones(3, int))),
         "layer 'out' is the last and must not have a threshold"),
        (lambda: network(metadata={"epochs": 3}), "has metadata that is not text"),
        (lambda: network(layer(pool=(5, 5)), output()), "layer 'conv' has a window larger than"),
    ],
)  # fmt: skip
def test_wrong_network_gets_a_sentence(make: object, message: str) -> None:
    with pytest.raises(ResiduumError, match=message):
        make()  # type: ignore[operator]


def test_shapes_classes_and_read_only_arrays() -> None:
    net = network()
    assert net.shapes == ((2, 4, 4), (3, 1, 1))
    assert net.classes == 3
    assert net.layers[0].weight.dtype == np.int32
    assert net.layers[0].bias.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        net.layers[0].weight[0] = 0


def test_start_potential_is_half_the_threshold_rounded_down() -> None:
    assert layer().start_potential.tolist() == [2, 2]
    assert output().start_potential.tolist() == [0, 0, 0]


def test_signed_bits_are_the_fewest_that_hold_both() -> None:
    """Exhaustive around the powers of two, against the definition of two's complement."""
    for low, high in itertools.combinations_with_replacement(range(-130, 131), 2):
        fewest = next(n for n in range(1, 10) if -(2 ** (n - 1)) <= low and high < 2 ** (n - 1))
        assert signed_bits(low, high) == fewest, (low, high)


def one_input(weights: list[int], bias: int, threshold: int | None, fraction: int = 0) -> Layer:
    weight = np.array(weights).reshape(1, -1, 1, 1)
    limit = None if threshold is None else np.array([threshold])
    return Layer("n", weight, np.array([bias]), limit, SPIKES, fraction)


@given(
    weights=st.lists(st.integers(-4, 4), min_size=1, max_size=3),
    bias=st.integers(-6, 6),
    threshold=st.integers(1, 9),
    steps=st.integers(1, 3),
)
@settings(max_examples=150)
def test_bounds_hold_for_every_input(
    weights: list[int], bias: int, threshold: int, steps: int
) -> None:
    """Exhaustive over all spike trains: bounds of sums are tight, bounds of potentials hold."""
    limits = bounds(one_input(weights, bias, threshold), steps)
    sums = sorted({sum(w for w, s in zip(weights, bits, strict=True) if s)
                   for bits in itertools.product((0, 1), repeat=len(weights))})  # fmt: skip
    seen = [threshold // 2]
    for chosen in itertools.product(sums, repeat=steps):
        potential = threshold // 2
        for total in chosen:
            potential += total + bias
            seen += [potential, potential - threshold]
            potential -= threshold * (potential >= threshold)
    assert (limits.acc_min[0], limits.acc_max[0]) == (min(sums[0], 0), max(sums[-1], 0))
    assert limits.current_min[0] <= sums[0] + bias
    assert limits.current_max[0] >= sums[-1] + bias
    assert limits.potential_min[0] <= min(seen)
    assert limits.potential_max[0] >= max(seen)
    # The bounds are not much wider: an interval may combine values that never occur together.
    assert limits.potential_max[0] <= max(seen) + steps * threshold
    assert limits.potential_min[0] >= min(seen) - steps * threshold


@pytest.mark.parametrize(("steps", "low", "high"), [(1, -9, 19), (2, -18, 38), (5, -45, 95)])
def test_bounds_of_output_layer_are_sums(steps: int, low: int, high: int) -> None:
    limits = bounds(one_input([8, -6, 1], 1, None, fraction=1), steps)
    assert (limits.acc_min[0], limits.acc_max[0]) == (-6, 9)
    assert (limits.potential_min[0], limits.potential_max[0]) == (-11 * steps, high)


def test_bounds_count_pooled_and_pixel_inputs() -> None:
    """Each weight may be added once per input of the pooling window, and 255 times per pixel."""
    pooled = replace(one_input([3, -2], 0, 1), pool=(2, 3))
    assert bounds(pooled, 1).acc_max.tolist() == [18]
    assert bounds(pooled, 1).acc_min.tolist() == [-12]
    pixels = replace(pooled, coding=PIXELS)
    assert bounds(pixels, 1).acc_max.tolist() == [18]
    assert bounds(pixels, 1).current_max.tolist() == [18 * LARGEST_PIXEL]


@pytest.mark.parametrize("steps", [0, 1025])
def test_bounds_need_a_possible_number_of_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps must be 1 .. 1024, not {steps}"):
        bounds(layer(), steps)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_bounds_hold_in_random_networks(seed: int) -> None:
    """Currents of the first layer, from the naive simulator, are within the layer's bounds."""
    net = random_network(seed)
    image = random_images(seed, net, 1)[0]
    limits = bounds(net.layers[0], 4)
    for channel, plane in enumerate(currents(naive_integer(net)[0], image.tolist())):
        values = [value for row in plane for value in row]
        assert limits.current_min[channel] <= min(values)
        assert limits.current_max[channel] >= max(values)


def equal(first: IntegerNetwork, second: IntegerNetwork) -> bool:
    """Whether all fields and values are equal."""
    if [first.name, first.input_shape, first.weight_bits, first.metadata, len(first.layers)] != [
        second.name, second.input_shape, second.weight_bits, second.metadata, len(second.layers)
    ]:  # fmt: skip
        return False
    return all(
        [a.name, a.coding, a.fraction_bits, a.stride, a.padding, a.pool]
        == [b.name, b.coding, b.fraction_bits, b.stride, b.padding, b.pool]
        and np.array_equal(a.weight, b.weight)
        and np.array_equal(a.bias, b.bias)
        and (a.threshold is None) == (b.threshold is None)
        and (a.threshold is None or np.array_equal(a.threshold, b.threshold))
        for a, b in zip(first.layers, second.layers, strict=True)
    )


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_saved_network_is_the_same(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    net = replace(random_network(seed), metadata={"command": "residuum train ä"})
    path = tmp_path_factory.mktemp("net") / "net.npz"
    net.save(path)
    assert equal(IntegerNetwork.load(path), net)


def save_arrays(path: Path, header: object, **arrays: np.ndarray) -> Path:
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    return path


def valid_header(path: Path) -> dict:
    network().save(path)
    with np.load(path) as archive:
        return json.loads(str(archive["header"]))


@pytest.mark.parametrize("field", ["name", "input_shape", "weight_bits", "metadata", "layers"])
def test_missing_parts_are_reported(tmp_path: Path, field: str) -> None:
    header = valid_header(tmp_path / "net.npz")
    del header[field]
    with pytest.raises(ResiduumError, match="is damaged: parts of the network are missing"):
        IntegerNetwork.load(save_arrays(tmp_path / "part.npz", header))


def test_missing_weights_are_reported(tmp_path: Path) -> None:
    header = valid_header(tmp_path / "net.npz")
    with pytest.raises(ResiduumError, match="is damaged: parts of the network are missing"):
        IntegerNetwork.load(save_arrays(tmp_path / "part.npz", header))


def test_impossible_network_in_a_file_says_why(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    header = valid_header(path) | {"weight_bits": 99}
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "header"}
    with pytest.raises(ResiduumError, match=r"holds a network that cannot be: .*weight_bits"):
        IntegerNetwork.load(save_arrays(path, header, **arrays))


def test_summary_names_what_matters() -> None:
    text = replace(network(), metadata={"dataset": "none"}).summary(tau=4, T=2)
    assert "net: 1x4x4 pixels, 3 classes, 8-bit weights, bounds for tau 4, T 2" in text
    assert "114 weights = 114 bytes, 7 biases and thresholds" in text
    assert "conv   pixels  1x1   3x3     1       1    2x4x4" in text
    assert "0..2295 (13)" in text  # 9 weights of 1, 255 each
    assert "dataset: none" in text
