"""What float and integer networks share: layers with one or two sources, and the walk over them.

A network is a list of layers in topological order. A layer reads one or two *sources*, each of
which is the input of the network or the map of an earlier layer. It adds up the currents of its
sources in the same neurons, and writes one map, which may be pooled by maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from residuum.sw.errors import ResiduumError

# The number of the map that the network itself reads; layer i writes map i.
INPUT = -1
IMAGE = "image"
SPIKES = "spikes"
# Start potentials: half of the threshold, or zero.
HALF, ZERO = "half", "zero"
MAX_SOURCES = 2

Pair = tuple[int, int]
# Top, bottom, left, right.
Sides = tuple[int, int, int, int]
Shape = tuple[int, int, int]
Signal = TypeVar("Signal")

_MAX_EXTENT = 1 << 16
# Largest number of input positions that one window may sum.
_MAX_WINDOW = 1 << 20


@dataclass(frozen=True, eq=False)
class Source:
    """A map that a layer reads, with the average pooling and the convolution that it applies.

    A dense layer is a convolution whose kernel is its whole pooled input map.

    Attributes
    ----------
    weight
        (out_channels, in_channels / groups, kernel_h, kernel_w): float64 in a float network, int32
        in an integer network. Read-only.
    map
        Number of the map: `INPUT`, or the number of an earlier layer.
    stride, dilation
        (h, w) of the convolution, in pooled positions.
    padding
        Zeros around the pooled map: (top, bottom, left, right).
    groups
        Groups of the convolution, as in PyTorch.
    pool
        (h, w) of the average-pooling window before the convolution: stride = window, no padding, a
        remainder is dropped. Integer networks sum the window; their parameters contain the
        division.
    """

    weight: np.ndarray
    map: int = INPUT
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    pool: Pair = (1, 1)

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0])

    @property
    def in_channels(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    @property
    def kernel(self) -> Pair:
        """(h, w) in pooled input positions."""
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    @property
    def pool_area(self) -> int:
        """Input positions that one pooling window sums."""
        return math.prod(self.pool)

    @property
    def pooled(self) -> bool:
        return self.pool != (1, 1)

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) of the currents for a map of shape ``shape``; ``ResiduumError`` if a window is
        larger than the padded map or the channels differ."""
        _require(
            shape[0] == self.in_channels,
            f"has weights for {self.in_channels} input channels, but its input has {shape[0]}",
        )
        pooled = shape[1] // self.pool[0], shape[2] // self.pool[1]
        sizes = _window_counts(pooled, self.kernel, self.stride, self.padding, self.dilation)
        _require(
            min(pooled) >= 1 and min(sizes) >= 1,
            f"has a window larger than its {shape[1]} x {shape[2]} input",
        )
        return self.out_channels, *sizes

    def fault(self) -> str | None:
        """The first fault, as the end of a sentence that begins with the layer, or None."""
        if not isinstance(self.weight, np.ndarray) or self.weight.ndim != 4:
            return "needs a weight array with 4 dimensions"
        for label, values, count, smallest in (
            ("stride", self.stride, 2, 1),
            ("dilation", self.dilation, 2, 1),
            ("pool", self.pool, 2, 1),
            ("padding", self.padding, 4, 0),
        ):
            if fault := fault_of_sizes(label, values, count, smallest):
                return fault
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
        if max(self.padding[:2]) > reach[0] or max(self.padding[2:]) > reach[1]:
            return f"has the padding {self.padding}; every window must touch the map"
        if not whole(self.groups, 1, _MAX_EXTENT):
            return f"needs a number of groups of at least 1, not {self.groups!r}"
        if not whole(self.map, INPUT, _MAX_EXTENT):
            return f"reads the map {self.map!r}; it must be a number from {INPUT} on"
        if not self.weight.size or self.weight[0].size * self.pool_area > _MAX_WINDOW:
            return (
                f"has the weight shape {self.weight.shape}; every size must be at least 1, and a "
                f"window may cover at most {_MAX_WINDOW} inputs"
            )
        if self.out_channels % self.groups:
            return f"has {self.out_channels} output channels in {self.groups} groups"
        return None


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows of the map that a layer writes, behind its neurons.

    Attributes
    ----------
    kernel, stride
        (h, w) of the windows, and of the steps between them.
    padding
        Positions around the map that no window's maximum counts: (top, bottom, left, right), below
        the kernel. PyTorch's ``ceil_mode`` is more padding at the bottom and right.
    """

    kernel: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) of the pooled map; ``ResiduumError`` if a window is larger than the map."""
        sizes = _window_counts(shape[1:], self.kernel, self.stride, self.padding, (1, 1))
        _require(
            min(sizes) >= 1,
            f"has a max-pooling window larger than its {shape[1]} x {shape[2]} map",
        )
        return shape[0], *sizes

    def fault(self) -> str | None:
        """As `Source.fault`."""
        for label, values, count, smallest in (
            ("max-pooling kernel", self.kernel, 2, 1),
            ("max-pooling stride", self.stride, 2, 1),
            ("max-pooling padding", self.padding, 4, 0),
        ):
            if fault := fault_of_sizes(label, values, count, smallest):
                return fault
        if max(self.padding[:2]) >= self.kernel[0] or max(self.padding[2:]) >= self.kernel[1]:
            return "has a max-pooling padding that is not smaller than its kernel"
        return None


class GraphLayer(Protocol):
    """What the walk needs of a layer."""

    @property
    def name(self) -> str: ...

    @property
    def sources(self) -> tuple[Source, ...]: ...

    @property
    def max_pool(self) -> MaxPool | None: ...


L = TypeVar("L", bound=GraphLayer)


def walk(
    layers: Sequence[L], signal: Signal, step: Callable[[int, L, list[Signal]], Signal]
) -> Signal:
    """Evaluate the graph: ``step(index, layer, inputs)`` returns the map that the layer writes.

    ``signal`` is the input of the network. ``inputs`` has one entry per source. A map is kept until
    its last reader has read it. Returns the map of the last layer.
    """
    maps = {INPUT: signal}
    last = last_readers(layers)
    for index, layer in enumerate(layers):
        inputs = [maps[source.map] for source in layer.sources]
        for read in {source.map for source in layer.sources}:
            if last[read] == index:
                del maps[read]
        maps[index] = step(index, layer, inputs)
        del inputs
    return maps[len(layers) - 1]


def last_readers(layers: Sequence[GraphLayer]) -> dict[int, int]:
    """Number of the last layer that reads each map; maps that nobody reads are missing."""
    return {source.map: index for index, layer in enumerate(layers) for source in layer.sources}


def readers(layers: Sequence[GraphLayer], number: int) -> list[int]:
    """Numbers of the layers that read map ``number``."""
    return [
        index
        for index, layer in enumerate(layers)
        if any(source.map == number for source in layer.sources)
    ]


def neuron_shapes(layers: Sequence[GraphLayer], input_shape: Shape) -> tuple[Shape, ...]:
    """(C, H, W) of the neurons of each layer, before max-pooling.

    Raises ``ResiduumError`` if a layer does not fit its sources.
    """
    return tuple(neurons for neurons, _ in _shapes(layers, input_shape))


def map_shapes(layers: Sequence[GraphLayer], input_shape: Shape) -> tuple[Shape, ...]:
    """(C, H, W) of the map that each layer writes, after max-pooling; as `neuron_shapes`."""
    return tuple(written for _, written in _shapes(layers, input_shape))


def _shapes(layers: Sequence[GraphLayer], input_shape: Shape) -> Iterator[tuple[Shape, Shape]]:
    maps: dict[int, Shape] = {INPUT: input_shape}
    for index, layer in enumerate(layers):
        try:
            shapes = [source.output_shape(maps[source.map]) for source in layer.sources]
            _require(
                len(set(shapes)) == 1,
                f"adds currents of the shapes {' and '.join(map(str, shapes))}",
            )
            neurons = shapes[0]
            written = layer.max_pool.output_shape(neurons) if layer.max_pool else neurons
        except ResiduumError as error:
            raise ResiduumError(f"layer {layer.name!r} {error}") from None
        maps[index] = written
        yield neurons, written


def check_graph(
    where: str, layers: Sequence[GraphLayer], outputs: Sequence[bool], input_shape: Shape
) -> None:
    """``ResiduumError`` naming the first fault of a graph; ``where`` names the network.

    ``outputs`` tells for each layer whether it is an output layer, without neurons.
    """
    _require(len(layers) > 0, f"{where} has no layer")
    seen: set[str] = set()
    for index, (layer, output) in enumerate(zip(layers, outputs, strict=True)):
        _require(layer.name not in seen, f"{where} has two layers called {layer.name!r}")
        seen.add(layer.name)
        last = index == len(layers) - 1
        _require(
            output == last,
            f"layer {layer.name!r} {'is the last and must not have' if last else 'needs'} "
            "a threshold",
        )
        for source in layer.sources:
            _require(
                source.map < index,
                f"layer {layer.name!r} reads map {source.map}, which is not of an earlier layer",
            )
    read = {source.map for layer in layers for source in layer.sources}
    for index, layer in enumerate(layers[:-1]):
        _require(index in read, f"no layer reads the map of layer {layer.name!r}")
    _, height, width = map_shapes(layers, input_shape)[-1]
    _require(
        (height, width) == (1, 1),
        f"the output layer {layers[-1].name!r} has a map of {height} x {width}; it must be 1 x 1",
    )


def check_layer(where: str, sources: Sequence[Source], max_pool: MaxPool | None) -> None:
    """``ResiduumError`` naming the first fault of a layer on its own; ``where`` names the layer."""
    _require(
        isinstance(sources, tuple) and 1 <= len(sources) <= MAX_SOURCES,
        f"{where} must read one or two sources",
    )
    for source in sources:
        if fault := source.fault():
            raise ResiduumError(f"{where} {fault}")
        _require(
            source.out_channels == sources[0].out_channels,
            f"{where} has sources of {sources[0].out_channels} and {source.out_channels} channels",
        )
    if max_pool is not None and (fault := max_pool.fault()):
        raise ResiduumError(f"{where} {fault}")


@dataclass(frozen=True)
class Pad:
    """A border that the network itself puts around the picture, before its first layer.

    Attributes
    ----------
    sides
        (top, bottom, left, right), positions.
    pixel
        Value of each channel of the border: u = 0..255 in an integer network, u/255 in a float
        network.
    """

    sides: Sides
    pixel: tuple[float, ...]

    def shape(self, shape: Shape) -> Shape:
        """The shape of a padded picture."""
        top, bottom, left, right = self.sides
        return shape[0], shape[1] + top + bottom, shape[2] + left + right

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Pictures (N, C, H, W) with their border, in the same type."""
        count, channels, height, width = images.shape
        top, _, left, _ = self.sides
        result = np.empty((count, *self.shape((channels, height, width))), images.dtype)
        result[:] = np.asarray(self.pixel).astype(images.dtype)[:, None, None]
        result[:, :, top : top + height, left : left + width] = images
        return result

    def fault(self, channels: int) -> str | None:
        """The first fault on pictures of ``channels`` channels, or None."""
        if fault := fault_of_sizes("border", self.sides, 4, 0):
            return fault
        if not isinstance(self.pixel, tuple) or len(self.pixel) != channels:
            return f"needs a border pixel of {channels} values, not {self.pixel!r}"
        if not all(isinstance(value, int | float) and 0 <= value <= 255 for value in self.pixel):
            return f"has a border pixel {self.pixel!r} that is no pixel"
        return None


class Graph(Generic[L]):
    """What float and integer networks have in common; they are frozen dataclasses.

    Attributes
    ----------
    input_shape
        (C, H, W) of the pictures, or of the spikes of one step.
    layers
        In topological order; the last is the output layer.
    pad
        Border around the picture.
    """

    name: str
    input_shape: Shape
    layers: tuple[L, ...]
    pad: Pad | None

    @property
    def padded_shape(self) -> Shape:
        """(C, H, W) of the map `INPUT`: the picture with its border."""
        return self.pad.shape(self.input_shape) if self.pad else self.input_shape

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(C, H, W) of the map that each layer writes."""
        return map_shapes(self.layers, self.padded_shape)

    @property
    def neuron_shapes(self) -> tuple[Shape, ...]:
        """(C, H, W) of the neurons of each layer, before max-pooling."""
        return neuron_shapes(self.layers, self.padded_shape)

    @property
    def classes(self) -> int:
        """Number of classes: channels of the output layer."""
        return self.layers[-1].sources[0].out_channels

    def with_border(self, images: np.ndarray) -> np.ndarray:
        """Pictures (N, C, H, W) with the border that the network puts around them."""
        return self.pad.apply(images) if self.pad else images

    def walk(self, signal: Signal, step: Callable[[int, L, list[Signal]], Signal]) -> Signal:
        """`walk` over the layers; ``signal`` is the picture with its border, or the spikes."""
        return walk(self.layers, signal, step)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture of any size becomes the input of the network.

    The picture gets the channels. Without a ``crop``, it is stretched to ``size``; with one, it is
    scaled in proportion until it covers ``size``, and cut around its centre, as torchvision's
    ``Resize`` of the shorter side and ``CenterCrop`` do it (`residuum.sw.data.pictures`).
    ``scale``, ``mean`` and ``std`` describe the numbers that the original model wants,
    ``(u * scale - mean) / std``; they are part of the first layer already.

    Attributes
    ----------
    size
        (h, w) to scale to; None: the size that the network reads.
    crop
        (h, w) around the centre, after scaling; None: the whole picture.
    interpolation
        "nearest", "bilinear" or "bicubic".
    channels
        "grey", "RGB" or "BGR"; "" for other numbers of channels.
    """

    size: Pair | None = None
    crop: Pair | None = None
    interpolation: str = "bilinear"
    channels: str = ""
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def fault(self, shape: Shape) -> str | None:
        """The first fault on pictures of ``shape`` (C, H, W), or None."""
        for label, sizes in (("size", self.size), ("crop", self.crop)):
            if sizes is not None and (fault := fault_of_sizes(label, sizes, 2, 1)):
                return fault
        final = self.crop or self.size
        if final is not None and final != shape[1:]:
            return f"prepares pictures of {final[0]} x {final[1]} for {shape[1]} x {shape[2]}"
        if self.interpolation not in ("nearest", "bilinear", "bicubic"):
            return f"has the interpolation {self.interpolation!r}"
        if self.channels not in CHANNEL_ORDERS or CHANNEL_ORDERS[self.channels] not in (
            None,
            shape[0],
        ):
            return f"has the channels {self.channels!r} for {shape[0]} channels"
        for label, values in (("mean", self.mean), ("std", self.std)):
            if not isinstance(values, tuple) or len(values) not in (0, shape[0]):
                return f"needs a {label} of {shape[0]} values, not {values!r}"
            if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                return f"has a {label} that is not a finite number"
        if not all(value > 0 for value in self.std) or not 0 < self.scale < math.inf:
            return "has a scale or std that is not positive"
        return None


# Channels of each order of the channels of a picture; None: any number.
CHANNEL_ORDERS: Mapping[str, int | None] = {"": None, "grey": 1, "RGB": 3, "BGR": 3}


def check_input(
    where: str,
    *,
    input_shape: Any,
    kind: Any,
    pad: Pad | None,
    preprocessing: Preprocessing | None,
) -> None:
    """``ResiduumError`` naming the first fault of a network's input."""
    _require(
        isinstance(input_shape, tuple)
        and len(input_shape) == 3
        and all(whole(size, 1, _MAX_EXTENT) for size in input_shape),
        f"{where} needs an input shape (C, H, W), not {input_shape!r}",
    )
    _require(kind in (IMAGE, SPIKES), f"{where} reads {kind!r}; it must be {IMAGE!r} or {SPIKES!r}")
    if pad is not None:
        _require(kind == IMAGE, f"{where} reads spikes, which have no border")
        if fault := pad.fault(input_shape[0]):
            raise ResiduumError(f"{where} {fault}")
    if preprocessing is not None and (fault := preprocessing.fault(input_shape)):
        raise ResiduumError(f"{where} {fault}")


def fault_of_texts(where: str, names: Any, classes: int, metadata: Any) -> str | None:
    """The first fault of a network's class names and metadata, as a sentence, or None."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        return f"{where} has class names that are not text"
    if len(names) not in (0, classes):
        return f"{where} has {classes} classes but {len(names)} class names"
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        return f"{where} has metadata that is not text"
    return None


def as_entry(value: Any) -> Any:
    """A `Source`, `MaxPool`, `Pad` or `Preprocessing` as JSON, without arrays; None for None."""
    if value is None:
        return None
    entry = {f.name: getattr(value, f.name) for f in fields(value) if f.name != "weight"}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in entry.items()}


E = TypeVar("E")


def from_entry(kind: type[E], entry: Any, **extra: Any) -> E:
    """The opposite of `as_entry`; unknown keys are ignored, wrong ones raise ``TypeError``."""
    names = {f.name for f in fields(kind)} - {"weight"}  # type: ignore[arg-type]
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
    return kind(**{key: v for key, v in values.items() if key in names}, **extra)


def whole(value: Any, smallest: int, largest: int) -> bool:
    """Whether ``value`` is an int of ``smallest`` .. ``largest``."""
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest


def fault_of_sizes(label: str, values: Any, count: int, smallest: int) -> str | None:
    """The end of a sentence, if ``values`` is not a tuple of ``count`` sizes."""
    sizes = isinstance(values, tuple) and len(values) == count
    if sizes and all(whole(value, smallest, _MAX_EXTENT) for value in values):
        return None
    return f"needs a {label} of {count} numbers from {smallest} on, not {values!r}"


def _window_counts(
    sizes: Sequence[int], kernel: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> Pair:
    """Windows along each axis; below 1 if one is larger than the padded map."""
    counts = [
        (size + padding[2 * axis] + padding[2 * axis + 1] - dilation[axis] * (kernel[axis] - 1) - 1)
        // stride[axis]
        + 1
        for axis, size in enumerate(sizes)
    ]
    return counts[0], counts[1]


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ResiduumError(sentence)
