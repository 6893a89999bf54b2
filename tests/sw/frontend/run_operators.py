"""Evaluates a graph of operators in torch, one operator at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from residuum.sw.frontend.operators import Operator, OperatorGraph


def run_operators(graph: OperatorGraph, images: Tensor) -> Tensor:
    """The output for images (N, C, H, W)."""
    values = {graph.input: images}
    for operator in graph.operators:
        inputs = [values[name] for name in operator.inputs]
        weights = {
            key: torch.as_tensor(w, dtype=images.dtype) for key, w in operator.weights.items()
        }
        values[operator.output] = _evaluate(operator, inputs, weights)
    return values[graph.output]


def _evaluate(operator: Operator, inputs: list[Tensor], weights: dict[str, Tensor]) -> Tensor:
    x, a = inputs[0], operator.attributes
    match operator.kind:
        case "convolution":
            x = _padded(x, a["padding"], 0.0)
            return F.conv2d(
                x, weights["weight"], weights["bias"], a["stride"], 0, a["dilation"], a["groups"]
            )
        case "linear":
            return F.linear(x, weights["weight"], weights["bias"])
        case "affine":
            gain, offset = weights["gain"], weights["offset"]
            if a["axis"] is not None:
                gain, offset = (
                    w.reshape(-1, *[1] * (x.ndim - 1 - a["axis"])) for w in (gain, offset)
                )
            return x * gain + offset
        case "clip":
            return x.clamp(0, a["upper"])
        case "max_pool":
            x = _padded(x, a["padding"], -torch.inf)
            return F.max_pool2d(
                x, a["kernel"], a["stride"], 0, a["dilation"], ceil_mode=a["ceil_mode"]
            )
        case "average_pool":
            return _average(x, a)
        case "adaptive_average_pool":
            return F.adaptive_avg_pool2d(x, a["size"])
        case "adaptive_max_pool":
            return F.adaptive_max_pool2d(x, a["size"])
        case "mean":
            return x.mean(a["axes"], keepdim=a["keep"])
        case "add":
            return x + inputs[1]
        case "concat":
            return torch.cat(inputs, a["axis"])
        case "reshape":
            return x.reshape(len(x), *a["shape"])
        case "transpose":
            return x.permute(a["axes"])
        case "slice":
            return x[(slice(None),) * a["axis"] + (slice(a["start"], a["stop"], a["step"]),)]
        case "pad":
            return F.pad(x, [size for sides in reversed(a["sides"]) for size in sides])
        case "identity" | "final":
            return x
    raise AssertionError(operator.kind)


def _padded(x: Tensor, padding, value: float) -> Tensor:
    top, bottom, left, right = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def _average(x: Tensor, a) -> Tensor:
    """Without ``ceil_mode``: sums over the number of positions that count."""
    counted = torch.ones_like(x[:1, :1])
    counted = _padded(counted, a["padding"], 1.0 if a["count_include_pad"] else 0.0)
    kernel, stride = a["kernel"], a["stride"]
    assert not a["ceil_mode"]
    sums = F.avg_pool2d(_padded(x, a["padding"], 0.0), kernel, stride, divisor_override=1)
    return sums / F.avg_pool2d(counted, kernel, stride, divisor_override=1)
