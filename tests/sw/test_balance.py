"""The order of channels for two streams of events: the same network, and less to wait for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from residuum.sw.convert.balance import balanced, channel_orders, in_order
from residuum.sw.data.data_sets import Digits
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import SPIKES, Source
from residuum.sw.network.library import load_network
from tests.sw.networks import random_float_graph, random_network


def images_for(network, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *network.input_shape)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_the_network_computes_the_same(seed):
    network = random_float_graph(seed, "image")
    images = images_for(network, 5)
    orders = channel_orders(network, images, levels=4)
    ordered = in_order(network, orders)
    for number, order in orders.items():
        assert sorted(order) == list(range(network.shapes[number][0]))
    x = torch.from_numpy(images.astype(np.float64) / 255)
    torch.testing.assert_close(forward(ordered, x), forward(network, x))


@pytest.mark.parametrize("seed", range(6))
def test_integers_stay_the_same_to_the_last_spike(seed):
    network = random_network(seed)
    rng = np.random.default_rng(seed)
    orders = {index: rng.permutation(shape[0]) for index, shape in enumerate(network.shapes[:-1])}
    ordered = in_order(network, orders)
    images = images_for(network, 2)
    before, after = (simulate(each, images, tau=2, T=3) for each in (network, ordered))
    assert np.array_equal(before.logits, after.logits)
    for index, order in orders.items():
        trains = before.layers[index].trains[:, :, order]
        assert np.array_equal(trains, after.layers[index].trains)


def one_reader(rates: np.ndarray, kernel: int = 1) -> tuple[FloatNetwork, np.ndarray]:
    """A network whose first map has channels that fire with these probabilities, independently: its
    images have one channel for each."""
    channels = len(rates)
    first = Source(np.eye(channels)[:, :, None, None])
    last = Source(np.ones((2, channels, 8, 8)), 0)
    network = FloatNetwork(
        "rates",
        (channels, 8, 8),
        (
            FloatLayer("map", (first,), np.zeros(channels), 1.0),
            FloatLayer("sum", (last,), np.zeros(2), None),
        ),
        None,
    )
    fires = np.random.default_rng(1).random((64, channels, 8, 8)) < rates[None, :, None, None]
    return network, (255 * fires).astype(np.uint8)


def test_frequent_channels_are_divided():
    """All even channels fire often, all odd ones hardly ever."""
    rates = np.where(np.arange(32) % 2, 0.02, 0.6)
    network, images = one_reader(rates)
    order = channel_orders(network, images, levels=1)[0]
    even, odd = rates[order[::2]].sum(), rates[order[1::2]].sum()
    assert abs(rates[::2].sum() - rates[1::2].sum()) > 9
    assert abs(even - odd) < 1e-9


def test_channels_that_fire_together_are_divided():
    """All channels fire equally often, but channel c + 8 fires where channel c does: the sums of
    even and odd channels are equal in every order, their difference in a window is not."""
    network, images = one_reader(np.full(16, 0.5))
    images[:, 8:] = images[:, :8]
    order = channel_orders(network, images, levels=1)[0]
    assert sorted(c % 8 for c in order[::2]) == list(range(8))


def test_a_channel_keeps_its_block_of_sixteen():
    network, images = one_reader(np.linspace(0, 1, 40))
    order = channel_orders(network, images, levels=1)[0]
    assert [c // 16 for c in order] == [c // 16 for c in range(40)]
    assert not np.array_equal(order, np.arange(40))


def test_grouped_convolutions_keep_the_order_around_them():
    network, images = one_reader(np.linspace(0, 1, 16))
    depthwise = Source(np.ones((16, 1, 3, 3)), 0, padding=(1, 1, 1, 1), groups=16)
    layers = (
        network.layers[0],
        FloatLayer("depthwise", (depthwise,), np.zeros(16), 9.0),
        replace(network.layers[1], sources=(replace(network.layers[1].source, map=1),)),
    )
    assert channel_orders(replace(network, layers=layers), images, levels=1) == {}


def test_an_order_is_kept():
    network, images = one_reader(np.linspace(0, 1, 16))
    once = balanced(network, images, levels=1)
    assert once.layers[0].source.weight.tolist() != network.layers[0].source.weight.tolist()
    assert balanced(once, images[:8], levels=3) is once


def test_networks_that_read_spikes_stay_as_they_are():
    network = random_float_graph(3, SPIKES)
    assert balanced(network, np.zeros((0,), np.uint8), levels=4) is network


def test_images_of_another_size_are_refused():
    network, images = one_reader(np.full(16, 0.5))
    with pytest.raises(ResiduumError, match=r"calibration needs uint8 images of shape"):
        channel_orders(network, images[:, :3], levels=1)


def test_the_committed_digits_are_in_order():
    """On images other than those that chose it, the order is better than most others."""
    network = load_network("digits")
    images, _ = Digits().test()
    trains = simulate(network, images[:100], tau=4, T=4).layers[0].trains.any(axis=1)
    counts = trains.sum(axis=(2, 3)).astype(int)

    def mean_square(counts: np.ndarray) -> float:
        return np.square(counts[:, ::2].sum(axis=1) - counts[:, 1::2].sum(axis=1)).mean()

    rng = np.random.default_rng(0)
    others = [mean_square(counts[:, rng.permutation(counts.shape[1])]) for _ in range(200)]
    assert mean_square(counts) < np.median(others)
