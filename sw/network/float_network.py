"""The float network with BatchNorm folded into its layers, the input of the conversion.

It does not depend on a training framework.
"""

import io
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import read_archive, write_whole

FORMAT = "residuum float network"
FORMAT_VERSION = 1
_LAYER_FIELDS = ("name", "threshold", "stride", "padding")


@dataclass(frozen=True)
class FloatLayer:
    """Average pooling, convolution, QCFS or firing neuron.

    Attributes
    ----------
    weight
        float64 (out_channels, in_channels, kernel_h, kernel_w). A dense layer is a convolution
        whose kernel is its whole pooled input map.
    bias
        float64 (out_channels,).
    threshold
        theta = lambda > 0, one for the layer; None for the output layer, which has no neuron.
    pool
        (h, w) of the average-pooling window before the convolution; stride = window, floor mode.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    threshold: float | None
    stride: int = 1
    padding: int = 0
    pool: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class FloatNetwork:
    """The layers in order. Images enter as u/255, shape ``input_shape`` = (C, H, W)."""

    name: str
    input_shape: tuple[int, int, int]
    layers: tuple[FloatLayer, ...]
    levels: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network atomically to one .npz file.

        Weights and biases are float32, their precision in training; thresholds keep all digits.
        The arrays are ``weight_0``, ``bias_0``, ``weight_1``, ... and ``header``, a JSON text.
        Raises ``ResiduumError`` if the file cannot be written.
        """
        path = Path(path)
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "levels": self.levels,
            "layers": [
                {**{key: getattr(layer, key) for key in _LAYER_FIELDS}, "pool": list(layer.pool)}
                for layer in self.layers
            ],
        }
        arrays = {"header": np.array(json.dumps(header))}
        for index, layer in enumerate(self.layers):
            arrays[f"weight_{index}"] = layer.weight.astype(np.float32)
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
        if header.get("version") != FORMAT_VERSION:
            raise ResiduumError(
                f"{path} has format version {header.get('version')!r}, but this program reads "
                f"version {FORMAT_VERSION}"
            )
        try:
            layers = tuple(
                FloatLayer(
                    weight=arrays[f"weight_{index}"].astype(np.float64),
                    bias=arrays[f"bias_{index}"].astype(np.float64),
                    pool=(entry["pool"][0], entry["pool"][1]),
                    **{key: entry[key] for key in _LAYER_FIELDS},
                )
                for index, entry in enumerate(header["layers"])
            )
            channels, height, width = header["input_shape"]
            network = cls(header["name"], (channels, height, width), layers, header["levels"])
            fault = _fault(network)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ResiduumError(f"{path} is damaged: parts of the network are missing") from None
        if fault:
            raise ResiduumError(f"{path} holds a network that cannot be: {fault}")
        return network


def _fault(network: FloatNetwork) -> str | None:
    """The first fault of a network from a file, as a sentence, or None."""
    if not isinstance(network.name, str) or not network.name:
        return "it has no name"
    if not _whole(1, network.levels, *network.input_shape):
        return f"levels {network.levels!r} and input shape {network.input_shape!r} must be numbers"
    if not network.layers:
        return "it has no layer"
    channels, *extents = network.input_shape
    for layer in network.layers:
        where = f"layer {layer.name!r}"
        if not _whole(1, layer.stride, *layer.pool) or not _whole(0, layer.padding):
            return f"{where} has a stride, padding or pool that is no possible number"
        if layer.weight.ndim != 4 or layer.weight.size == 0 or layer.weight.shape[1] != channels:
            return f"{where} has the weight shape {layer.weight.shape} on {channels} input channels"
        if layer.bias.shape != layer.weight.shape[:1]:
            return f"{where} has {len(layer.weight)} channels and a bias of {layer.bias.shape}"
        if not np.isfinite(layer.weight).all() or not np.isfinite(layer.bias).all():
            return f"{where} has a weight or bias that is not a finite number"
        last = layer is network.layers[-1]
        if last != (layer.threshold is None):
            return f"{where} {'is the last and must not have' if last else 'needs'} a threshold"
        if layer.threshold is not None and not 0 < layer.threshold < math.inf:
            return f"{where} has the threshold {layer.threshold!r}; it must be positive"
        channels = len(layer.weight)
        extents = [
            (extent // pool + 2 * layer.padding - kernel) // layer.stride + 1
            for extent, pool, kernel in zip(
                extents, layer.pool, layer.weight.shape[2:], strict=True
            )
        ]
        if min(extents) < 1:
            return f"{where} has a window larger than its input"
    if extents != [1, 1]:
        return f"its last layer has a map of {extents[0]} x {extents[1]}; it must be 1 x 1"
    return None


def _whole(smallest: int, *values: Any) -> bool:
    """Whether all values are integers of at least ``smallest``."""
    return all(
        isinstance(value, int) and not isinstance(value, bool) and value >= smallest
        for value in values
    )


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
