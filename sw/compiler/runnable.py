"""What the engine cannot run yet, in one sentence for each kind of limit."""

from collections.abc import Callable, Iterator

from residuum.sw.compiler.axes import axis_entries
from residuum.sw.network.graph import HALF, IMAGE, INPUT, Shape, readers
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer


def not_runnable(network: IntegerNetwork) -> list[str]:
    """Everything in a network that no engine of any size runs yet; empty for one that it runs.

    One sentence for each kind of limit. It names the first layer, and counts the others.
    """
    found = [
        *_reading(network),
        *(
            f"{_named(chosen)} {'have' if len(chosen) > 1 else 'has'} {text}"
            for text, holds in _LAYER_LIMITS
            if (chosen := [layer for layer in network.layers if holds(layer)])
        ),
    ]
    return [f"{sentence}, which the engine cannot run yet" for sentence in found]


_LAYER_LIMITS: tuple[tuple[str, Callable[[Layer], bool]], ...] = (
    ("two sources", lambda layer: len(layer.sources) > 1),
    ("max-pooling", lambda layer: layer.max_pool is not None),
    (
        "a dilated convolution behind average pooling",
        lambda layer: any(s.pooled and s.dilation != (1, 1) for s in layer.sources),
    ),
    (
        "neurons that start at zero",
        lambda layer: layer.threshold is not None and layer.start != HALF,
    ),
    ("neurons that fire strictly above their threshold", lambda layer: layer.strict),
)


def _reading(network: IntegerNetwork) -> Iterator[str]:
    """Limits of the input, of the code, and of who reads which map."""
    layers = network.layers
    if network.input != IMAGE:
        yield f"layer {layers[0].name!r} reads spike trains instead of an image"
    if network.code == RADIX:
        hidden = [layer for layer in layers if layer.bits is not None]
        names = _named(hidden or list(layers))
        yield f"{names} {'are' if len(hidden) > 1 else 'is'} in radix code"
    dilated = [
        index
        for index, layer in enumerate(layers)
        if any(source.dilation != (1, 1) for source in layer.sources)
    ]
    for index in dilated:
        if _misses(network, index):
            yield f"layer {layers[index].name!r} has a dilated window without any input position"
            break
    for number in range(INPUT, len(layers) - 1):
        reading = [layers[index] for index in readers(layers, number)]
        if len(reading) > 1:
            what = "the image" if number == INPUT else f"the map of layer {layers[number].name!r}"
            names = " and ".join(repr(layer.name) for layer in reading)
            yield f"{what} is read by the layers {names}"
            break
    for index, layer in enumerate(layers[1:], start=1):
        if layer.source.map != index - 1:
            what = "image" if layer.source.map == INPUT else "map of an earlier layer"
            yield (
                f"layer {layer.name!r} reads the {what} instead of the map of layer "
                f"{layers[index - 1].name!r} in front of it"
            )
            break


def _misses(network: IntegerNetwork, index: int) -> bool:
    """Whether a dilated window of a layer has no position inside its map."""
    shape = network.neuron_shapes[index]
    return any(
        count < 1
        for source in network.layers[index].sources
        if source.dilation != (1, 1) and not source.pooled
        for axis in range(2)
        for _, _, count in axis_entries(
            size=_map_shape(network, source.map)[1 + axis],
            pool=1,
            kernel=source.kernel[axis],
            stride=source.stride[axis],
            padding=source.padding[2 * axis],
            outputs=shape[1 + axis],
            dilation=source.dilation[axis],
        )
    )


def _map_shape(network: IntegerNetwork, number: int) -> Shape:
    return network.padded_shape if number == INPUT else network.shapes[number]


def _named(chosen: list[Layer]) -> str:
    """A subject: the first of the layers by name, and how many there are besides."""
    first = f"layer {chosen[0].name!r}"
    more = len(chosen) - 1
    return f"{first} and {more} {'other' if more == 1 else 'others'}" if more else first
