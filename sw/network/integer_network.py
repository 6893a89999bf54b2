"""The integer network: plain integers and shapes, the hub between front ends and back ends.

Its arithmetic, per output channel and time step (see docs/arithmetic.md):

    I(t) = (sum of W over the spikes at t) * 2**f + B
    v    = v + I(t);  spike = v >= TH;  v = v - spike*TH;  v(0) = V0 = TH >> 1

Every value is exact: nothing saturates or wraps. ``bounds`` computes the bits that this takes.
"""

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.checks import whole_number, whole_numbers
from residuum.sw.errors import ResiduumError
from residuum.sw.files import read_archive, write_whole

FORMAT = "residuum integer network"
FORMAT_VERSION = 1
PIXELS = "pixels"
SPIKES = "spikes"
LARGEST_PIXEL = 255
MIN_WEIGHT_BITS, MAX_WEIGHT_BITS = 2, 16
MAX_FRACTION_BITS = 16
# Keeps every bound that is computed in int64 far below 2**63.
_PARAMETER_LIMIT = 1 << 40
_CURRENT_LIMIT = 1 << 48
MAX_STEPS = 1024
_MAX_EXTENT = 1 << 16
_MAX_WINDOW = 1 << 20
_SUMMARY_HEAD: tuple[str, ...] = (
    *("layer", "input", "pool", "kernel", "stride", "pad", "output", "neurons", "weights"),
    *("f", "TH", "acc", "current", "potential"),
)
_LAYER_FIELDS = ("name", "coding", "fraction_bits", "stride", "padding", "pool")


@dataclass(frozen=True, eq=False)
class Layer:
    """Average pooling (may be absent), convolution, and a neuron per output position.

    A dense layer is a convolution whose kernel is its whole pooled input map. Arrays are copied
    and made read-only.

    Attributes
    ----------
    name
        Name of the layer in reports and error messages.
    weight
        W, int32 (out_channels, in_channels, kernel_h, kernel_w).
    bias
        B, int64 (out_channels,), added in every step.
    threshold
        TH >= 1, int64 (out_channels,), or None for the output layer, which has no neuron.
    coding
        Kind of input: "pixels", a constant current u = 0..255, or "spikes".
    fraction_bits
        f >= 0; the weight sum is multiplied by 2**f.
    stride, padding
        Stride and padding of the convolution, in pooled input positions; the padding is smaller
        than the kernel.
    pool
        (h, w) of the average-pooling window before the convolution: stride = window, floor mode,
        no padding. The window is summed; B and TH include the division by h*w.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    threshold: np.ndarray | None
    coding: str
    fraction_bits: int
    stride: int = 1
    padding: int = 0
    pool: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        where = f"layer {self.name!r}"
        _require(isinstance(self.name, str) and bool(self.name), "a layer has no name")
        _require(
            self.coding in (PIXELS, SPIKES),
            f"{where} has the coding {self.coding!r}; it must be {PIXELS!r} or {SPIKES!r}",
        )
        _check_integer(where, "fraction_bits", self.fraction_bits, 0, MAX_FRACTION_BITS)
        _check_integer(where, "stride", self.stride, 1, _MAX_EXTENT)
        _require(
            isinstance(self.pool, tuple) and len(self.pool) == 2,
            f"{where} needs a pool of two sizes (h, w), not {self.pool!r}",
        )
        for size in self.pool:
            _check_integer(where, "pool", size, 1, _MAX_EXTENT)
        weight = _integer_array(where, "weight", self.weight, np.int32, 4)
        _require(
            0 < weight[0].size * self.pool_area <= _MAX_WINDOW if len(weight) else False,
            f"{where} has the weight shape {weight.shape}; every size must be at least 1, "
            f"and a window may cover at most {_MAX_WINDOW} inputs",
        )
        _check_integer(where, "padding", self.padding, 0, min(weight.shape[2:]) - 1)
        largest = int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max())
        _require(
            largest * self.pool_area * _input_factor(self.coding, self.fraction_bits)
            <= _CURRENT_LIMIT,
            f"{where} can reach currents beyond {_CURRENT_LIMIT}",
        )
        object.__setattr__(self, "weight", weight)
        self._set_parameters(where, len(weight))

    def _set_parameters(self, where: str, channels: int) -> None:
        for label, values, smallest in (
            ("bias", self.bias, -_PARAMETER_LIMIT),
            ("threshold", self.threshold, 1),
        ):
            if values is None and label == "threshold":
                continue
            array = _integer_array(where, label, values, np.int64, 1)
            _require(
                len(array) == channels,
                f"{where} has {channels} output channels but {len(array)} values of {label}",
            )
            _require(
                int(array.min()) >= smallest and int(array.max()) <= _PARAMETER_LIMIT,
                f"{where} has a {label} outside {smallest} .. {_PARAMETER_LIMIT}",
            )
            object.__setattr__(self, label, array)

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0])

    @property
    def in_channels(self) -> int:
        return int(self.weight.shape[1])

    @property
    def kernel(self) -> tuple[int, int]:
        """(h, w) in pooled input positions."""
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    @property
    def pool_area(self) -> int:
        """Input positions that one pooling window sums."""
        return self.pool[0] * self.pool[1]

    @property
    def start_potential(self) -> np.ndarray:
        """V0 = TH >> 1, int64 (out_channels,); 0 for the output layer, which only sums."""
        if self.threshold is None:
            return np.zeros(self.out_channels, np.int64)
        start: np.ndarray = self.threshold >> 1
        return start

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, H, W) of the output map for an input map of shape ``input_shape``."""
        channels, height, width = input_shape
        _require(
            channels == self.in_channels,
            f"layer {self.name!r} has weights for {self.in_channels} input channels, "
            f"but its input has {channels}",
        )
        sizes = []
        for extent, pool, kernel in zip((height, width), self.pool, self.kernel, strict=True):
            room = extent // pool + 2 * self.padding - kernel
            _require(
                room >= 0 and extent >= pool,
                f"layer {self.name!r} has a window larger than its {height} x {width} input",
            )
            sizes.append(room // self.stride + 1)
        return self.out_channels, sizes[0], sizes[1]


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest possible values in a layer, int64 (out_channels,) each.

    Attributes
    ----------
    acc_min, acc_max
        The weight sum of one time step (or of one bit-plane of the image), partial sums included.
    current_min, current_max
        I(t), with bias.
    potential_min, potential_max
        The membrane potential over all steps, with the intermediate values v+I and v+I-TH. Output
        layer: the running sum of I(t).
    """

    acc_min: np.ndarray
    acc_max: np.ndarray
    current_min: np.ndarray
    current_max: np.ndarray
    potential_min: np.ndarray
    potential_max: np.ndarray


def bounds(layer: Layer, steps: int) -> Bounds:
    """Bounds of a layer for a stage of ``steps`` = max(tau, T) steps, from its actual weights.

    Each input of the window may or may not fire, independently, so the weight sum lies between the
    sum of the negative and the sum of the positive weights. With h x w pooling, h*w spikes can each
    add the same weight. The potential follows by interval arithmetic, step by step.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be 1 .. {MAX_STEPS}, not {steps!r}")
    rows = layer.weight.reshape(layer.out_channels, -1).astype(np.int64) * layer.pool_area
    acc_min, acc_max = np.minimum(rows, 0).sum(axis=1), np.maximum(rows, 0).sum(axis=1)
    factor = _input_factor(layer.coding, layer.fraction_bits)
    current_min, current_max = acc_min * factor + layer.bias, acc_max * factor + layer.bias
    if layer.threshold is None:
        potential = np.minimum(current_min * steps, 0), np.maximum(current_max * steps, 0)
        potential = np.minimum(potential[0], current_min), np.maximum(potential[1], current_max)
    else:
        potential = _potential_bounds(layer.threshold, current_min, current_max, steps)
    return Bounds(acc_min, acc_max, current_min, current_max, *potential)


def _input_factor(coding: str, fraction_bits: int) -> int:
    """Largest current from one input, in units of its weight."""
    return (LARGEST_PIXEL if coding == PIXELS else 1) << fraction_bits


def _potential_bounds(
    threshold: np.ndarray, current_min: np.ndarray, current_max: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Interval arithmetic on v through ``steps`` steps of v+I and the reset."""
    low = high = lowest = highest = threshold >> 1
    for _ in range(steps):
        before_low, before_high = low + current_min, high + current_max
        lowest = np.minimum(lowest, before_low - threshold)
        highest = np.maximum(highest, before_high)
        can_rest, can_fire = before_low < threshold, before_high >= threshold
        # A neuron that rests keeps v+I, at most TH-1; one that fires keeps v+I-TH, at least 0.
        rest_high = np.minimum(before_high, threshold - 1)
        fire_low = np.maximum(before_low - threshold, 0)
        low = np.where(
            can_rest, np.where(can_fire, np.minimum(before_low, fire_low), before_low), fire_low
        )
        high = np.where(
            can_fire,
            np.where(
                can_rest, np.maximum(before_high - threshold, rest_high), before_high - threshold
            ),
            before_high,
        )
    return np.minimum(lowest, low), np.maximum(highest, high)


def check_stages(tau: int, T: int) -> tuple[int, int]:
    """tau and T as ints; ``ResiduumError`` unless 0 <= tau, 1 <= T, both <= ``MAX_STEPS``."""
    return (
        whole_number("tau", tau, least=0, most=MAX_STEPS),
        whole_number("T", T, least=1, most=MAX_STEPS),
    )


def signed_bits(smallest: int, largest: int) -> int:
    """Bits of the two's-complement number that holds ``smallest`` .. ``largest``."""
    return max((~value if value < 0 else value).bit_length() for value in (smallest, largest)) + 1


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A spiking network in integers; the constructor checks it.

    Attributes
    ----------
    name
        Short name, such as "digits".
    input_shape
        (C, H, W) of the uint8 images.
    layers
        At least one. The first has the coding "pixels", all others "spikes". The last, and no
        other, is an output layer (threshold None); its map is 1 x 1.
    weight_bits
        b: all weights lie in -2**(b-1) .. 2**(b-1)-1.
    metadata
        Text only: data set, command that made the network, licence and others.

    Raises
    ------
    ResiduumError
        Names the first fault.
    """

    name: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    weight_bits: int
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"network {self.name!r}"
        _require(isinstance(self.name, str) and bool(self.name), "the network has no name")
        _require(
            isinstance(self.input_shape, tuple) and len(self.input_shape) == 3,
            f"{where} needs an input shape (C, H, W), not {self.input_shape!r}",
        )
        for size in self.input_shape:
            _check_integer(where, "input_shape", size, 1, _MAX_EXTENT)
        _check_integer(where, "weight_bits", self.weight_bits, MIN_WEIGHT_BITS, MAX_WEIGHT_BITS)
        _require(
            all(isinstance(text, str) for pair in self.metadata.items() for text in pair),
            f"{where} has metadata that is not text",
        )
        _require(len(self.layers) > 0, f"{where} has no layer")
        object.__setattr__(self, "layers", tuple(self.layers))
        for index, layer in enumerate(self.layers):
            self._check_layer(index, layer)
        _require(
            self.shapes[-1][1:] == (1, 1),
            f"the output layer {self.layers[-1].name!r} has a map of {self.shapes[-1][1]} x "
            f"{self.shapes[-1][2]}; it must be 1 x 1",
        )

    def _check_layer(self, index: int, layer: Layer) -> None:
        coding = PIXELS if index == 0 else SPIKES
        _require(
            layer.coding == coding,
            f"layer {layer.name!r} is number {index + 1} and needs the coding {coding!r}, "
            f"not {layer.coding!r}",
        )
        last = index == len(self.layers) - 1
        _require(
            (layer.threshold is None) == last,
            f"layer {layer.name!r} {'is the last and must not have' if last else 'needs'} "
            f"a threshold",
        )
        limit = 1 << (self.weight_bits - 1)
        _require(
            int(layer.weight.min()) >= -limit and int(layer.weight.max()) < limit,
            f"layer {layer.name!r} has a weight outside the {self.weight_bits}-bit range "
            f"{-limit} .. {limit - 1}",
        )

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, H, W) of each layer's output."""
        shapes = []
        shape = self.input_shape
        for layer in self.layers:
            shape = layer.output_shape(shape)
            shapes.append(shape)
        return tuple(shapes)

    @property
    def classes(self) -> int:
        return self.layers[-1].out_channels

    def as_images(self, values: Any) -> np.ndarray:
        """Images of this network, uint8 (N, C, H, W), from an array, a tensor or lists of integers.

        Raises ``ResiduumError`` on a wrong shape, or if a value is not an integer 0 .. 255.
        """
        images = whole_numbers("images", values, np.uint8, 4)
        return self._with_shape(images, images.shape[1:])

    def as_image(self, value: Any) -> np.ndarray:
        """`as_images` for one image, uint8 (C, H, W)."""
        image = whole_numbers("an image", value, np.uint8, 3)
        return self._with_shape(image, image.shape)

    def _with_shape(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        _require(
            shape == self.input_shape,
            f"network {self.name!r} takes images of shape {self.input_shape}, not {shape}",
        )
        return values

    def summary(self, *, tau: int = 4, T: int = 4, width: int | None = None) -> str:
        """Layers, shapes, bits, memory and bounds as text, for stages of tau and T steps.

        Columns beyond ``width`` characters continue in another table below.
        """
        return _summary(self, *check_stages(tau, T), width)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network atomically to one file (docs/network-format.md).

        Raises ``ResiduumError`` if the file cannot be written.
        """
        path = Path(path)
        arrays: dict[str, np.ndarray] = {"header": np.array(json.dumps(self._header()))}
        small = np.int8 if self.weight_bits <= 8 else np.int16
        for index, layer in enumerate(self.layers):
            arrays[f"weight_{index}"] = layer.weight.astype(small)
            arrays[f"bias_{index}"] = layer.bias
            if layer.threshold is not None:
                arrays[f"threshold_{index}"] = layer.threshold
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_whole(path, content.getvalue())

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "weight_bits": self.weight_bits,
            "metadata": self.metadata,
            "layers": [
                {key: getattr(layer, key) for key in _LAYER_FIELDS} for layer in self.layers
            ],
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "IntegerNetwork":
        """Read a file that ``save`` wrote.

        Raises ``ResiduumError`` if the file is missing, damaged, of another format or version.
        """
        path = Path(path)
        header, arrays = read_archive(path, FORMAT, what="a Residuum network")
        version = header.get("version")
        if version != FORMAT_VERSION:
            raise ResiduumError(
                f"{path} has format version {version!r}, but this program reads version "
                f"{FORMAT_VERSION}"
            )
        try:
            layers = tuple(
                _layer_from(entry, index, arrays) for index, entry in enumerate(header["layers"])
            )
            return cls(
                name=header["name"],
                input_shape=tuple(header["input_shape"]),
                layers=layers,
                weight_bits=header["weight_bits"],
                metadata=dict(header["metadata"]),
            )
        except ResiduumError as error:
            raise ResiduumError(f"{path} holds a network that cannot be: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ResiduumError(f"{path} is damaged: parts of the network are missing") from None


def _layer_from(entry: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> Layer:
    return Layer(
        weight=arrays[f"weight_{index}"],
        bias=arrays[f"bias_{index}"],
        threshold=arrays.get(f"threshold_{index}"),
        **{**{key: entry[key] for key in _LAYER_FIELDS}, "pool": tuple(entry["pool"])},
    )


def _summary(network: IntegerNetwork, tau: int, T: int, width: int | None) -> str:
    steps = max(tau, T)
    rows = [_SUMMARY_HEAD]
    weights = parameters = 0
    for layer, shape in zip(network.layers, network.shapes, strict=True):
        limits = bounds(layer, steps)
        threshold = layer.threshold
        weights += layer.weight.size
        parameters += layer.out_channels * (1 if threshold is None else 2)
        rows.append(
            (
                layer.name,
                layer.coding,
                "x".join(map(str, layer.pool)),
                "x".join(map(str, layer.kernel)),
                str(layer.stride),
                str(layer.padding),
                "x".join(map(str, shape)),
                str(int(np.prod(shape))),
                str(layer.weight.size),
                str(layer.fraction_bits),
                "-" if threshold is None else f"{threshold.min()}..{threshold.max()}",
                _range(limits.acc_min, limits.acc_max),
                _range(limits.current_min, limits.current_max),
                _range(limits.potential_min, limits.potential_max),
            )
        )
    size = "x".join(map(str, network.input_shape))
    lines = [
        (
            f"{network.name}: {size} pixels, {network.classes} classes, {network.weight_bits}-bit "
            f"weights, bounds for tau {tau}, T {T}"
        ),
        "",
        *_table(rows, width),
        "",
        (
            f"memory: {weights} weights = {-(-weights * network.weight_bits // 8)} bytes, "
            f"{parameters} biases and thresholds"
        ),
        "bounds: smallest .. largest value over all channels (bits of a signed number)",
        *(f"{key}: {value}" for key, value in sorted(network.metadata.items())),
    ]
    return "\n".join(lines)


def _table(rows: list[tuple[str, ...]], width: int | None) -> Iterator[str]:
    """Lines of aligned columns.

    A table wider than ``width`` is split into several, each of which repeats the first column.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    blocks: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        together = sum(widths[i] + 2 for i in (*blocks[-1], column)) - 2
        if width is not None and together > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(column)
    for number, block in enumerate(blocks):
        if number:
            yield ""
        for row in rows:
            yield "  ".join(row[i].ljust(widths[i]) for i in block).rstrip()


def _range(low: np.ndarray, high: np.ndarray) -> str:
    smallest, largest = int(low.min()), int(high.max())
    return f"{smallest}..{largest} ({signed_bits(smallest, largest)})"


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ResiduumError(sentence)


def _check_integer(where: str, label: str, value: Any, smallest: int, largest: int) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest,
        f"{where} needs a {label} of {smallest} .. {largest}, not {value!r}",
    )


def _integer_array(
    where: str, label: str, values: Any, dtype: type[np.signedinteger[Any]], dimensions: int
) -> np.ndarray:
    """A read-only copy as ``dtype``; refuses floats and values out of range."""
    array = np.asarray(values)
    _require(
        np.issubdtype(array.dtype, np.integer) and array.ndim == dimensions,
        f"{where} needs a {label} of integers with {dimensions} dimension"
        f"{'' if dimensions == 1 else 's'}",
    )
    limits = np.iinfo(dtype)
    _require(
        array.size == 0 or (int(array.min()) >= limits.min and int(array.max()) <= limits.max),
        f"{where} has a {label} that does not fit into {limits.bits} bits",
    )
    copy = array.astype(dtype)
    copy.setflags(write=False)
    return copy
