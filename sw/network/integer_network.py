"""The integer network: plain integers and shapes, the hub between front ends and back ends.

Its arithmetic, per output channel (see docs/arithmetic.md):

    I  = 2**f * (sum of W x  +  2**h * sum of W' x') + B

over the spikes x, x' of a time step of both sources (rate code), or over the numbers of their maps
(radix code). Rate code, in every step:

    v  = v + I(t);  spike = v >= TH;  v = v - spike*TH;  v(0) = V0

Radix code, once per image, with K bits:

    v  = I + (TH >> 1);  for k = K-1 .. 0: bit k = v >= TH << k;  v = v - bit*(TH << k)

Every value is exact: nothing saturates or wraps. ``bounds`` computes the bits that this takes.
"""

import io
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.checks import whole_number, whole_numbers
from residuum.sw.errors import ResiduumError
from residuum.sw.files import read_archive, write_whole
from residuum.sw.network.graph import (
    HALF,
    IMAGE,
    INPUT,
    ZERO,
    Graph,
    MaxPool,
    Pad,
    Preprocessing,
    Shape,
    Source,
    as_entry,
    check_graph,
    check_input,
    check_layer,
    fault_of_texts,
    from_entry,
)

FORMAT = "residuum integer network"
FORMAT_VERSION = 2
RATE, RADIX = "rate", "radix"
LARGEST_PIXEL = 255
MIN_WEIGHT_BITS, MAX_WEIGHT_BITS = 2, 16
MAX_FRACTION_BITS = 16
MAX_SHIFT = 16
# Bits of a number in a map of radix code.
MAX_MAP_BITS = 8
# Keeps every bound that is computed in int64 far below 2**63.
_PARAMETER_LIMIT = 1 << 40
_CURRENT_LIMIT = 1 << 48
MAX_STEPS = 1024


@dataclass(frozen=True, eq=False)
class Layer:
    """One or two sources, added up, and a neuron per output position. Arrays are made read-only.

    Attributes
    ----------
    name
        Name of the layer in reports and error messages.
    sources
        One or two. Their weights W and W' are int32 (out_channels, in_channels / groups, kernel_h,
        kernel_w).
    bias
        B, int64 (out_channels,): added in every step in rate code, once in radix code.
    threshold
        TH >= 1, int64 (out_channels,), or None for the output layer, which has no neuron.
    fraction_bits
        f >= 0; the sum over both sources is multiplied by 2**f.
    shift
        h >= 0; the sum over the second source is multiplied by 2**h.
    bits
        K of the map that the layer writes, in radix code; None in rate code and in the output
        layer.
    max_pool
        Maximum over windows of the map, in radix code only; None: no pooling.
    start
        Start potential: "half", V0 = TH >> 1, or "zero", V0 = 0.
    strict
        Whether a neuron fires at v > TH instead of v >= TH. V0 is one less then, which gives the
        same spikes in integers.
    """

    name: str
    sources: tuple[Source, ...]
    bias: np.ndarray
    threshold: np.ndarray | None
    fraction_bits: int
    shift: int = 0
    bits: int | None = None
    max_pool: MaxPool | None = None
    start: str = HALF
    strict: bool = False

    def __post_init__(self) -> None:
        where = f"layer {self.name!r}"
        _require(isinstance(self.name, str) and bool(self.name), "a layer has no name")
        check_layer(where, self.sources, self.max_pool)
        sources = tuple(
            replace(source, weight=_integer_array(where, "weight", source.weight, np.int32, 4))
            for source in self.sources
        )
        object.__setattr__(self, "sources", sources)
        _check_integer(where, "fraction_bits", self.fraction_bits, 0, MAX_FRACTION_BITS)
        _check_integer(where, "shift", self.shift, 0, MAX_SHIFT)
        _require(
            self.shift == 0 or len(self.sources) == 2,
            f"{where} has a shift of {self.shift} but no second source",
        )
        if self.bits is not None:
            _check_integer(where, "number of map bits", self.bits, 1, MAX_MAP_BITS)
        self._set_parameters(where)
        self._check_neurons(where)

    def _set_parameters(self, where: str) -> None:
        for label, values, smallest in (
            ("bias", self.bias, -_PARAMETER_LIMIT),
            ("threshold", self.threshold, 1),
        ):
            if values is None and label == "threshold":
                continue
            array = _integer_array(where, label, values, np.int64, 1)
            _require(
                len(array) == self.out_channels,
                f"{where} has {self.out_channels} output channels but {len(array)} values of "
                f"{label}",
            )
            _require(
                int(array.min()) >= smallest and int(array.max()) <= _PARAMETER_LIMIT,
                f"{where} has a {label} outside {smallest} .. {_PARAMETER_LIMIT}",
            )
            object.__setattr__(self, label, array)

    def _check_neurons(self, where: str) -> None:
        _require(
            self.start in (HALF, ZERO),
            f"{where} has the start potential {self.start!r}; it must be {HALF!r} or {ZERO!r}",
        )
        _require(isinstance(self.strict, bool), f"{where} has strict {self.strict!r}")
        if self.threshold is None:
            _require(
                self.bits is None and self.max_pool is None,
                f"{where} is the output layer and must not have map bits or max-pooling",
            )
        elif self.bits is None:
            _require(
                self.max_pool is None,
                f"{where} has max-pooling, which does not exist in rate code; use radix code, or "
                "average pooling and fine-tuning",
            )
        else:
            _require(
                self.start == HALF and not self.strict,
                f"{where} is in radix code and must start at half of its threshold, not strictly",
            )

    @property
    def source(self) -> Source:
        """The first source."""
        return self.sources[0]

    @property
    def output(self) -> bool:
        """Whether this is the output layer, without neurons."""
        return self.threshold is None

    @property
    def out_channels(self) -> int:
        return self.sources[0].out_channels

    @property
    def factors(self) -> tuple[int, ...]:
        """Factor of the weights of each source: 2**f, and 2**(f + h) for the second."""
        return (1 << self.fraction_bits, 1 << self.fraction_bits + self.shift)[: len(self.sources)]

    @property
    def start_potential(self) -> np.ndarray:
        """V0, int64 (out_channels,); 0 for the output layer, which only sums."""
        if self.threshold is None:
            return np.zeros(self.out_channels, np.int64)
        half = self.threshold >> 1 if self.start == HALF else np.zeros_like(self.threshold)
        start: np.ndarray = half - int(self.strict)
        return start


@dataclass(frozen=True, eq=False)
class IntegerNetwork(Graph[Layer]):
    """A spiking network in integers; the constructor checks it.

    Attributes
    ----------
    name
        Short name, such as "digits".
    input_shape
        (C, H, W) of the uint8 images, or of the spikes of one step.
    layers
        At least one, in topological order. The last, and no other, is an output layer (threshold
        None); its map is 1 x 1.
    weight_bits
        b: all weights lie in -2**(b-1) .. 2**(b-1)-1.
    code
        "rate": every map holds spike trains; "radix": every map holds numbers of K bits.
    input
        "image", whose pixels are numbers of 8 bits, or "spikes".
    pad
        Border around the image, as if the image had it.
    class_names
        One per class, or empty.
    logit_scale
        What 1 of a logit is worth in the units of the original model; in rate code, of the mean
        over the T steps. None: not known.
    preprocessing
        How a picture becomes an image of this network; None: it has the size already.
    metadata
        Text only: data set, command that made the network, licence and others.

    Raises
    ------
    ResiduumError
        Names the first fault.
    """

    name: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    weight_bits: int
    code: str = RATE
    input: str = IMAGE
    pad: Pad | None = None
    class_names: tuple[str, ...] = ()
    logit_scale: float | None = None
    preprocessing: Preprocessing | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"network {self.name!r}"
        _require(isinstance(self.name, str) and bool(self.name), "the network has no name")
        check_input(
            where,
            input_shape=self.input_shape,
            kind=self.input,
            pad=self.pad,
            preprocessing=self.preprocessing,
        )
        _check_integer(where, "weight_bits", self.weight_bits, MIN_WEIGHT_BITS, MAX_WEIGHT_BITS)
        _require(
            self.code in (RATE, RADIX),
            f"{where} has the code {self.code!r}; it must be {RATE!r} or {RADIX!r}",
        )
        _require(
            self.code == RATE or self.input == IMAGE,
            f"{where} is in radix code, which has no spikes as input",
        )
        object.__setattr__(self, "layers", tuple(self.layers))
        outputs = [layer.threshold is None for layer in self.layers]
        check_graph(where, self.layers, outputs, self.padded_shape)
        for layer in self.layers:
            self._check_layer(layer)
        fault = fault_of_texts(where, self.class_names, self.classes, self.metadata)
        _require(fault is None, fault or "")
        if self.logit_scale is not None:
            _require(
                isinstance(self.logit_scale, float) and 0 < self.logit_scale < float("inf"),
                f"{where} has the logit scale {self.logit_scale!r}; it must be positive",
            )

    def _check_layer(self, layer: Layer) -> None:
        where = f"layer {layer.name!r}"
        _require(
            layer.output or (layer.bits is None) == (self.code == RATE),
            f"{where} needs {'no map bits in rate' if self.code == RATE else 'map bits in radix'} "
            "code",
        )
        limit = 1 << (self.weight_bits - 1)
        reach = 0
        for source, factor, largest in zip(
            layer.sources, layer.factors, self.largest_inputs(layer), strict=True
        ):
            weight = source.weight
            _require(
                int(weight.min()) >= -limit and int(weight.max()) < limit,
                f"{where} has a weight outside the {self.weight_bits}-bit range "
                f"{-limit} .. {limit - 1}",
            )
            magnitude = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max()
            reach += int(magnitude) * source.pool_area * factor * largest
        _require(reach <= _CURRENT_LIMIT, f"{where} can reach currents beyond {_CURRENT_LIMIT}")

    def largest_input(self, source: Source) -> int:
        """Largest number that one position of a source's map holds: 255 for the image, 1 for a
        spike, 2**K - 1 in radix code."""
        if source.map == INPUT:
            return LARGEST_PIXEL if self.input == IMAGE else 1
        bits = self.layers[source.map].bits
        return 1 if bits is None else (1 << bits) - 1

    def largest_inputs(self, layer: Layer) -> tuple[int, ...]:
        """`largest_input` of each source of a layer."""
        return tuple(self.largest_input(source) for source in layer.sources)

    def reads_image(self, layer: Layer) -> bool:
        """Whether the first source of a layer is the image."""
        return layer.source.map == INPUT and self.input == IMAGE

    def check_stages(self, tau: int, T: int) -> tuple[int, int]:
        """tau and T as ints.

        Raises ``ResiduumError`` unless 0 <= tau, 1 <= T, both <= ``MAX_STEPS``. A network in radix
        code runs once, tau = 0 and T = 1.
        """
        tau, T = check_stages(tau, T)
        if self.code == RADIX and (tau, T) != (0, 1):
            raise ResiduumError(
                f"network {self.name!r} is in radix code, which runs once: tau must be 0 and T 1, "
                f"not {tau} and {T}"
            )
        return tau, T

    def as_images(self, values: Any) -> np.ndarray:
        """Images of this network, uint8 (N, C, H, W), from an array, a tensor or lists of integers.

        Raises ``ResiduumError`` on a wrong shape, or if a value is not an integer 0 .. 255.
        """
        self._need_images()
        images = whole_numbers("images", values, np.uint8, 4)
        return self._with_shape(images, images.shape[1:])

    def as_image(self, value: Any) -> np.ndarray:
        """`as_images` for one image, uint8 (C, H, W)."""
        self._need_images()
        image = whole_numbers("an image", value, np.uint8, 3)
        return self._with_shape(image, image.shape)

    def as_trains(self, values: Any, steps: int) -> np.ndarray:
        """Spike trains for a network that reads spikes, uint8 of 0 and 1 (N, steps, C, H, W).

        Raises ``ResiduumError`` on a wrong shape or number of steps, or another value.
        """
        _require(
            self.input != IMAGE,
            f"network {self.name!r} reads images, not spike trains",
        )
        if hasattr(values, "detach"):
            values = values.detach().cpu().numpy()
        array = np.asarray(values)
        trains = whole_numbers(
            "spike trains", array.astype(np.uint8) if array.dtype == bool else array, np.uint8, 5
        )
        expected = (steps, *self.input_shape)
        _require(
            trains.shape[1:] == expected,
            f"network {self.name!r} takes spike trains of shape (N, {', '.join(map(str, expected))}"
            f"), not {trains.shape}",
        )
        _require(not trains.size or int(trains.max()) <= 1, "a spike train holds 0 and 1 only")
        return trains

    def _need_images(self) -> None:
        _require(
            self.input == IMAGE,
            f"network {self.name!r} reads spike trains, not images",
        )

    def _with_shape(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        _require(
            shape == self.input_shape,
            f"network {self.name!r} takes images of shape {self.input_shape}, not {shape}",
        )
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network atomically to one file (docs/network-format.md).

        Raises ``ResiduumError`` if the file cannot be written.
        """
        path = Path(path)
        arrays: dict[str, np.ndarray] = {"header": np.array(json.dumps(self._header()))}
        small = np.int8 if self.weight_bits <= 8 else np.int16
        for index, layer in enumerate(self.layers):
            for number, source in enumerate(layer.sources):
                arrays[f"weight_{index}_{number}"] = source.weight.astype(small)
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
            "input": self.input,
            "pad": as_entry(self.pad),
            "weight_bits": self.weight_bits,
            "code": self.code,
            "class_names": list(self.class_names),
            "logit_scale": self.logit_scale,
            "preprocessing": as_entry(self.preprocessing),
            "metadata": self.metadata,
            "layers": [
                {
                    "name": layer.name,
                    "sources": [as_entry(source) for source in layer.sources],
                    "fraction_bits": layer.fraction_bits,
                    "shift": layer.shift,
                    "bits": layer.bits,
                    "max_pool": as_entry(layer.max_pool),
                    "start": layer.start,
                    "strict": layer.strict,
                }
                for layer in self.layers
            ],
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "IntegerNetwork":
        """Read a file that ``save`` wrote, of this version or of version 1.

        Raises ``ResiduumError`` if the file is missing, damaged, of another format or version.
        """
        path = Path(path)
        header, arrays = read_archive(path, FORMAT, what="a Residuum network")
        version = header.get("version")
        if version not in (1, FORMAT_VERSION):
            raise ResiduumError(
                f"{path} has format version {version!r}, but this program reads versions 1 and "
                f"{FORMAT_VERSION}"
            )
        read = _layer_of_version_1 if version == 1 else _layer_from
        try:
            layers = tuple(
                read(entry, index, arrays) for index, entry in enumerate(header["layers"])
            )
            pad, preprocessing = header.get("pad"), header.get("preprocessing")
            return cls(
                name=header["name"],
                input_shape=tuple(header["input_shape"]),
                layers=layers,
                weight_bits=header["weight_bits"],
                code=header.get("code", RATE),
                input=header.get("input", IMAGE),
                pad=None if pad is None else from_entry(Pad, pad),
                class_names=tuple(header.get("class_names", ())),
                logit_scale=header.get("logit_scale"),
                preprocessing=(
                    None if preprocessing is None else from_entry(Preprocessing, preprocessing)
                ),
                metadata=dict(header["metadata"]),
            )
        except ResiduumError as error:
            raise ResiduumError(f"{path} holds a network that cannot be: {error}") from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ResiduumError(f"{path} is damaged: parts of the network are missing") from None


def check_stages(tau: int, T: int) -> tuple[int, int]:
    """tau and T as ints; ``ResiduumError`` unless 0 <= tau, 1 <= T, both <= ``MAX_STEPS``."""
    tau = whole_number("tau", tau, least=0, most=MAX_STEPS)
    return tau, whole_number("T", T, least=1, most=MAX_STEPS)


def _layer_from(entry: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> Layer:
    pool = entry["max_pool"]
    return Layer(
        name=entry["name"],
        sources=tuple(
            from_entry(Source, source, weight=arrays[f"weight_{index}_{number}"])
            for number, source in enumerate(entry["sources"])
        ),
        bias=arrays[f"bias_{index}"],
        threshold=arrays.get(f"threshold_{index}"),
        fraction_bits=entry["fraction_bits"],
        shift=entry["shift"],
        bits=entry["bits"],
        max_pool=None if pool is None else from_entry(MaxPool, pool),
        start=entry["start"],
        strict=entry["strict"],
    )


def _layer_of_version_1(entry: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> Layer:
    """Version 1 had chains of layers with one stride and padding for both axes."""
    source = Source(
        weight=arrays[f"weight_{index}"],
        map=index - 1 if index else INPUT,
        stride=(entry["stride"],) * 2,
        padding=(entry["padding"],) * 4,
        pool=tuple(entry["pool"]),
    )
    return Layer(
        name=entry["name"],
        sources=(source,),
        bias=arrays[f"bias_{index}"],
        threshold=arrays.get(f"threshold_{index}"),
        fraction_bits=entry["fraction_bits"],
    )


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
