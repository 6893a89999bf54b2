"""Windows of pooling operators, as PyTorch and ONNX count them, and averages as matrices."""

from __future__ import annotations

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend.operators import Operator
from residuum.sw.network.graph import MaxPool, Pair, Shape, Sides


def window_counts(operator: Operator, shape: Shape) -> Pair:
    """Windows of a pooling operator along both axes, as PyTorch counts them."""
    attributes = operator.attributes
    counts = []
    for axis in range(2):
        size, kernel, step = shape[axis + 1], attributes["kernel"][axis], attributes["stride"][axis]
        before, after = attributes["padding"][2 * axis : 2 * axis + 2]
        kernel = attributes.get("dilation", (1, 1))[axis] * (kernel - 1) + 1
        rest = size + before + after - kernel
        count = rest // step + 1
        if attributes["ceil_mode"] and rest % step and count * step < size + before:
            # The last window must start inside the map or the padding in front of it.
            count += 1
        counts.append(count)
    if min(counts) < 1:
        raise ResiduumError(
            f"{operator} has a window larger than its {shape[1]} x {shape[2]} input; use a larger "
            "input shape"
        )
    return counts[0], counts[1]


def max_pool_of(shape: Shape, kernel: Pair, stride: Pair, padding: Sides, counts: Pair) -> MaxPool:
    """Max-pooling with so many windows: what ceil mode adds becomes padding."""
    sides = []
    for axis in range(2):
        before = padding[2 * axis]
        after = stride[axis] * (counts[axis] - 1) + kernel[axis] - shape[axis + 1] - before
        sides += [before, max(0, after)]
    return MaxPool(kernel, stride, (sides[0], sides[1], sides[2], sides[3]))


def averages(size: int, window: int, step: int, count: int) -> np.ndarray:
    """Matrix (count, size) of averages over windows inside."""
    result = np.zeros((count, size))
    for row in range(count):
        result[row, step * row : step * row + window] = 1 / window
    return result


def adaptive(size: int, count: int) -> np.ndarray:
    """Matrix (count, size) of adaptive average pooling: window i from floor(i size / count) to
    ceil((i + 1) size / count)."""
    result = np.zeros((count, size))
    for row in range(count):
        start, end = row * size // count, -(-(row + 1) * size // count)
        result[row, start:end] = 1 / (end - start)
    return result


def unequal(operator: Operator, shape: Shape, counts: Pair) -> list[np.ndarray]:
    """Matrices of an average pooling whose windows have different divisors."""
    attributes = operator.attributes
    matrices = []
    for axis in range(2):
        size, window, step = shape[axis + 1], attributes["kernel"][axis], attributes["stride"][axis]
        before, after = attributes["padding"][2 * axis : 2 * axis + 2]
        result = np.zeros((counts[axis], size))
        for row in range(counts[axis]):
            start = step * row - before
            end = min(start + window, size + after)
            if attributes["count_include_pad"]:
                divisor = end - start
            else:
                divisor = min(end, size) - max(start, 0)
            result[row, max(start, 0) : min(end, size)] = 1 / divisor
        matrices.append(result)
    return matrices
