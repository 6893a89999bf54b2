"""The order of the channels in which both streams of events have about the same to do.

An engine with two events per cycle takes one from the even and one from the odd channels, and waits
at the end of every window for the stream that has more. Which channels are even is free: this picks
the order with the smallest mean square difference on images.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from residuum.sw.convert.currents import check_images, float_current
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import convolve, max_pooled, rounded_to
from residuum.sw.network.graph import IMAGE, INPUT, Source
from residuum.sw.network.integer_network import LARGEST_PIXEL, IntegerNetwork
from residuum.sw.threads import no_spinning_threads

# A channel keeps its block, so that channels without a weight in common stay in different rows of
# an engine with any multiple of so many lanes.
_BLOCK = 16
# Images that are looked at.
_IMAGES = 64

# Metadata of a network whose channels are in order.
ORDER = "channel order"

Orders = Mapping[int, np.ndarray]
Network = TypeVar("Network", FloatNetwork, IntegerNetwork)


def channel_orders(network: FloatNetwork, images: np.ndarray, *, levels: int) -> Orders:
    """For each map that may have another order, the present channel at each new place, int (C,).

    Maps that a grouped convolution reads or writes keep their order.

    Parameters
    ----------
    network
        With a finite threshold in every hidden layer.
    images
        uint8 (N, C, H, W); the first `_IMAGES` of them count.
    levels
        Levels of an activation above zero: 2**K - 1 in radix code, T in rate code. A neuron gives
        an event if it does not round to zero.

    Raises
    ------
    ResiduumError
        If the images do not fit the network.
    """
    check_images(network, images)
    activation = rounded_to(levels)
    moments: dict[int, np.ndarray] = {}
    fixed = {
        number
        for index, layer in enumerate(network.layers)
        for source in layer.sources
        if source.groups > 1
        for number in (index, source.map)
    }

    def step(index: int, layer: FloatLayer, inputs: list[Tensor]) -> Tensor:
        for source, x in zip(layer.sources, inputs, strict=True):
            if source.map != INPUT and source.map not in fixed:
                found = _moments(source, (x > 0).float())
                earlier = moments.get(source.map)
                moments[source.map] = found if earlier is None else earlier + found
        current = float_current(layer, inputs)
        if layer.threshold is None:
            return current
        return max_pooled(layer.max_pool, activation(index, layer, current))

    pixels = images[:_IMAGES].astype(np.float32) / LARGEST_PIXEL
    with no_spinning_threads(), torch.no_grad():
        network.walk(torch.from_numpy(network.with_border(pixels)), step)
    return {number: _order(_sides(found)) for number, found in moments.items()}


def in_order(network: Network, orders: Orders) -> Network:
    """The network with its channels in these orders; it computes the same."""
    layers = []
    for index, layer in enumerate(network.layers):
        out = orders.get(index)
        sources = []
        for source in layer.sources:
            weight = source.weight if out is None else source.weight[out]
            if source.map in orders:
                weight = weight[:, orders[source.map]]
            sources.append(replace(source, weight=np.ascontiguousarray(weight)))
        changed: dict[str, Any] = {"sources": tuple(sources)}
        if out is not None:
            changed["bias"] = layer.bias[out]
            if isinstance(layer.threshold, np.ndarray):
                changed["threshold"] = layer.threshold[out]
        layers.append(replace(layer, **changed))
    return replace(network, layers=tuple(layers))


def balanced(network: FloatNetwork, images: np.ndarray, *, levels: int) -> FloatNetwork:
    """The network in its `channel_orders`; one that is in such an order already, or that reads
    spike trains, as it is."""
    if network.input != IMAGE or ORDER in network.metadata:
        return network
    ordered = in_order(network, channel_orders(network, images, levels=levels))
    return replace(ordered, metadata={**network.metadata, ORDER: "balanced"})


def _moments(source: Source, events: Tensor) -> np.ndarray:
    """Second moments (C, C), over all windows of a source, of the events from each channel."""
    channels = events.shape[1]
    ones = np.ones((channels, 1, *source.kernel), np.float32)
    single = replace(source, weight=ones, groups=channels)
    counts = convolve(single, events, torch.from_numpy(ones), pooling="sum")
    by_channel = counts.transpose(0, 1).flatten(1).double()
    return (by_channel @ by_channel.T).numpy()


def _sides(moments: np.ndarray) -> np.ndarray:
    """1 for even channels, -1 for odd ones: a local minimum of sides @ moments @ sides, the mean
    square of the difference, under exchanges within a block."""
    channels = len(moments)
    sides = np.where(np.arange(channels) % 2, -1.0, 1.0)
    slope = moments @ sides
    diagonal = np.diag(moments)
    exchanged = True
    while exchanged:
        exchanged = False
        for low in range(0, channels, _BLOCK):
            block = np.arange(low, min(low + _BLOCK, channels))
            even, odd = block[sides[block] > 0], block[sides[block] < 0]
            if not len(odd):
                continue
            # What the exchange of an even and an odd channel changes, less a factor of 4.
            change = (diagonal - slope)[even][:, None] + (diagonal + slope)[odd][None, :]
            change -= 2 * moments[np.ix_(even, odd)]
            best = np.unravel_index(change.argmin(), change.shape)
            if change[best] < -1e-9 * diagonal.sum():
                one, other = even[best[0]], odd[best[1]]
                sides[[one, other]] = -1.0, 1.0
                slope += 2 * (moments[:, other] - moments[:, one])
                exchanged = True
    return sides


def _order(sides: np.ndarray) -> np.ndarray:
    """Even places for the even channels of each block, odd ones for the others."""
    order = np.arange(len(sides))
    for low in range(0, len(sides), _BLOCK):
        block = order[low : low + _BLOCK].copy()
        order[low : low + _BLOCK : 2] = block[sides[block] > 0]
        order[low + 1 : low + _BLOCK : 2] = block[sides[block] < 0]
    return order
