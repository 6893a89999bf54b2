"""IntegerNetwork: checks on construction, bounds, the file format."""

import itertools
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.network.bounds import Bounds, bounds, signed_bits
from residuum.sw.network.graph import MaxPool, Preprocessing, Source
from residuum.sw.network.integer_network import LARGEST_PIXEL, RADIX, IntegerNetwork, Layer
from residuum.sw.network.summary import summary
from tests.sw.naive import NaiveSource, currents
from tests.sw.networks import naive_integer, random_graph, random_images, random_network, same

SOURCE_FIELDS = {item.name for item in fields(Source)}


def source(**changes: Any) -> Source:
    """A valid source of a 3 x 3 convolution of the image, 2 channels, with changes."""
    values: dict[str, Any] = {"weight": np.ones((2, 1, 3, 3), int), "padding": (1, 1, 1, 1)}
    return Source(**(values | changes))


def layer(**changes: Any) -> Layer:
    """A valid hidden layer with changes, of the layer or of its source."""
    own = {name: changes.pop(name) for name in list(changes) if name not in SOURCE_FIELDS}
    values: dict[str, Any] = {
        "name": "conv",
        "sources": (source(**changes),),
        "bias": np.zeros(2, int),
        "threshold": np.array([4, 5]),
        "fraction_bits": 0,
    }
    return Layer(**(values | own))


def output(**changes: Any) -> Layer:
    """A valid output layer for a 2 x 4 x 4 map."""
    values: dict[str, Any] = {
        "name": "out",
        "weight": np.ones((3, 2, 4, 4), int),
        "map": 0,
        "padding": (0, 0, 0, 0),
        "bias": np.zeros(3, int),
        "threshold": None,
        "fraction_bits": 4,
    }
    return layer(**(values | changes))


def network(*layers: Layer, **changes: object) -> IntegerNetwork:
    values: dict = {"name": "net", "input_shape": (1, 4, 4), "weight_bits": 8}
    values |= {"layers": layers or (layer(), output())}
    return IntegerNetwork(**{**values, **changes})


HALVES = (source(), source())
RADIX_LAYER = {"bits": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "a layer has no name"),
        ({"fraction_bits": 17}, "needs a fraction_bits of 0 .. 16, not 17"),
        ({"fraction_bits": 1.0}, "needs a fraction_bits of 0 .. 16, not 1.0"),
        ({"shift": 17, "sources": HALVES}, "needs a shift of 0 .. 16, not 17"),
        ({"shift": 1}, "has a shift of 1 but no second source"),
        ({"bits": 0}, "needs a number of map bits of 1 .. 8, not 0"),
        ({"bits": 9}, "needs a number of map bits of 1 .. 8, not 9"),
        ({"weight": np.ones((2, 1, 3, 3))}, "needs a weight of integers with 4 dimensions"),
        ({"weight": np.full((2, 1, 3, 3), 1 << 40)}, "has a weight that does not fit into 32 bits"),
        ({"bias": np.zeros(3, int)}, "has 2 output channels but 3 values of bias"),
        ({"bias": np.zeros(2)}, "needs a bias of integers with 1 dimension"),
        ({"bias": np.full(2, 1 << 41)}, "has a bias outside -1099511627776 .. 1099511627776"),
        ({"threshold": np.array([1, 0])}, "has a threshold outside 1 .. 1099511627776"),
        ({"threshold": np.array([1])}, "has 2 output channels but 1 values of threshold"),
        ({"start": "full"}, "has the start potential 'full'; it must be 'half' or 'zero'"),
        ({"strict": 1}, "has strict 1"),
        ({"threshold": None, "bits": 4}, "is the output layer and must not have map bits or max-p"),
        ({"threshold": None, "max_pool": MaxPool((1, 1), (1, 1))}, "must not have map bits or max"),
        ({"max_pool": MaxPool((2, 2), (2, 2))},
         "has max-pooling, which does not exist in rate code; use radix code, or average pooling"),
        ({"bits": 4, "start": "zero"}, "must start at half of its threshold, not strictly"),
        ({"bits": 4, "strict": True}, "must start at half of its threshold, not strictly"),
    ],
)  # fmt: skip
def test_wrong_layer_gets_a_sentence(changes: dict, message: str) -> None:
    with pytest.raises(ResiduumError, match=message):
        layer(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(name=""), "the network has no name"),
        (lambda: network(weight_bits=1), "needs a weight_bits of 2 .. 16, not 1"),
        (lambda: network(code="burst"), "has the code 'burst'; it must be 'rate' or 'radix'"),
        (lambda: network(layer(bits=4), output(), code=RADIX, input="spikes"),
         "is in radix code, which has no spikes as input"),
        (lambda: network(layer(bits=4), output()), "layer 'conv' needs no map bits in rate code"),
        (lambda: network(code=RADIX), "layer 'conv' needs map bits in radix code"),
        (lambda: network(layer(weight=np.full((2, 1, 3, 3), 128)), output()),
         "a weight outside the 8-bit range -128 .. 127"),
        (lambda: network(layer(sources=(source(), source(weight=np.full((2, 1, 3, 3), -129)))),
                         output()),
         "a weight outside the 8-bit range -128 .. 127"),
        (lambda: network(metadata={"epochs": 3}), "has metadata that is not text"),
        (lambda: network(class_names=("a", "b")), "has 3 classes but 2 class names"),
        (lambda: network(class_names=["a", "b", "c"]), "has class names that are not text"),
        (lambda: network(class_names=("a", "b", 3)), "has class names that are not text"),
        (lambda: network(logit_scale=0.0), "has the logit scale 0.0; it must be positive"),
        (lambda: network(logit_scale=1), "has the logit scale 1; it must be positive"),
        (lambda: network(input="sound"), "network 'net' reads 'sound'"),
        (lambda: network(input_shape=(4, 4)), r"needs an input shape \(C, H, W\), not \(4, 4\)"),
    ],
)  # fmt: skip
def test_wrong_network_gets_a_sentence(make: Any, message: str) -> None:
    with pytest.raises(ResiduumError, match=message):
        make()


def wide(weight: int, *, shift: int = 0, pool: tuple[int, int] = (1, 1)) -> IntegerNetwork:
    """An output layer that sums a large picture twice."""
    sources = tuple(
        Source(np.full((1, 1, 1024 // pool[0], 1024 // pool[1]), weight), pool=pool)
        for _ in range(2)
    )
    only = Layer("out", sources, np.zeros(1, int), None, 8, shift)
    return IntegerNetwork("wide", (1, 1024, 1024), (only,), 16)


def test_currents_beyond_the_range_of_the_model_are_refused() -> None:
    """2**20 pixels of 255, weights of 64 and f = 8, twice, are below 2**48; h = 16 is beyond."""
    wide(64)
    with pytest.raises(ResiduumError, match="'out' can reach currents beyond 281474976710656"):
        wide(64, shift=16)


def test_shapes_classes_and_read_only_arrays() -> None:
    net = network()
    assert net.shapes == ((2, 4, 4), (3, 1, 1))
    assert net.classes == 3
    assert net.layers[0].source.weight.dtype == np.int32
    assert net.layers[0].bias.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        net.layers[0].source.weight[0] = 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2, 2]),
        ({"strict": True}, [1, 1]),
        ({"start": "zero"}, [0, 0]),
        ({"start": "zero", "strict": True}, [-1, -1]),
        ({"bits": 4}, [2, 2]),
        ({"threshold": None}, [0, 0]),
    ],
)
def test_start_potential(changes: dict, expected: list[int]) -> None:
    assert layer(**changes).start_potential.tolist() == expected


def test_largest_inputs_follow_the_maps() -> None:
    radix = network(
        layer(bits=3), layer(name="b", weight=np.ones((2, 2, 1, 1), int), map=0,
                             padding=(0, 0, 0, 0), bits=5),
        output(sources=(output(map=1).source, output().source)), code=RADIX,
    )  # fmt: skip
    assert [radix.largest_inputs(each) for each in radix.layers] == [(255,), (7,), (31, 7)]
    assert [radix.reads_image(each) for each in radix.layers] == [True, False, False]
    spiking = network(input="spikes")
    assert [spiking.largest_inputs(each) for each in spiking.layers] == [(1,), (1,)]
    assert not spiking.reads_image(spiking.layers[0])


def test_signed_bits_are_the_fewest_that_hold_both() -> None:
    """Exhaustive around the powers of two, against the definition of two's complement."""
    for low, high in itertools.combinations_with_replacement(range(-130, 131), 2):
        fewest = next(n for n in range(1, 10) if -(2 ** (n - 1)) <= low and high < 2 ** (n - 1))
        assert signed_bits(low, high) == fewest, (low, high)


def one_input(
    weights: list[int], bias: int, threshold: int | None, fraction: int = 0, **changes: Any
) -> Layer:
    weight = np.array(weights).reshape(1, -1, 1, 1)
    limit = None if threshold is None else np.array([threshold])
    return Layer("n", (Source(weight),), np.array([bias]), limit, fraction, **changes)


def spiking(*layers: Layer, channels: int) -> IntegerNetwork:
    """The first layers of a network that reads spikes; an output layer is added if it has none."""
    shape = (channels, 6, 6)
    if layers[-1].threshold is not None:
        sizes = layers[-1].source.output_shape(shape)
        last = Layer("sum", (Source(np.ones((1, *sizes), int), len(layers) - 1),), np.zeros(1, int),
                     None, 0)  # fmt: skip
        layers = (*layers, last)
    else:
        shape = (channels, *layers[-1].source.pool)
    return IntegerNetwork("bounds", shape, layers, 16, input="spikes")


def bounds_of(only: Layer, steps: int) -> Bounds:
    return bounds(spiking(only, channels=only.source.in_channels), only, steps)


@given(
    weights=st.lists(st.integers(-4, 4), min_size=1, max_size=3),
    bias=st.integers(-6, 6),
    threshold=st.integers(1, 9),
    steps=st.integers(1, 3),
    start=st.sampled_from(["half", "zero"]),
    strict=st.booleans(),
)
@settings(max_examples=150)
def test_bounds_hold_for_every_input(
    weights: list[int], bias: int, threshold: int, steps: int, start: str, strict: bool
) -> None:
    """Exhaustive over all spike trains: bounds of sums are tight, bounds of potentials hold."""
    limits = bounds_of(one_input(weights, bias, threshold, start=start, strict=strict), steps)
    sums = sorted({sum(w for w, s in zip(weights, bits, strict=True) if s)
                   for bits in itertools.product((0, 1), repeat=len(weights))})  # fmt: skip
    begin = (threshold // 2 if start == "half" else 0) - strict
    seen = [begin]
    for chosen in itertools.product(sums, repeat=steps):
        potential = begin
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


@given(
    weights=st.lists(st.integers(-4, 4), min_size=1, max_size=2),
    bias=st.integers(-20, 20),
    threshold=st.integers(1, 9),
    inputs=st.integers(1, 3),
    bits=st.integers(1, 4),
)
@settings(max_examples=150)
def test_bounds_in_radix_code_hold_for_every_number(
    weights: list[int], bias: int, threshold: int, inputs: int, bits: int
) -> None:
    """Exhaustive over all numbers of K = ``inputs`` bits, and over the stages of the division."""
    count = len(weights)
    first = one_input([1], 0, 1, bits=inputs)
    first = replace(first, name="first", sources=(Source(np.ones((count, 1, 1, 1), int)),),
                    bias=np.zeros(count, int), threshold=np.ones(count, int))  # fmt: skip
    second = one_input(weights, bias, threshold, bits=bits)
    second = replace(second, sources=(replace(second.source, map=0),))
    last = Layer("sum", (Source(np.ones((1, 1, 1, 1), int), 1),), np.zeros(1, int), None, 0)
    limits = bounds(IntegerNetwork("r", (1, 1, 1), (first, second, last), 8, RADIX), second, 1)
    seen, currents_seen = [threshold // 2], []
    for numbers in itertools.product(range(2**inputs), repeat=count):
        current = sum(w * q for w, q in zip(weights, numbers, strict=True)) + bias
        currents_seen.append(current)
        potential = current + threshold // 2
        for k in reversed(range(bits)):
            seen += [potential, potential - threshold * 2**k]
            if potential >= threshold * 2**k:
                potential -= threshold * 2**k
    assert limits.current_min[0] == min(currents_seen)
    assert limits.current_max[0] == max(currents_seen)
    # One bit-plane at a time is summed.
    assert limits.acc_min[0] == sum(min(w, 0) for w in weights)
    assert limits.acc_max[0] == sum(max(w, 0) for w in weights)
    assert limits.potential_min[0] <= min(seen)
    assert limits.potential_max[0] >= max(seen)
    assert limits.potential_max[0] <= max(*seen, threshold << (bits - 1))
    assert limits.potential_min[0] >= min(seen) - (threshold << (bits - 1))


@pytest.mark.parametrize(("steps", "low", "high"), [(1, -9, 19), (2, -18, 38), (5, -45, 95)])
def test_bounds_of_output_layer_are_sums(steps: int, low: int, high: int) -> None:
    limits = bounds_of(one_input([8, -6, 1], 1, None, fraction=1), steps)
    assert (limits.acc_min[0], limits.acc_max[0]) == (-6, 9)
    assert (limits.potential_min[0], limits.potential_max[0]) == (-11 * steps, high)


def test_bounds_count_pooled_and_pixel_inputs() -> None:
    """Each weight may be added once per input of the pooling window, and 255 times per pixel."""
    only = one_input([3, -2], 0, 1)
    pooled = replace(only, sources=(replace(only.source, pool=(2, 3)),))
    assert bounds_of(pooled, 1).acc_max.tolist() == [18]
    assert bounds_of(pooled, 1).acc_min.tolist() == [-12]
    pixels = replace(spiking(pooled, channels=2), input="image")
    assert bounds(pixels, pooled, 1).acc_max.tolist() == [18]
    assert bounds(pixels, pooled, 1).current_max.tolist() == [18 * LARGEST_PIXEL]


@pytest.mark.parametrize("steps", [0, 1025])
def test_bounds_need_a_possible_number_of_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps must be 1 .. 1024, not {steps}"):
        bounds(network(), layer(), steps)


def extreme(naive: NaiveSource, channel: int, largest: int, sign: int) -> list:
    """The map of one window whose inputs are all at the extreme that makes ``channel`` largest
    (``sign`` 1) or smallest."""
    kernel = len(naive.weight[0][0]), len(naive.weight[0][0][0])
    reach = [d * (k - 1) + 1 for d, k in zip(naive.dilation, kernel, strict=True)]
    first = channel // (len(naive.weight) // naive.groups) * len(naive.weight[0])
    signal = np.zeros((len(naive.weight[0]) * naive.groups, *reach), int)
    weights = np.array(naive.weight[channel])
    place = signal[first : first + len(weights), :: naive.dilation[0], :: naive.dilation[1]]
    place[...] = np.where(weights * sign > 0, largest, 0)
    return signal.repeat(naive.pool[0], axis=1).repeat(naive.pool[1], axis=2).tolist()


@given(seed=st.integers(0, 2**32), channel=st.integers(0, 5))
@settings(max_examples=100)
def test_bounds_of_currents_are_reached(seed: int, channel: int) -> None:
    """Both sources, with shift, fraction, groups and pooling, at the extremes of each input."""
    net = random_graph(seed)
    for each, naive in zip(net.layers, naive_integer(net), strict=True):
        limits = bounds(net, each, 1)
        out = channel % each.out_channels
        largest = net.largest_inputs(each)
        for read in naive.sources:
            read.padding = (0, 0, 0, 0)
        for sign, limit in ((1, limits.current_max), (-1, limits.current_min)):
            signals = [
                extreme(read, out, most, sign)
                for read, most in zip(naive.sources, largest, strict=True)
            ]
            assert currents(naive, signals)[out] == [[limit[out]]]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_bounds_hold_in_random_networks(seed: int) -> None:
    """Currents of the first layer, from the naive simulator, are within the layer's bounds."""
    net = random_network(seed)
    image = random_images(seed, net, 1)[0]
    limits = bounds(net, net.layers[0], 4)
    for channel, plane in enumerate(currents(naive_integer(net)[0], [image.tolist()])):
        values = [value for row in plane for value in row]
        assert limits.current_min[channel] <= min(values)
        assert limits.current_max[channel] >= max(values)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_saved_network_is_the_same(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    net = random_graph(seed)
    net = replace(
        net,
        class_names=tuple(f"class {c} ä" for c in range(net.classes)),
        logit_scale=0.125,
        preprocessing=Preprocessing(mean=(0.5,) * net.input_shape[0], interpolation="bicubic"),
        metadata={"command": "residuum train ä"},
    )
    path = tmp_path_factory.mktemp("net") / "net.npz"
    net.save(path)
    assert same(IntegerNetwork.load(path), net)
    before = path.read_bytes()
    IntegerNetwork.load(path).save(path)
    assert path.read_bytes() == before


def version_1(path: Path, net: IntegerNetwork) -> Path:
    """A chain of layers as version 1 of the format wrote it."""
    arrays = {}
    for index, each in enumerate(net.layers):
        arrays[f"weight_{index}"] = each.source.weight.astype(np.int8)
        arrays[f"bias_{index}"] = each.bias
        if each.threshold is not None:
            arrays[f"threshold_{index}"] = each.threshold
    layers = [
        {
            "name": each.name,
            "coding": "spikes" if index else "pixels",
            "fraction_bits": each.fraction_bits,
            "stride": each.source.stride[0],
            "padding": each.source.padding[0],
            "pool": list(each.source.pool),
        }
        for index, each in enumerate(net.layers)
    ]
    header = {
        "format": "residuum integer network",
        "version": 1,
        "name": net.name,
        "input_shape": list(net.input_shape),
        "weight_bits": net.weight_bits,
        "metadata": net.metadata,
        "layers": layers,
    }
    return save_arrays(path, header, **arrays)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_files_of_version_1_are_read(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    net = replace(random_network(seed), metadata={"levels": "4"})
    path = tmp_path_factory.mktemp("net") / "net.npz"
    assert same(IntegerNetwork.load(version_1(path, net)), net)


def test_unknown_version_is_refused(tmp_path: Path) -> None:
    header = valid_header(tmp_path / "net.npz") | {"version": 3}
    with pytest.raises(ResiduumError, match="has format version 3, but this program reads versions"
                       " 1 and 2"):  # fmt: skip
        IntegerNetwork.load(save_arrays(tmp_path / "new.npz", header))


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


def test_images_and_trains_are_not_mixed_up() -> None:
    image = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(ResiduumError, match="network 'net' reads spike trains, not images"):
        network(input="spikes").as_images(image[None])
    with pytest.raises(ResiduumError, match="network 'net' reads spike trains, not images"):
        network(input="spikes").as_image(image)
    with pytest.raises(ResiduumError, match="network 'net' reads images, not spike trains"):
        network().as_trains(image[None, None], 1)


@pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist, torch.from_numpy])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_trains_of_any_kind_are_taken(convert: Any, dtype: Any) -> None:
    trains = np.random.default_rng(0).random((2, 3, 1, 4, 4)) < 0.5
    found = network(input="spikes").as_trains(convert(trains.astype(dtype)), 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, trains)


def test_summary_names_what_matters() -> None:
    text = summary(replace(network(), metadata={"dataset": "none"}), tau=4, T=2)
    assert "net: 1x4x4 pixels, 3 classes, 8-bit weights, bounds for tau 4, T 2" in text
    assert "114 weights = 114 bytes, 7 biases and thresholds" in text
    assert "conv   image  1x1   3x3     1       1    2x4x4" in text
    assert "0..2295 (13)" in text  # 9 weights of 1, 255 each
    assert "dataset: none" in text


def test_summary_of_a_graph_has_a_line_per_source() -> None:
    first = layer(bits=4, max_pool=MaxPool((3, 3), (2, 2), (1, 1, 1, 1)))
    sources = (
        Source(np.ones((2, 1, 3, 3), int), 0, padding=(1, 1, 1, 1), groups=2),
        Source(np.ones((2, 1, 2, 1), int), padding=(0, 1, 0, 0), dilation=(1, 1), stride=(2, 2)),
    )
    second = layer(name="b", bits=4, sources=sources, shift=4)
    last = output(weight=np.ones((3, 2, 2, 2), int), map=1)
    text = summary(network(first, second, last, code=RADIX), tau=0, T=1)
    assert "bounds for radix code" in text
    assert "2x2x2 (maximum of 3x3)  32  " in text
    assert "3x3 in 2 groups" in text
    assert "image << 4" in text
