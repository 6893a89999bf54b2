"""What the engine cannot run, in one sentence for each kind of limit."""

from collections.abc import Callable

from residuum.hw.isa.descriptors import MAX_POOL_KERNEL
from residuum.sw.compiler.axes import axis_entries
from residuum.sw.compiler.exact import can_be_second
from residuum.sw.network.graph import IMAGE, INPUT
from residuum.sw.network.integer_network import RATE, IntegerNetwork, Layer


def not_runnable(network: IntegerNetwork) -> list[str]:
    """Everything in a network that no engine of any size runs; empty for one that it runs.

    One sentence for each kind of limit. It names the first layer, and counts the others.
    """
    return [
        f"{_named(chosen)} {'have' if len(chosen) > 1 else 'has'} {text}, which the engine cannot "
        "run"
        for text, holds in _LIMITS
        if (chosen := [layer for layer in network.layers if holds(network, layer)])
    ]


def _has_general_second(network: IntegerNetwork, layer: Layer) -> bool:
    if len(layer.sources) == 1:
        return False
    first, second = layer.sources
    return not can_be_second(second) and (layer.shift > 0 or not can_be_second(first))


def _adds_image(network: IntegerNetwork, layer: Layer) -> bool:
    return (
        network.code == RATE
        and network.input == IMAGE
        and len(layer.sources) > 1
        and any(source.map == INPUT for source in layer.sources)
    )


def _has_large_maximum(network: IntegerNetwork, layer: Layer) -> bool:
    return layer.max_pool is not None and max(layer.max_pool.kernel) > MAX_POOL_KERNEL


def _dilates_pool(network: IntegerNetwork, layer: Layer) -> bool:
    return any(source.pooled and source.dilation != (1, 1) for source in layer.sources)


def _misses(network: IntegerNetwork, layer: Layer) -> bool:
    """Whether a dilated window of a layer has no position inside its map."""
    shape = network.neuron_shapes[network.layers.index(layer)]
    return any(
        count < 1
        for source in layer.sources
        if source.dilation != (1, 1) and not source.pooled
        for axis in range(2)
        for _, _, count in axis_entries(
            size=(network.padded_shape if source.map == INPUT else network.shapes[source.map])[
                1 + axis
            ],
            pool=1,
            kernel=source.kernel[axis],
            stride=source.stride[axis],
            padding=source.padding[2 * axis],
            outputs=shape[1 + axis],
            dilation=source.dilation[axis],
        )
    )


_LIMITS: tuple[tuple[str, Callable[[IntegerNetwork, Layer], bool]], ...] = (
    (
        "a second source that is no 1 x 1 convolution without padding and pooling",
        _has_general_second,
    ),
    ("the image as one of two sources in rate code", _adds_image),
    (f"a max-pooling window larger than {MAX_POOL_KERNEL}", _has_large_maximum),
    ("a dilated convolution behind average pooling", _dilates_pool),
    ("a dilated window without any input position", _misses),
)


def _named(chosen: list[Layer]) -> str:
    """A subject: the first of the layers by name, and how many there are besides."""
    first = f"layer {chosen[0].name!r}"
    more = len(chosen) - 1
    return f"{first} and {more} {'other' if more == 1 else 'others'}" if more else first
