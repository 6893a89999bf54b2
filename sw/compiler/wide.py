"""Wide windows: several neighbouring output positions of a layer at a time.

A layer with fewer channels than the engine has lanes leaves lanes idle. Where its channels fill 1/P
of the lanes, P neighbouring positions fit side by side, as P times as many channels of a layer with
a wider kernel and a larger stride:

    k x k, stride s, C channels  ->  k x (k + (P - 1) s), stride P s, P C channels

The weights of position p are shifted by p s columns; all others are zero. An input neuron that
several of the positions read gives one event for all of them, so a row of 3 x 3 windows takes 6 x 3
input positions for P = 4 instead of 4 x 9. The price is weight rows. The P positions are the ones
that share a row of a packed map, so nothing else changes in the engine's memories.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from residuum.hw.isa.config import EngineConfig
from residuum.sw.compiler.maps import PackedMap, dense_weight, lanes_used, neuron_shapes, packed_map
from residuum.sw.network.graph import IMAGE, INPUT, Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer

# Assumed shares of pixels, and of neurons, that are not zero.
_PIXELS, _NEURONS = 0.6, 0.45


@dataclass(frozen=True)
class Choice:
    """Positions per window of a layer, the cycles that they save by estimate, and the maps that
    must be packed for it."""

    index: int
    positions: int
    saved: float
    packed: frozenset[int]


def choices(network: IntegerNetwork, config: EngineConfig) -> Iterator[Choice]:
    """What can be chosen for each layer of a network, and saves cycles."""
    for index, layer in enumerate(network.layers[:-1]):
        channels, _, width = neuron_shapes(network)[index]
        own = packed_map(network, index, config)
        if layer.max_pool or own is None or own.column != channels:
            continue
        used = lanes_used(channels, config)
        before = _cycles(network, index, 1, config)
        for positions in range(2, config.tile_lanes // used + 1):
            if config.tile_lanes % (positions * used) or width % positions:
                continue
            if layer.source.dilation[1] > 1 or not _second_fits(network, layer, positions, config):
                continue
            saved = before - _cycles(network, index, positions, config)
            if saved > 0:
                second = {source.map for source in layer.sources[1:]}
                yield Choice(index, positions, saved, frozenset({index, *second}))


def _cycles(network: IntegerNetwork, index: int, positions: int, config: EngineConfig) -> float:
    """An estimate of the cycles of a layer: each window takes its events, or its drain."""
    layer, (channels, height, width) = network.layers[index], neuron_shapes(network)[index]
    events = 0.0
    for source in layer.sources:
        columns = source.kernel[1] + (positions - 1) * source.stride[1]
        inputs = source.kernel[0] * columns * source.pool_area * source.in_channels
        share = _PIXELS if network.input == IMAGE and source.map == INPUT else _NEURONS
        events += share * inputs / config.event_width
    drain = len(layer.sources) * positions * lanes_used(channels, config)
    return height * width / positions * max(events, drain)


def _second_fits(
    network: IntegerNetwork, layer: Layer, positions: int, config: EngineConfig
) -> bool:
    """Whether the positions that a wide window reads of the second source are one run of slots, in
    the same place of every row."""
    for source in layer.sources[1:]:
        plan = None if source.map == INPUT else packed_map(network, source.map, config)
        if plan is None:
            return False
        step = positions * source.stride[1] * plan.column
        if step % config.lanes and config.lanes % step:
            return False
    return True


def widened(layer: Layer, positions: int, second: PackedMap | None) -> Layer:
    """The layer whose channels are those of ``positions`` neighbouring positions, one position
    after the other.

    Parameters
    ----------
    second
        The map of the second source, whose positions become channels: its window is a single
        position of the engine.
    """
    first, *others = layer.sources
    sources = [_wide(first, positions)]
    sources += [_run(source, positions, second.column) for source in others if second]
    return replace(
        layer,
        sources=tuple(sources),
        bias=np.tile(layer.bias, positions),
        threshold=None if layer.threshold is None else np.tile(layer.threshold, positions),
    )


def _wide(source: Source, positions: int) -> Source:
    """One source for several positions; each has the kernel at another column."""
    weight, stride = dense_weight(source), source.stride
    out, channels, height, width = weight.shape
    wide = np.zeros((positions, out, channels, height, width + (positions - 1) * stride[1]), int)
    for position in range(positions):
        first = position * stride[1]
        wide[position, ..., first : first + width] = weight
    return replace(
        source,
        weight=wide.reshape(positions * out, channels, height, -1).astype(np.int32),
        stride=(stride[0], positions * stride[1]),
        groups=1,
    )


def _run(source: Source, positions: int, column: int) -> Source:
    """One source for several positions, whose input positions, ``column`` slots each, are its
    channels."""
    weight, stride = dense_weight(source)[..., 0, 0], source.stride
    out, channels = weight.shape
    last = (positions - 1) * stride[1] * column
    run = np.zeros((positions, out, last + channels, 1, 1), np.int32)
    for position in range(positions):
        first = position * stride[1] * column
        run[position, :, first : first + channels, 0, 0] = weight
    return replace(
        source,
        weight=run.reshape(positions * out, -1, 1, 1),
        stride=(stride[0], positions * stride[1]),
        groups=1,
    )
