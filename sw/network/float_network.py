"""The float network with BatchNorm folded into its layers, the input of the conversion.

It does not depend on a training framework.
"""

import io
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

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
    whole,
)

FORMAT = "residuum float network"
FORMAT_VERSION = 2
_MAX_LEVELS = 1 << 16


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """One or two sources, added up, and an activation or a firing neuron per position.

    Attributes
    ----------
    sources
        Their weights are float64 (out_channels, in_channels / groups, kernel_h, kernel_w).
    bias
        float64 (out_channels,).
    threshold
        theta = lambda > 0, one for the layer: the largest value of the activation, and the worth of
        a spike. ``math.inf`` for a plain ReLU, whose range is not known yet. None for the output
        layer, which has no neuron.
    max_pool
        Maximum over windows of the activations; None: no pooling.
    start
        Start potential of a spiking neuron: "half" of the threshold, or "zero".
    strict
        Whether a spiking neuron fires at v > theta only, instead of v >= theta.
    """

    name: str
    sources: tuple[Source, ...]
    bias: np.ndarray
    threshold: float | None
    max_pool: MaxPool | None = None
    start: str = HALF
    strict: bool = False

    @property
    def source(self) -> Source:
        """The first source."""
        return self.sources[0]

    @property
    def out_channels(self) -> int:
        return self.sources[0].out_channels


@dataclass(frozen=True, eq=False)
class FloatNetwork(Graph[FloatLayer]):
    """The layers in topological order, as a graph.

    Attributes
    ----------
    input_shape
        (C, H, W) of the pictures, which enter as u/255, or of the spike trains.
    levels
        L of the QCFS activations; None: activations are not rounded.
    input
        "image" or "spikes".
    pad
        Border around the picture; its pixel is a value u/255.
    class_names
        One per class, or empty.
    preprocessing
        How a picture becomes the input; None: it has the size and the channels already.
    metadata
        Text only: where the network came from.

    Raises
    ------
    ResiduumError
        Names the first fault.
    """

    name: str
    input_shape: Shape
    layers: tuple[FloatLayer, ...]
    levels: int | None
    input: str = IMAGE
    pad: Pad | None = None
    class_names: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if fault := _fault(self):
            raise ResiduumError(fault)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network atomically to one .npz file.

        Weights and biases are float32, their precision in training; thresholds keep all digits. The
        arrays are ``bias_0``, ``weight_0_0``, ... (layer, source) and ``header``, a JSON text.
        Raises ``ResiduumError`` if the file cannot be written.
        """
        path = Path(path)
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "input": self.input,
            "pad": as_entry(self.pad),
            "levels": self.levels,
            "class_names": list(self.class_names),
            "preprocessing": as_entry(self.preprocessing),
            "metadata": self.metadata,
            "layers": [_entry_of(layer) for layer in self.layers],
        }
        arrays = {"header": np.array(json.dumps(header))}
        for index, layer in enumerate(self.layers):
            for number, source in enumerate(layer.sources):
                arrays[f"weight_{index}_{number}"] = source.weight.astype(np.float32)
            arrays[f"bias_{index}"] = layer.bias.astype(np.float32)
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_whole(path, content.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FloatNetwork":
        """Read a file that ``save`` wrote, as float64.

        Raises ``ResiduumError`` if the file is missing, damaged, of another format or version.
        """
        path = Path(path)
        header, arrays = read_archive(path, FORMAT, what="a float network of Residuum")
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
            return cls(
                name=header["name"],
                input_shape=tuple(header["input_shape"]),
                layers=layers,
                levels=header["levels"],
                input=header.get("input", IMAGE),
                pad=_optional(Pad, header.get("pad")),
                class_names=tuple(header.get("class_names", ())),
                preprocessing=_optional(Preprocessing, header.get("preprocessing")),
                metadata=dict(header.get("metadata", {})),
            )
        except ResiduumError as error:
            raise ResiduumError(f"{path} holds a network that cannot be: {error}") from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ResiduumError(f"{path} is damaged: parts of the network are missing") from None


def _optional(kind: Any, entry: Any) -> Any:
    return None if entry is None else from_entry(kind, entry)


def _entry_of(layer: FloatLayer) -> dict[str, Any]:
    # JSON has no infinity.
    threshold = "inf" if layer.threshold == math.inf else layer.threshold
    return {
        "name": layer.name,
        "threshold": threshold,
        "sources": [as_entry(source) for source in layer.sources],
        "max_pool": as_entry(layer.max_pool),
        "start": layer.start,
        "strict": layer.strict,
    }


def _layer_from(entry: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> FloatLayer:
    threshold = entry["threshold"]
    return FloatLayer(
        name=entry["name"],
        sources=tuple(
            from_entry(Source, source, weight=_float64(arrays[f"weight_{index}_{number}"]))
            for number, source in enumerate(entry["sources"])
        ),
        bias=_float64(arrays[f"bias_{index}"]),
        threshold=math.inf if threshold == "inf" else threshold,
        max_pool=_optional(MaxPool, entry["max_pool"]),
        start=entry["start"],
        strict=entry["strict"],
    )


def _layer_of_version_1(
    entry: dict[str, Any], index: int, arrays: dict[str, np.ndarray]
) -> FloatLayer:
    """Version 1 had chains of layers with one stride and padding for both axes."""
    source = Source(
        weight=_float64(arrays[f"weight_{index}"]),
        map=index - 1 if index else INPUT,
        stride=(entry["stride"],) * 2,
        padding=(entry["padding"],) * 4,
        pool=(entry["pool"][0], entry["pool"][1]),
    )
    return FloatLayer(
        name=entry["name"],
        sources=(source,),
        bias=_float64(arrays[f"bias_{index}"]),
        threshold=entry["threshold"],
    )


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _fault(network: FloatNetwork) -> str | None:
    """The first fault of a network, as a sentence, or None."""
    if not isinstance(network.name, str) or not network.name:
        return "the network has no name"
    where = f"network {network.name!r}"
    if network.levels is not None and not whole(network.levels, 1, _MAX_LEVELS):
        return f"{where} has {network.levels!r} levels; it must be a number from 1 on"
    check_input(
        where,
        input_shape=network.input_shape,
        kind=network.input,
        pad=network.pad,
        preprocessing=network.preprocessing,
    )
    for layer in network.layers:
        if fault := _fault_of_layer(layer):
            return fault
    outputs = [layer.threshold is None for layer in network.layers]
    check_graph(where, network.layers, outputs, network.padded_shape)
    return fault_of_texts(where, network.class_names, network.classes, network.metadata)


def _fault_of_layer(layer: FloatLayer) -> str | None:
    if not isinstance(layer.name, str) or not layer.name:
        return "a layer has no name"
    where = f"layer {layer.name!r}"
    check_layer(where, layer.sources, layer.max_pool)
    if layer.bias.shape != (layer.out_channels,):
        return f"{where} has {layer.out_channels} channels and a bias of {layer.bias.shape}"
    for array in (*(source.weight for source in layer.sources), layer.bias):
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            return f"{where} has a weight or bias that is not a finite number"
    if layer.threshold is not None and not layer.threshold > 0:
        return f"{where} has the threshold {layer.threshold!r}; it must be positive"
    if layer.threshold is None and layer.max_pool is not None:
        return f"{where} is the output layer and must not have max-pooling"
    if layer.start not in (HALF, ZERO) or not isinstance(layer.strict, bool):
        return f"{where} has the start potential {layer.start!r}; it must be {HALF!r} or {ZERO!r}"
    return None


def fold_batchnorm(
    weight: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a convolution equal to convolution followed by BatchNorm.

    ``w' = w * gamma / sqrt(variance + epsilon)``, ``b' = beta - mean * gamma / sqrt(...)``.
    ``weight`` is (out, in, kh, kw) without a bias; the others are (out,).
    """
    gain = gamma / np.sqrt(variance + epsilon)
    return weight * gain[:, None, None, None], beta - mean * gain
