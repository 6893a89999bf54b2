"""The graph that float and integer networks share: shapes, the walk, and what is refused."""

import collections
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.network.graph import (
    INPUT,
    MaxPool,
    Pad,
    Preprocessing,
    Source,
    as_entry,
    check_input,
    from_entry,
    last_readers,
    readers,
    walk,
)
from residuum.sw.network.integer_network import RADIX, IntegerNetwork
from tests.sw.networks import random_graph, same
from tests.sw.test_network import layer, network, output, source


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": [1]}, "needs a weight array with 4 dimensions"),
        ({"weight": np.ones((2, 9), int)}, "needs a weight array with 4 dimensions"),
        ({"stride": 1}, "needs a stride of 2 numbers from 1 on, not 1"),
        ({"stride": (1, 0)}, r"needs a stride of 2 numbers from 1 on, not \(1, 0\)"),
        ({"stride": (1.0, 1)}, r"needs a stride of 2 numbers from 1 on, not \(1.0, 1\)"),
        ({"dilation": (0, 1)}, r"needs a dilation of 2 numbers from 1 on, not \(0, 1\)"),
        ({"pool": (2, 0)}, r"needs a pool of 2 numbers from 1 on, not \(2, 0\)"),
        ({"padding": (1, 1)}, r"needs a padding of 4 numbers from 0 on, not \(1, 1\)"),
        ({"padding": (3, 0, 0, 0)}, "every window must touch the map"),
        ({"padding": (0, 0, 0, 3)}, "every window must touch the map"),
        ({"groups": 0}, "needs a number of groups of at least 1, not 0"),
        ({"groups": 3}, "has 2 output channels in 3 groups"),
        ({"map": -2}, "reads the map -2; it must be a number from -1 on"),
        ({"weight": np.ones((0, 1, 3, 3), int)}, "every size must be at least 1"),
        ({"pool": (1 << 10, 1 << 10)}, "may cover at most 1048576 inputs"),
    ],
)
def test_wrong_source_gets_a_sentence(changes: dict, message: str) -> None:
    with pytest.raises(ResiduumError, match=f"layer 'conv' .*{message}"):
        layer(**changes)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (MaxPool((0, 1), (1, 1)), "needs a max-pooling kernel of 2 numbers from 1 on"),
        (MaxPool((2, 2), (1,)), "needs a max-pooling stride of 2 numbers from 1 on"),  # type: ignore[arg-type]
        (MaxPool((2, 2), (1, 1), (0, 0, 0, -1)), "needs a max-pooling padding of 4 numbers from 0"),
        (MaxPool((2, 2), (1, 1), (2, 0, 0, 0)), "a max-pooling padding that is not smaller than"),
        (MaxPool((1, 2), (1, 1), (0, 1, 0, 0)), "a max-pooling padding that is not smaller than"),
    ],
)
def test_wrong_max_pooling_gets_a_sentence(pool: MaxPool, message: str) -> None:
    with pytest.raises(ResiduumError, match=f"layer 'conv' .*{message}"):
        layer(bits=4, max_pool=pool)


def two(*sources: Source) -> IntegerNetwork:
    """A first layer with these sources."""
    return network(layer(sources=sources), output())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(layers=()), "network 'net' has no layer"),
        (lambda: network(layer(), output(name="conv")), "has two layers called 'conv'"),
        (lambda: network(layer(threshold=None), output()), "layer 'conv' needs a threshold"),
        (lambda: network(layer(), output(threshold=np.ones(3, int))),
         "layer 'out' is the last and must not have a threshold"),
        (lambda: network(layer(), output(map=1)), "'out' reads map 1, which is not of an earlier"),
        (lambda: network(layer(), layer(name="b"), output(map=1)),
         "no layer reads the map of layer 'conv'"),
        (lambda: network(layer(pool=(5, 5)), output()), "'conv' has a window larger than its 4 x"),
        (lambda: network(input_shape=(2, 4, 4)), "weights for 1 input channels, but its input has"),
        (lambda: network(input_shape=(1, 9, 4)), "has a map of 6 x 1; it must be 1 x 1"),
        (lambda: network(input_shape=(1, 3, 3)), "layer 'out' has a window larger than its 3 x 3"),
        (lambda: network(layer(bits=4, max_pool=MaxPool((5, 1), (1, 1))), output(), code=RADIX),
         "layer 'conv' has a max-pooling window larger than its 4 x 4 map"),
        (lambda: two(), "layer 'conv' must read one or two sources"),
        (lambda: two(source(), source(), source()), "layer 'conv' must read one or two sources"),
        (lambda: layer(sources=[source()]), "layer 'conv' must read one or two sources"),
        (lambda: two(source(), source(weight=np.ones((3, 1, 3, 3), int))),
         "layer 'conv' has sources of 2 and 3 channels"),
        (lambda: two(source(), source(stride=(2, 2))),
         r"layer 'conv' adds currents of the shapes \(2, 4, 4\) and \(2, 2, 2\)"),
    ],
)  # fmt: skip
def test_wrong_graph_gets_a_sentence(make: Any, message: str) -> None:
    with pytest.raises(ResiduumError, match=message):
        make()


SHAPE = (3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (4, 4)}, r"network 'n' needs an input shape \(C, H, W\), not \(4, 4\)"),
        ({"input_shape": (3, 0, 4)}, "needs an input shape"),
        ({"input_shape": [3, 4, 5]}, "needs an input shape"),
        ({"kind": "sound"}, "reads 'sound'; it must be 'image' or 'spikes'"),
        ({"kind": "spikes", "pad": Pad((1, 1, 1, 1), (0, 0, 0))}, "spikes, which have no border"),
        ({"pad": Pad((1, 1), (0, 0, 0))}, "needs a border of 4 numbers from 0 on"),  # type: ignore[arg-type]
        ({"pad": Pad((1, 1, 1, 1), (0,))}, r"needs a border pixel of 3 values, not \(0,\)"),
        ({"pad": Pad((1, 1, 1, 1), (0, 0, 256))}, "that is no pixel"),
        ({"pad": Pad((1, 1, 1, 1), (0, 0, "x"))}, "that is no pixel"),  # type: ignore[arg-type]
        ({"preprocessing": Preprocessing(size=(0, 5))}, "needs a size of 2 numbers from 1 on"),
        ({"preprocessing": Preprocessing(crop=(5,))}, "needs a crop of 2 numbers from 1 on"),  # type: ignore[arg-type]
        ({"preprocessing": Preprocessing(size=(8, 8))}, "prepares pictures of 8 x 8 for 4 x 5"),
        ({"preprocessing": Preprocessing(interpolation="sinc")}, "has the interpolation 'sinc'"),
        ({"preprocessing": Preprocessing(channels="CMYK")}, "has the channels 'CMYK' for 3"),
        ({"preprocessing": Preprocessing(channels="grey")}, "has the channels 'grey' for 3"),
        ({"preprocessing": Preprocessing(mean=(0.5,))}, "needs a mean of 3 values"),
        ({"preprocessing": Preprocessing(std=(1, 1, float("nan")))}, "std that is not a finite"),
        ({"preprocessing": Preprocessing(std=(1.0, 1.0, 0.0))}, "scale or std that is not positi"),
        ({"preprocessing": Preprocessing(scale=0.0)}, "scale or std that is not positive"),
    ],
)
def test_wrong_input_gets_a_sentence(changes: dict, message: str) -> None:
    values: dict[str, Any] = {
        "input_shape": SHAPE, "kind": "image", "pad": None, "preprocessing": None
    }  # fmt: skip
    with pytest.raises(ResiduumError, match=message):
        check_input("network 'n'", **(values | changes))


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing((9, 9), (4, 5), "nearest", "RGB", 1.0, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
        Preprocessing((4, 5), channels="BGR"),
    ],
)
def test_possible_input_is_accepted(preprocessing: Preprocessing) -> None:
    pad = Pad((1, 0, 0, 2), (0, 127.5, 255))
    check_input("n", input_shape=SHAPE, kind="image", pad=pad, preprocessing=preprocessing)


@pytest.mark.parametrize(
    "value",
    [
        Pad((1, 2, 3, 4), (0.5, 255.0)),
        MaxPool((3, 2), (2, 1), (0, 1, 0, 0)),
        Preprocessing((9, 8), None, "bicubic", "BGR", 1.0, (0.5, 1.0, 2.0), ()),
    ],
)
def test_entries_read_back_are_the_same(value: object) -> None:
    entry = as_entry(value) | {"a key of the future": 1}
    assert from_entry(type(value), entry) == value


def test_border_is_around_the_picture() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(1, 2, 2, 2)
    found = Pad((1, 0, 0, 2), (9.0, 8.0)).apply(images)
    assert found.dtype == np.uint8
    assert found.tolist() == [
        [
            [[9, 9, 9, 9], [0, 1, 9, 9], [2, 3, 9, 9]],
            [[8, 8, 8, 8], [4, 5, 8, 8], [6, 7, 8, 8]],
        ]
    ]


@dataclass
class Alive:
    """A map that counts how many of its kind exist."""

    name: str
    count: collections.Counter

    def __post_init__(self) -> None:
        self.count[self.name] += 1

    def __del__(self) -> None:
        self.count[self.name] -= 1


def test_walk_frees_every_map_after_its_last_reader() -> None:
    """Input -> a -> b -> c, where c reads a and b, d reads c."""

    @dataclass
    class Node:
        name: str
        sources: tuple[Source, ...]
        max_pool: None = None

    def reads(*maps: int) -> tuple[Source, ...]:
        return tuple(Source(np.ones((1, 1, 1, 1)), map) for map in maps)

    nodes = [
        Node("a", reads(INPUT)), Node("b", reads(0)), Node("c", reads(1, 0)), Node("d", reads(2))
    ]  # fmt: skip
    alive: collections.Counter = collections.Counter()
    seen = []

    def step(index: int, node: Node, inputs: list[Alive]) -> Alive:
        named = "+".join(signal.name for signal in inputs)
        inputs.clear()
        # The caller holds the input.
        seen.append((node.name, named, "".join(sorted(set(+alive) - {"i"}))))
        return Alive(node.name, alive)

    assert walk(nodes, Alive("i", alive), step).name == "d"
    # The maps that are still alive once a layer has let go of its inputs.
    assert seen == [("a", "i", ""), ("b", "a", "a"), ("c", "b+a", ""), ("d", "c", "")]
    assert last_readers(nodes) == {INPUT: 0, 0: 2, 1: 2, 2: 3}
    assert readers(nodes, 0) == [1, 2]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_walk_visits_every_layer_with_the_maps_it_names(seed: int) -> None:
    net = random_graph(seed)
    visited = []

    def step(index: int, each: object, inputs: list[int]) -> int:
        visited.append((index, inputs))
        return index

    assert net.walk(INPUT, step) == len(net.layers) - 1
    assert visited == [
        (index, [read.map for read in each.sources]) for index, each in enumerate(net.layers)
    ]


def test_same_tells_a_changed_weight() -> None:
    """The comparison that the tests of files rely on."""
    net = random_graph(3)
    first = net.layers[0]
    weight = first.source.weight.copy()
    weight.flat[0] ^= 1
    changed = replace(first, sources=(replace(first.source, weight=weight), *first.sources[1:]))
    assert same(net, replace(net))
    assert not same(net, replace(net, layers=(changed, *net.layers[1:])))
