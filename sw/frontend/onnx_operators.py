"""What the operators of ONNX become in the graph of operators, opset by opset."""

from collections.abc import Callable
from typing import Any

import numpy as np

from residuum.sw.frontend import operators, supported
from residuum.sw.frontend.onnx_nodes import Handler, Node, Reader, pair

HANDLERS: dict[str, Handler] = {}


def _handles(*names: str) -> Callable[[Handler], Handler]:
    """The decorated function handles the operators with these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


# ---------------------------------------------------------------------------------------------
# Linear operators.


@_handles("Conv")
def _conv(reader: Reader, node: Node) -> None:
    reader.need_map(node)
    weight = reader.weight(node, 1)
    bias = reader.constant(node, 2, "bias")
    groups, channels = int(node.get("group", 1)), reader.shapes[node.inputs[0]][1]
    if weight.ndim != 4 or weight.shape[1] * groups != channels:
        raise node.refused(
            f"has weights of the shape {weight.shape} for {channels} channels in {groups} "
            "groups; the file is damaged"
        )
    window = reader.window(node, weight.shape[2:])
    reader.add(
        operators.convolution(
            *node.label,
            node.inputs[0],
            weight,
            bias,
            groups=groups,
            output=node.outputs[0],
            **window,
        )
    )


@_handles("Gemm")
def _gemm(reader: Reader, node: Node) -> None:
    """alpha A B + beta C; C may be a map of its own."""
    if node.get("transA", 0):
        raise node.refused("transposes the map (transA); transpose the weights instead")
    weight = reader.weight(node, 1) * node.get("alpha", 1.0)
    weight = weight if node.get("transB", 0) else weight.T
    beta, third, output = node.get("beta", 1.0), reader.given(node, 2), node.outputs[0]
    if third in reader.shapes:
        inner = f"{output}'"
        reader.add(operators.linear(*node.label, node.inputs[0], weight, output=inner))
        _affine(reader, node, third, gain=beta, output=f"{third}'{output}")
        reader.add(operators.add(*node.label, inner, f"{third}'{output}", output=output))
        return
    bias = reader.constants[third].astype(np.float64) * beta if third else None
    if bias is not None:
        rows = np.broadcast_to(bias, (bias.shape[0] if bias.ndim == 2 else 1, len(weight)))
        if (rows != rows[0]).any():
            raise node.refused("adds other numbers to each image of a batch; use one row")
        bias = rows[0].copy()
    reader.add(operators.linear(*node.label, node.inputs[0], weight, bias, output=output))


@_handles("MatMul")
def _matmul(reader: Reader, node: Node) -> None:
    weight = reader.weight(node, 1)
    if weight.ndim != 2:
        raise node.refused(f"has weights of {weight.ndim} dimensions; use a matrix")
    reader.add(operators.linear(*node.label, node.inputs[0], weight.T, output=node.outputs[0]))


@_handles("BatchNormalization")
def _batch_normalization(reader: Reader, node: Node) -> None:
    if node.get("training_mode", 0) or not node.get("spatial", 1):
        raise node.refused("normalises by the images at hand; export the model in eval mode")
    gamma, beta, mean, variance = (reader.weight(node, index) for index in range(1, 5))
    if not (variance + node.get("epsilon", 1e-5) > 0).all():
        raise node.refused("has a variance below 0; the file is damaged")
    reader.add(
        operators.batch_norm(
            *node.label,
            node.inputs[0],
            mean=mean,
            variance=variance,
            gamma=gamma,
            beta=beta,
            epsilon=node.get("epsilon", 1e-5),
            output=node.outputs[0],
        )
    )


# ---------------------------------------------------------------------------------------------
# Arithmetic.


def _affine(
    reader: Reader, node: Node, source: str, gain: Any = 1.0, offset: Any = 0.0, *, output: str = ""
) -> None:
    output = output or node.outputs[0]
    if reader.shapes[source] != reader.shapes.get(output, reader.shapes[source]):
        raise node.refused("repeats a map to fit a larger constant; use equal shapes")
    reader.add(operators.affine(*node.label, source, gain, offset, output=output))


def _two(reader: Reader, node: Node) -> tuple[str, np.ndarray | None, bool]:
    """The first map, the constant, and whether the constant comes first."""
    first, second = node.inputs
    if second in reader.constants:
        return first, reader.constants[second].astype(np.float64), False
    if first in reader.constants:
        return second, reader.constants[first].astype(np.float64), True
    return first, None, False


@_handles("Add", "Sum")
def _addition(reader: Reader, node: Node) -> None:
    """Add and Sum, of any number of terms."""
    maps = [name for name in node.inputs if name in reader.shapes]
    constants = [reader.constants[name] for name in node.inputs if name in reader.constants]
    output = node.outputs[0]
    if len({reader.shapes[name] for name in maps}) > 1:
        shapes = " and ".join(str(reader.shapes[name][1:]) for name in maps)
        raise node.refused(f"adds maps of the shapes {shapes}; they must be equal")
    total = maps[0]
    for number, name in enumerate(maps[1:], start=2):
        inner = output if number == len(maps) and not constants else f"{output}'{number}"
        reader.add(operators.add(*node.label, total, name, output=inner))
        reader.shapes[inner] = reader.shapes[name]
        total = inner
    if constants or len(maps) == 1:
        offset = sum((c.astype(np.float64) for c in constants), np.zeros(()))
        _affine(reader, node, total, offset=offset)


@_handles("Sub")
def _subtraction(reader: Reader, node: Node) -> None:
    source, constant, first = _two(reader, node)
    if constant is not None:
        offset = constant if first else -constant
        _affine(reader, node, source, -1.0 if first else 1.0, offset)
        return
    minus = f"{node.outputs[0]}'"
    _affine(reader, node, node.inputs[1], -1.0, output=minus)
    reader.shapes[minus] = reader.shapes[node.inputs[1]]
    reader.add(operators.add(*node.label, source, minus, output=node.outputs[0]))


@_handles("Mul", "Div")
def _product(reader: Reader, node: Node) -> None:
    source, constant, first = _two(reader, node)
    if constant is None or (first and node.op == "Div"):
        gates = {op.output: op.inputs[0] for op in reader.operators if op.label == "Sigmoid"}
        silu = any(gates.get(a) == b for a, b in (node.inputs, node.inputs[::-1]))
        raise node.refused_as(supported.ACTIVATION if silu else supported.PRODUCT)
    if node.op == "Div":
        if not constant.all():
            raise node.refused("divides by 0; the file is damaged")
        constant = 1 / constant
    _affine(reader, node, source, constant)


@_handles("Neg")
def _negative(reader: Reader, node: Node) -> None:
    _affine(reader, node, node.inputs[0], -1.0)


# ---------------------------------------------------------------------------------------------
# Activations.


@_handles("Relu")
def _relu(reader: Reader, node: Node) -> None:
    reader.add(operators.clip(*node.label, node.inputs[0], output=node.outputs[0]))


@_handles("Clip")
def _clip(reader: Reader, node: Node) -> None:
    bounds = []
    for index, key in ((1, "min"), (2, "max")):
        value = reader.constant(node, index, key)
        bounds.append(node.get(key, None) if value is None else float(value.ravel()[0]))
    lower, upper = bounds
    if lower != 0:
        raise node.refused_as(supported.CLIPPING)
    # Attributes have the largest float in place of infinity.
    open_end = upper is None or upper >= float(np.finfo(np.float32).max)
    reader.add(
        operators.clip(
            *node.label,
            node.inputs[0],
            np.inf if open_end else upper,
            output=node.outputs[0],
        )
    )


@_handles("Max")
def _maximum(reader: Reader, node: Node) -> None:
    """Maximum of a map and 0: a ReLU."""
    if len(node.inputs) != 2:
        raise node.refused("compares more than two maps; use ReLU")
    source, constant, _ = _two(reader, node)
    if constant is None:
        raise node.refused("takes the maximum of two maps, which no layer does; use a sum")
    if constant.any():
        raise node.refused_as(supported.CLIPPING)
    reader.add(operators.clip(*node.label, source, output=node.outputs[0]))


# ---------------------------------------------------------------------------------------------
# Pooling.


@_handles("MaxPool")
def _max_pool(reader: Reader, node: Node) -> None:
    reader.need_map(node)
    if any(node.outputs[1:]):
        raise node.refused("returns the places of the maxima; only its maxima can be used")
    kernel = pair(node["kernel_shape"])
    reader.add(
        operators.max_pool(
            *node.label,
            node.inputs[0],
            kernel=kernel,
            ceil_mode=bool(node.get("ceil_mode", 0)),
            output=node.outputs[0],
            **reader.window(node, kernel),
        )
    )


@_handles("AveragePool")
def _average_pool(reader: Reader, node: Node) -> None:
    reader.need_map(node)
    kernel = pair(node["kernel_shape"])
    window = reader.window(node, kernel)
    if window.pop("dilation") != (1, 1):
        raise node.refused("is dilated; use a convolution")
    reader.add(
        operators.average_pool(
            *node.label,
            node.inputs[0],
            kernel=kernel,
            ceil_mode=bool(node.get("ceil_mode", 0)),
            count_include_pad=bool(node.get("count_include_pad", 0)),
            output=node.outputs[0],
            **window,
        )
    )


@_handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(reader: Reader, node: Node) -> None:
    reader.need_map(node)
    reader.add(
        operators.adaptive_pool(
            *node.label,
            node.inputs[0],
            (1, 1),
            maximum=node.op == "GlobalMaxPool",
            output=node.outputs[0],
        )
    )


@_handles("ReduceMean")
def _reduce_mean(reader: Reader, node: Node) -> None:
    axes = reader.numbers(node, "axes", 1, "axes")
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return _identity(reader, node)
        axes = [0]
    axes = sorted(reader.axis(node, axis) for axis in axes)
    reader.add(
        operators.mean(
            *node.label,
            node.inputs[0],
            axes,
            keep=bool(node.get("keepdims", 1)),
            output=node.outputs[0],
        )
    )


# ---------------------------------------------------------------------------------------------
# Order and shape.


@_handles("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(reader: Reader, node: Node) -> None:
    """Every operator that changes nothing but the shape."""
    shape = reader.shapes[node.outputs[0]][1:]
    reader.add(operators.reshape(*node.label, node.inputs[0], shape, output=node.outputs[0]))


@_handles("Transpose")
def _transpose(reader: Reader, node: Node) -> None:
    rank = len(reader.shapes[node.inputs[0]])
    axes = [int(axis) for axis in node.get("perm", range(rank)[::-1])]
    if axes[0]:
        raise node.refused("moves the batch; it must stay the first axis")
    reader.add(operators.transpose(*node.label, node.inputs[0], axes, output=node.outputs[0]))


@_handles("Concat")
def _concat(reader: Reader, node: Node) -> None:
    """Maps, or one map between zeros, which are padding."""
    maps = [index for index, name in enumerate(node.inputs) if name in reader.shapes]
    shape = reader.shapes[node.inputs[maps[0]]]
    axis = int(node["axis"])
    axis += len(shape) if axis < 0 else 0
    if not axis:
        raise node.refused("works on the batch; it must leave the batch alone")
    label, output = node.label, node.outputs[0]
    if len(maps) == len(node.inputs):
        reader.add(operators.concat(*label, node.inputs, axis, output=output))
        return
    sizes = [0, 0]
    for index, name in enumerate(node.inputs):
        if index in maps[:1]:
            continue
        if name not in reader.constants or reader.constants[name].any():
            raise node.refused("appends constants to a map; only zeros can be appended")
        sizes[index > maps[0]] += reader.constants[name].shape[axis]
    sides = [(0, 0)] * (len(shape) - 1)
    sides[axis - 1] = (sizes[0], sizes[1])
    reader.add(operators.pad(*label, node.inputs[maps[0]], sides, output=output))


@_handles("Slice")
def _slice(reader: Reader, node: Node) -> None:
    starts = reader.numbers(node, "starts", 1, "starts") or []
    ends = reader.numbers(node, "ends", 2, "ends") or []
    axes = reader.numbers(node, "axes", 3, "axes") or list(range(len(starts)))
    steps = reader.numbers(node, "steps", 4, "steps") or [1] * len(starts)
    _slices(reader, node, list(zip(axes, starts, ends, steps, strict=True)))


def _slices(reader: Reader, node: Node, cuts: list[tuple[int, int, int, int]]) -> None:
    """Slices (axis, start, end, step) one after another."""
    name, output = node.inputs[0], node.outputs[0]
    shape = reader.shapes[name]
    for number, (axis, start, end, step) in enumerate(cuts):
        axis += len(shape) if axis < 0 else 0
        inner = output if number == len(cuts) - 1 else f"{output}'{axis}"
        if step < 1:
            raise node.refused(f"has the step {step}; it must go forward")
        if not axis:
            if range(shape[0])[start:end:step] != range(shape[0]):
                raise node.refused("cuts the batch; it must leave the batch alone")
            reader.add(operators.identity(*node.label, name, output=inner))
        else:
            first, last, _ = slice(start, end).indices(shape[axis])
            reader.add(operators.slices(*node.label, name, axis, first, last, step, output=inner))
        name = inner


@_handles("Split")
def _split(reader: Reader, node: Node) -> None:
    axis = reader.axis(node, int(node.get("axis", 0)))
    start = 0
    for output in node.outputs:
        end = start + reader.shapes[output][axis]
        reader.add(operators.slices(*node.label, node.inputs[0], axis, start, end, output=output))
        start = end


@_handles("Pad")
def _pad(reader: Reader, node: Node) -> None:
    shape = reader.shapes[node.inputs[0]]
    pads = reader.numbers(node, "pads", 1, "pads") or []
    axes = reader.numbers(node, "axes", 3, "axes") or list(range(len(shape)))
    value = reader.constant(node, 2, "value")
    number = node.get("value", 0.0) if value is None else float(value.ravel()[0])
    sides = [(0, 0)] * len(shape)
    for index, axis in enumerate(axes):
        sides[axis] = pads[index], pads[index + len(axes)]
    if any(sides[0]):
        raise node.refused("pads the batch; it must leave the batch alone")
    if any(map(any, sides)) and (number or node.get("mode", "constant") != "constant"):
        raise node.refused_as(supported.PADDING)
    reader.add(operators.pad(*node.label, node.inputs[0], sides[1:], output=node.outputs[0]))


@_handles("Dropout")
def _dropout(reader: Reader, node: Node) -> None:
    training = reader.constant(node, 2, "mode")
    if training is not None and training.any():
        raise node.refused("drops numbers at random; export the model in eval mode")
    _identity(reader, node)


@_handles("Identity")
def _identity(reader: Reader, node: Node) -> None:
    reader.add(operators.identity(*node.label, node.inputs[0], output=node.outputs[0]))


@_handles("Cast")
def _cast(reader: Reader, node: Node) -> None:
    kinds = reader.onnx.TensorProto
    if node["to"] not in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16):
        raise node.refused("rounds numbers to integers; leave the rounding to the import")
    _identity(reader, node)


@_handles("Softmax", "LogSoftmax", "Sigmoid")
def _final(reader: Reader, node: Node) -> None:
    reader.add(operators.final(*node.label, node.inputs[0], output=node.outputs[0]))
