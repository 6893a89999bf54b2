"""A small graph of operators, free of frameworks: what every front end produces.

A front end reads its own format and calls the functions below, one per operator. `lowering` turns
the graph into a float network. An operator has one output, whose name it gives; a value is known by
its name. Axes count as in PyTorch and ONNX, with the batch as axis 0; shapes are given without the
batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from residuum.sw.network.graph import Pair, Shape, Sides

CONVOLUTION = "convolution"
LINEAR = "linear"
AFFINE = "affine"
CLIP = "clip"
MAX_POOL = "max_pool"
ADAPTIVE_MAX_POOL = "adaptive_max_pool"
AVERAGE_POOL = "average_pool"
ADAPTIVE_AVERAGE_POOL = "adaptive_average_pool"
MEAN = "mean"
ADD = "add"
CONCAT = "concat"
RESHAPE = "reshape"
TRANSPOSE = "transpose"
SLICE = "slice"
PAD = "pad"
IDENTITY = "identity"
FINAL = "final"
REFUSED = "refused"
KINDS = (
    *(CONVOLUTION, LINEAR, AFFINE, CLIP, MAX_POOL, ADAPTIVE_MAX_POOL, AVERAGE_POOL),
    *(ADAPTIVE_AVERAGE_POOL, MEAN, ADD, CONCAT, RESHAPE, TRANSPOSE, SLICE, PAD, IDENTITY, FINAL),
    REFUSED,
)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator; made by the functions of this module.

    Attributes
    ----------
    kind
        One of `KINDS`.
    name
        The module's path in the model, or the name of the node: the place in error messages, and
        the name of the layer that the operator becomes.
    label
        The operator in the words of the framework, such as "Conv2d": in error messages.
    inputs
        Names of the values that it reads.
    output
        Name of the value that it writes; by default ``name``.
    attributes, weights
        As the function of the kind has them. Weights are float64.
    """

    kind: str
    name: str
    label: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name!r} ({self.label})"


@dataclass(frozen=True, eq=False)
class OperatorGraph:
    """A model with one image as input and one value as output.

    Attributes
    ----------
    name
        Short name of the model.
    input_shape
        (C, H, W) of the image that the model takes.
    input, output
        Names of the value that the model reads, and of the value that it returns.
    operators
        In topological order. Operators that the output does not depend on are ignored.
    """

    name: str
    input_shape: Shape
    input: str
    output: str
    operators: tuple[Operator, ...]


def convolution(
    name: str,
    label: str,
    source: str,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Sides = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    output: str = "",
) -> Operator:
    """Two-dimensional convolution with zero padding.

    ``weight`` is (out_channels, in_channels / groups, kh, kw), ``bias`` (out_channels,), and
    ``padding`` (top, bottom, left, right).
    """
    weight = _float64(weight)
    weights = {"weight": weight, "bias": _bias(bias, len(weight))}
    attributes = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Operator(CONVOLUTION, name, label, (source,), output or name, attributes, weights)


def linear(
    name: str,
    label: str,
    source: str,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    output: str = "",
) -> Operator:
    """Dense layer over the last axis: ``weight`` is (out_features, in_features)."""
    weight = _float64(weight)
    weights = {"weight": weight, "bias": _bias(bias, len(weight))}
    return Operator(LINEAR, name, label, (source,), output or name, {}, weights)


def affine(
    name: str,
    label: str,
    source: str,
    gain: Any = 1.0,
    offset: Any = 0.0,
    *,
    output: str = "",
) -> Operator:
    """``gain * x + offset``: BatchNorm, and arithmetic with constants.

    ``gain`` and ``offset`` are numbers, or arrays that broadcast against x as in PyTorch: with the
    batch axis or without, (C, 1, 1) for one value per channel. Values of a BatchNorm, (C,), come
    from `batch_norm`.
    """
    weights = {"gain": _float64(gain), "offset": _float64(offset)}
    return Operator(AFFINE, name, label, (source,), output or name, {"axis": None}, weights)


def batch_norm(
    name: str,
    label: str,
    source: str,
    *,
    mean: Any,
    variance: Any,
    gamma: Any = 1.0,
    beta: Any = 0.0,
    epsilon: float,
    output: str = "",
) -> Operator:
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta``, one value per channel (axis 1)."""
    gain = _float64(gamma) / np.sqrt(_float64(variance) + epsilon)
    offset = _float64(beta) - _float64(mean) * gain
    weights = {"gain": np.broadcast_to(gain, offset.shape).copy(), "offset": offset}
    return Operator(AFFINE, name, label, (source,), output or name, {"axis": 1}, weights)


def clip(
    name: str, label: str, source: str, upper: float = math.inf, *, output: str = ""
) -> Operator:
    """``clip(x, 0, upper)``: ReLU, ReLU6. Clips with another lower bound are `refused`."""
    return Operator(CLIP, name, label, (source,), output or name, {"upper": float(upper)})


def max_pool(
    name: str,
    label: str,
    source: str,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Sides = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
    output: str = "",
) -> Operator:
    """Maximum over windows; padding never wins. ``ceil_mode`` as in PyTorch: a window that starts
    inside the map or its upper or left padding counts, even if it reaches beyond."""
    attributes = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
    }
    return Operator(MAX_POOL, name, label, (source,), output or name, attributes)


def average_pool(
    name: str,
    label: str,
    source: str,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Sides = (0, 0, 0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: float | None = None,
    output: str = "",
) -> Operator:
    """Mean over windows; ``divisor`` in place of the number of positions if it is given."""
    attributes = {
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "divisor": divisor,
    }
    return Operator(AVERAGE_POOL, name, label, (source,), output or name, attributes)


def adaptive_pool(
    name: str, label: str, source: str, size: Pair, *, maximum: bool = False, output: str = ""
) -> Operator:
    """Pooling to a map of ``size`` (h, w), as in PyTorch; (1, 1) is global pooling."""
    kind = ADAPTIVE_MAX_POOL if maximum else ADAPTIVE_AVERAGE_POOL
    return Operator(kind, name, label, (source,), output or name, {"size": size})


def mean(
    name: str, label: str, source: str, axes: Sequence[int], *, keep: bool, output: str = ""
) -> Operator:
    """Mean over ``axes`` (from 1 on), which stay with size 1 if ``keep``."""
    attributes = {"axes": tuple(axes), "keep": keep}
    return Operator(MEAN, name, label, (source,), output or name, attributes)


def add(name: str, label: str, first: str, second: str, *, output: str = "") -> Operator:
    """Sum of two values of one shape. A difference is an `affine` of gain -1 and a sum."""
    return Operator(ADD, name, label, (first, second), output or name)


def concat(
    name: str, label: str, sources: Sequence[str], axis: int = 1, *, output: str = ""
) -> Operator:
    """Values one after the other along an axis."""
    return Operator(CONCAT, name, label, tuple(sources), output or name, {"axis": axis})


def reshape(
    name: str, label: str, source: str, shape: Sequence[int], *, output: str = ""
) -> Operator:
    """Flatten, view, squeeze and others: the new shape without the batch; one size may be -1."""
    return Operator(RESHAPE, name, label, (source,), output or name, {"shape": tuple(shape)})


def transpose(
    name: str, label: str, source: str, axes: Sequence[int], *, output: str = ""
) -> Operator:
    """Axis i of the output is axis ``axes[i]`` of the input; the batch stays, ``axes[0]`` is 0."""
    return Operator(TRANSPOSE, name, label, (source,), output or name, {"axes": tuple(axes)})


def slices(
    name: str,
    label: str,
    source: str,
    axis: int,
    start: int,
    stop: int,
    step: int = 1,
    *,
    output: str = "",
) -> Operator:
    """``x[start:stop:step]`` along an axis from 1 on; bounds as in Python, step from 1 on."""
    attributes = {"axis": axis, "start": start, "stop": stop, "step": step}
    return Operator(SLICE, name, label, (source,), output or name, attributes)


def pad(name: str, label: str, source: str, sides: Sequence[Pair], *, output: str = "") -> Operator:
    """Zeros (before, after) each axis, without the batch; negative sides cut."""
    return Operator(PAD, name, label, (source,), output or name, {"sides": tuple(sides)})


def identity(name: str, label: str, source: str, *, output: str = "") -> Operator:
    """Dropout and others that change nothing when the model is used."""
    return Operator(IDENTITY, name, label, (source,), output or name)


def final(name: str, label: str, source: str, *, output: str = "") -> Operator:
    """Softmax and others that keep the order of the classes: dropped at the end of the model, and
    refused elsewhere."""
    return Operator(FINAL, name, label, (source,), output or name)


def refused(
    name: str, label: str, sources: Sequence[str], key: str = "", *, output: str = ""
) -> Operator:
    """An operator that no layer computes; an error if the output depends on it.

    ``key`` is one of `supported.REFUSALS` and gives reason and cure; "": not known.
    """
    return Operator(REFUSED, name, label, tuple(sources), output or name, {"key": key})


def _float64(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _bias(bias: Any, channels: int) -> np.ndarray:
    return np.zeros(channels) if bias is None else _float64(bias)
