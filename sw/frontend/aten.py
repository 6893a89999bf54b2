"""The ATen graph of torch.export as a graph of operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import operators as op
from residuum.sw.frontend import supported
from residuum.sw.frontend.operators import Operator, OperatorGraph
from residuum.sw.network.graph import Shape


def operators_of(
    program: torch.export.ExportedProgram, *, name: str, input_shape: Shape
) -> OperatorGraph:
    """The operators of an exported program.

    Raises ``ResiduumError`` if it takes or returns something else than one picture and one value
    per class.
    """
    return _Walk(program, name, input_shape).graph()


class _Walk:
    """One walk over an ATen graph.

    A node is a constant (a tensor that does not depend on the image), a value of the graph, or a
    tuple of values.
    """

    def __init__(
        self, program: torch.export.ExportedProgram, name: str, input_shape: Shape
    ) -> None:
        self.program = program
        self.name = name
        self.input_shape = input_shape
        self.constants: dict[str, Any] = {}
        # Names of values: the nodes that wrote them, after changes in place.
        self.values: dict[str, str | list[str]] = {}
        self.result: list[Operator] = []
        self.node: Any = None
        # Values that share memory with another, for changes in place.
        self.memory: dict[str, str] = {}

    def graph(self) -> OperatorGraph:
        image = self._placeholders()
        self._calls(self.program.graph)
        (last,) = (node for node in self.program.graph.nodes if node.op == "output")
        self.node = last
        output = self._output(last)
        return OperatorGraph(self.name, self.input_shape, image, output, tuple(self.result))

    def _placeholders(self) -> str:
        signature = self.program.graph_signature
        tensors = {**self.program.state_dict, **self.program.constants}
        images = []
        for spec in signature.input_specs:
            name = getattr(spec.arg, "name", "")
            if spec.target is not None:
                self.constants[name] = tensors[spec.target]
            elif spec.kind == torch.export.graph_signature.InputKind.USER_INPUT:
                images.append(name)
        if len(images) != 1:
            raise ResiduumError(
                f"model {self.name!r} takes {len(images)} inputs; it must take one batch of "
                "pictures"
            )
        (image,) = images
        (node,) = (n for n in self.program.graph.nodes if n.name == image)
        value = node.meta.get("val")
        shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
        if shape != self.input_shape:
            raise ResiduumError(
                f"model {self.name!r} takes pictures of the shape {tuple(map(str, shape))}, not "
                f"{self.input_shape}"
            )
        self.batch = value.shape[0]
        self.values[image] = image
        self.memory[image] = image
        return image

    def _output(self, node: Any) -> str:
        returned = [
            each
            for each in node.args[0]
            if each is not None and not self._is_mutation(getattr(each, "name", ""))
        ]
        if len(returned) != 1 or returned[0].name not in self.values:
            raise ResiduumError(
                f"model {self.name!r} returns {len(returned)} values; it must return one number "
                "per class, which follows from the image"
            )
        value = self.values[returned[0].name]
        assert isinstance(value, str)
        return value

    def _is_mutation(self, name: str) -> bool:
        kind = torch.export.graph_signature.OutputKind.USER_OUTPUT
        return any(
            getattr(spec.arg, "name", "") == name and spec.kind != kind
            for spec in self.program.graph_signature.output_specs
        )

    def _calls(self, graph: Any) -> None:
        for node in graph.nodes:
            self.node = node
            if node.op == "call_function":
                self._call(node)

    # -- one node -------------------------------------------------------------------------------

    def _call(self, node: Any) -> None:
        if _operator_name(node.target).startswith("wrap_with_"):
            self._inline(node)
            return
        arguments = list(node.all_input_nodes)
        if all(each.name in self.constants for each in arguments) and "out" not in node.kwargs:
            self._fold(node)
            return
        target = node.target
        if getattr(target, "__name__", "") == "getitem":
            self._item(node)
            return
        name = _operator_name(target)
        in_place = name.endswith("_") and not name.startswith("__")
        name = name.rstrip("_")
        read = [each for each in arguments if each.name in self.values]
        key = self._refusal(name)
        handler = None if key else HANDLERS.get(name)
        if handler is None:
            key = key or supported.refusal_of_torch(name)
            names = [self.values[each.name] for each in read]
            output: str | list[str] = self.emit(
                op.refused, [name for name in names if isinstance(name, str)], key
            )
        else:
            self._check_batch(node)
            output = handler(self, node)
        self.values[node.name] = output
        source = read[0] if read else None
        shares = source is not None and (in_place or name in _VIEWS)
        self.memory[node.name] = self.memory[source.name] if shares and source else node.name
        if in_place and source is not None:
            self._changed(source.name, node.name, output)

    def _inline(self, node: Any) -> None:
        """A block under ``torch.no_grad()`` or ``torch.autocast``, which has a graph of its own."""
        first, inner = next(
            (number, getattr(self.program.graph_module, str(argument.target)))
            for number, argument in enumerate(node.args)
            if isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
        )
        for each in inner.graph.nodes:
            each._rename(f"{node.name}_{each.name}")
        places = (each for each in inner.graph.nodes if each.op == "placeholder")
        for place, argument in zip(places, node.args[first + 1 :], strict=True):
            if self.is_value(argument):
                self.values[place.name] = self.values[argument.name]
                self.memory[place.name] = self.memory[argument.name]
            else:
                self.constants[place.name] = self.constants[argument.name]
        self._calls(inner.graph)
        self.node = node
        (last,) = (each for each in inner.graph.nodes if each.op == "output")
        self.values[node.name] = [self.value(each) for each in last.args[0]]
        self.memory[node.name] = node.name

    def _item(self, node: Any) -> None:
        whole, number = node.args
        outputs = self.values[whole.name]
        self.memory[node.name] = self.memory[whole.name]
        if isinstance(outputs, list) and number < len(outputs):
            self.values[node.name] = outputs[number]
        else:
            # The positions of maxima, for example.
            values = outputs if isinstance(outputs, list) else [outputs]
            self.values[node.name] = self.emit(op.refused, values[:1], supported.DATA)

    def _refusal(self, name: str) -> str:
        """Key of the refusal of the module that an operator stands in, or ""."""
        _, kind = self._stack()
        if kind.startswith("torch.ao.nn.") or "quantize" in name:
            return supported.QUANTISED
        return _REFUSED_MODULES.get(kind.rpartition(".")[2], "")

    def _changed(self, name: str, by: str, output: str | list[str]) -> None:
        """After a change in place the old name means the new value."""
        memory = self.memory[name]
        old = self.values[name]
        later = _later_reads(self.node)
        for other, value in list(self.values.items()):
            if other == by or self.memory[other] != memory:
                continue
            if value == old:
                self.values[other] = output
            elif other in later:
                raise ResiduumError(
                    f"{self._place()!r} ({self._label()}) changes {other} in place through another "
                    "view of it; leave out inplace=True"
                )

    def _fold(self, node: Any) -> None:
        """Constants of constants."""
        arguments = torch.fx.node.map_arg(node.args, lambda n: self.constants[n.name])
        keywords = torch.fx.node.map_arg(node.kwargs, lambda n: self.constants[n.name])
        if _operator_name(node.target).startswith("_assert") or node.target is torch._assert:
            return
        with torch.no_grad():
            self.constants[node.name] = node.target(*arguments, **keywords)

    def _check_batch(self, node: Any) -> None:
        value = node.meta.get("val")
        values = value if isinstance(value, list | tuple) else [value]
        for each in values:
            if isinstance(each, Tensor) and (
                not each.ndim or str(each.shape[0]) != str(self.batch)
            ):
                raise ResiduumError(
                    f"{self._place()!r} ({self._label()}) mixes the pictures of a batch or drops "
                    "the batch axis; keep the first axis, as in x.flatten(1)"
                )

    # -- help for handlers ----------------------------------------------------------------------

    def value(self, node: Any) -> str:
        value = self.values[node.name]
        if not isinstance(value, str):
            raise ResiduumError(f"{self._place()!r} ({self._label()}) reads several values at once")
        return value

    def is_value(self, argument: Any) -> bool:
        """Whether an argument depends on the image."""
        return isinstance(argument, torch.fx.Node) and argument.name not in self.constants

    def constant(self, argument: Any) -> Any:
        """A constant argument: tensors as float64 arrays."""
        if isinstance(argument, torch.fx.Node):
            argument = self.constants[argument.name]
        if isinstance(argument, Tensor):
            return argument.detach().to(torch.float64).cpu().numpy()
        return argument

    def arguments(self, node: Any, defaults: Sequence[tuple[str, Any]]) -> list[Any]:
        """Positional and keyword arguments by name, with defaults."""
        values = list(node.args) + [None] * (len(defaults) - len(node.args))
        for number, (name, default) in enumerate(defaults):
            if number >= len(node.args):
                values[number] = node.kwargs.get(name, default)
        return values

    def shape(self, node: Any) -> tuple[int, ...]:
        """Shape of a node's value, without the batch."""
        return tuple(int(size) for size in node.meta["val"].shape[1:])

    def axis(self, node: Any, axis: int) -> int:
        return axis % node.meta["val"].ndim

    def emit(
        self, make: Callable[..., Operator], *args: Any, suffix: str = "", **kwargs: Any
    ) -> str:
        """Add an operator for the node at hand; its output is named after the node."""
        output = f"{self.node.name}{suffix}"
        # A value that was changed in place keeps its node's name, so names of values are unique.
        self.result.append(make(self._place(), self._label(), *args, output=output, **kwargs))
        return output

    def _stack(self) -> tuple[str, str]:
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "")
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        return path, kind

    def _place(self) -> str:
        """The path of a module of torch, or the path of the user's module and the node's name."""
        path, kind = self._stack()
        if kind.startswith("torch.nn.modules") and "container" not in kind and path:
            return path
        return f"{path}/{self.node.name}" if path else self.node.name

    def _label(self) -> str:
        _, kind = self._stack()
        if kind.startswith("torch.nn.modules") and "container" not in kind:
            return kind.rpartition(".")[2]
        return _operator_name(self.node.target).rstrip("_")


def _later_reads(node: Any) -> set[str]:
    """Names of all nodes that are read behind a node."""
    names: set[str] = set()
    node = node.next
    while node.op != "root":
        names.update(each.name for each in node.all_input_nodes)
        node = node.next
    return names


def _operator_name(target: Any) -> str:
    """Such as "conv2d" for aten.conv2d.default."""
    name = getattr(target, "_opname", None) or getattr(target, "__name__", str(target))
    return str(name).split(".")[0]


# Modules of torch that consist of many operators.
_REFUSED_MODULES = {
    "LocalResponseNorm": supported.NORMALISATION,
    "MultiheadAttention": supported.ATTENTION,
    **dict.fromkeys(("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell"), supported.RECURRENCE),
}

Handler = Callable[[_Walk, Any], str | list[str]]
HANDLERS: dict[str, Handler] = {}
# Operators whose result may share memory with their input.
_VIEWS = {
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose"),
    *("slice", "select", "split", "split_with_sizes", "chunk", "contiguous", "alias", "dropout"),
    *("feature_dropout", "alpha_dropout", "detach", "to", "narrow", "view_as", "movedim", "t"),
}


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = list(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _sides(value: Any) -> tuple[int, int, int, int]:
    rows, columns = _pair(value)
    return rows, rows, columns, columns


@_handles("conv2d", "convolution")
def _conv2d(walk: _Walk, node: Any) -> str:
    names = [("input", None), ("weight", None), ("bias", None), ("stride", 1), ("padding", 0)]
    names += [("dilation", 1)]
    transposed = False
    if _operator_name(node.target) == "convolution":
        names += [("transposed", False), ("output_padding", 0), ("groups", 1)]
        x, weight, bias, stride, padding, dilation, transposed, _, groups = walk.arguments(
            node, names
        )
    else:
        x, weight, bias, stride, padding, dilation, groups = walk.arguments(
            node, [*names, ("groups", 1)]
        )
    if walk.is_value(weight) or not walk.is_value(x):
        return walk.emit(op.refused, [walk.value(x)], supported.PRODUCT)
    kernel = walk.constant(weight)
    if kernel.ndim != 4:
        return walk.emit(op.refused, [walk.value(x)], supported.DIMENSIONS)
    if transposed:
        return walk.emit(op.refused, [walk.value(x)], supported.RESAMPLING)
    dilation = _pair(dilation)
    if padding == "valid":
        padding = 0
    if padding == "same":
        # PyTorch puts the odd position behind the map.
        total = [d * (k - 1) for d, k in zip(dilation, kernel.shape[2:], strict=True)]
        sides = (total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)
    else:
        sides = _sides(padding)
    return walk.emit(
        op.convolution,
        walk.value(x),
        kernel,
        walk.constant(bias),
        stride=_pair(stride),
        padding=sides,
        dilation=dilation,
        groups=groups,
    )


@_handles("linear")
def _linear(walk: _Walk, node: Any) -> str:
    x, weight, bias = walk.arguments(node, [("input", None), ("weight", None), ("bias", None)])
    if walk.is_value(weight) or not walk.is_value(x):
        return walk.emit(op.refused, [walk.value(x)], supported.PRODUCT)
    return walk.emit(op.linear, walk.value(x), walk.constant(weight), walk.constant(bias))


@_handles("addmm")
def _addmm(walk: _Walk, node: Any) -> str:
    bias, x, weight = node.args[:3]
    if walk.is_value(weight) or walk.is_value(bias) or not walk.is_value(x) or node.kwargs:
        return walk.emit(op.refused, [walk.value(x)], supported.PRODUCT)
    return walk.emit(op.linear, walk.value(x), walk.constant(weight).T, walk.constant(bias))


@_handles("mm", "matmul")
def _matmul(walk: _Walk, node: Any) -> str:
    x, weight = node.args[:2]
    if not walk.is_value(x) or walk.is_value(weight):
        values = [walk.value(each) for each in (x, weight) if walk.is_value(each)]
        return walk.emit(op.refused, values, supported.ATTENTION)
    matrix = walk.constant(weight)
    if matrix.ndim != 2:
        return walk.emit(op.refused, [walk.value(x)], "")
    return walk.emit(op.linear, walk.value(x), matrix.T)


@_handles("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(walk: _Walk, node: Any) -> str | list[str]:
    legit = _operator_name(node.target) != "batch_norm"
    names = ["input", "weight", "bias", "running_mean", "running_var"]
    names += ["momentum", "eps"] if legit else ["training", "momentum", "eps"]
    values = walk.arguments(node, [(name, None) for name in names])
    x, gamma, beta, mean, variance = values[:5]
    training = False if legit else values[5]
    if training or mean is None or variance is None:
        return walk.emit(op.refused, [walk.value(x)], supported.NORMALISATION)
    output = walk.emit(
        op.batch_norm,
        walk.value(x),
        mean=walk.constant(mean),
        variance=walk.constant(variance),
        gamma=1.0 if gamma is None else walk.constant(gamma),
        beta=0.0 if beta is None else walk.constant(beta),
        epsilon=float(values[len(names) - 1]),
    )
    return [output] if legit else output


@_handles("relu")
def _relu(walk: _Walk, node: Any) -> str:
    return walk.emit(op.clip, walk.value(node.args[0]))


@_handles("relu6")
def _relu6(walk: _Walk, node: Any) -> str:
    return walk.emit(op.clip, walk.value(node.args[0]), 6.0)


@_handles("hardtanh", "clamp", "clip", "clamp_min")
def _clamp(walk: _Walk, node: Any) -> str:
    default = (-1.0, 1.0) if _operator_name(node.target).startswith("hardtanh") else (None, None)
    x, low, high = walk.arguments(node, [("input", None), ("min", default[0]), ("max", default[1])])
    if walk.is_value(low) or walk.is_value(high):
        return walk.emit(op.refused, [walk.value(x)], supported.CLIPPING)
    low, high = walk.constant(low), walk.constant(high)
    if low is None or np.any(low != 0) or np.size(high) != 1:
        return walk.emit(op.refused, [walk.value(x)], supported.CLIPPING)
    return walk.emit(op.clip, walk.value(x), math.inf if high is None else float(np.ravel(high)[0]))


@_handles("maximum", "max")
def _maximum(walk: _Walk, node: Any) -> str | list[str]:
    first, second = (*node.args, None)[:2]
    if not isinstance(second, torch.fx.Node):
        # The maximum along an axis, and its positions.
        return [walk.emit(op.refused, [walk.value(first)], "")]
    values = [each for each in (first, second) if walk.is_value(each)]
    constants = [walk.constant(each) for each in (first, second) if not walk.is_value(each)]
    if len(values) == 1 and not np.any(constants[0]):
        return walk.emit(op.clip, walk.value(values[0]))
    return walk.emit(op.refused, [walk.value(each) for each in values], "")


@_handles("max_pool2d", "max_pool2d_with_indices")
def _max_pool2d(walk: _Walk, node: Any) -> str | list[str]:
    x, kernel, stride, padding, dilation, ceil_mode = walk.arguments(
        node,
        [
            ("input", None),
            ("kernel_size", None),
            ("stride", []),
            ("padding", 0),
            ("dilation", 1),
            ("ceil_mode", False),
        ],
    )
    output = walk.emit(
        op.max_pool,
        walk.value(x),
        kernel=_pair(kernel),
        stride=_pair(stride or kernel),
        padding=_sides(padding),
        dilation=_pair(dilation),
        ceil_mode=ceil_mode,
    )
    return [output] if _operator_name(node.target).endswith("indices") else output


@_handles("avg_pool2d")
def _avg_pool2d(walk: _Walk, node: Any) -> str:
    x, kernel, stride, padding, ceil_mode, include, divisor = walk.arguments(
        node,
        [
            ("input", None),
            ("kernel_size", None),
            ("stride", []),
            ("padding", 0),
            ("ceil_mode", False),
            ("count_include_pad", True),
            ("divisor_override", None),
        ],
    )
    return walk.emit(
        op.average_pool,
        walk.value(x),
        kernel=_pair(kernel),
        stride=_pair(stride or kernel),
        padding=_sides(padding),
        ceil_mode=ceil_mode,
        count_include_pad=include,
        divisor=divisor,
    )


@_handles("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive_pool2d(walk: _Walk, node: Any) -> str | list[str]:
    maximum = "max" in _operator_name(node.target)
    x, size = node.args[:2]
    height, width = walk.shape(x)[1:]
    rows, columns = _pair(size)
    output = walk.emit(
        op.adaptive_pool,
        walk.value(x),
        (height if rows is None else rows, width if columns is None else columns),
        maximum=maximum,
    )
    return [output] if maximum else output


@_handles("mean", "sum")
def _mean(walk: _Walk, node: Any) -> str:
    x, axes, keep = walk.arguments(node, [("input", None), ("dim", None), ("keepdim", False)])
    if axes is None:
        return walk.emit(op.refused, [walk.value(x)], supported.MAP_OUTPUT)
    axes = [axes] if isinstance(axes, int) else list(axes)
    axes = sorted(walk.axis(x, axis) for axis in axes)
    if _operator_name(node.target) == "mean":
        return walk.emit(op.mean, walk.value(x), axes, keep=keep)
    mean = walk.emit(op.mean, walk.value(x), axes, keep=keep, suffix=":mean")
    return walk.emit(op.affine, mean, float(math.prod(walk.shape(x)[axis - 1] for axis in axes)))


@_handles("amax")
def _amax(walk: _Walk, node: Any) -> str:
    x, axes, keep = walk.arguments(node, [("input", None), ("dim", None), ("keepdim", False)])
    axes = [axes] if isinstance(axes, int) else list(axes or [])
    shape = walk.shape(x)
    global_ = len(shape) == 3 and sorted(walk.axis(x, axis) for axis in axes) == [2, 3]
    if not global_:
        return walk.emit(op.refused, [walk.value(x)], "")
    pooled = walk.emit(op.adaptive_pool, walk.value(x), (1, 1), maximum=True, suffix=":pooled")
    return walk.emit(op.reshape, pooled, (shape[0], 1, 1) if keep else (shape[0],))


@_handles("add", "sub", "rsub")
def _add(walk: _Walk, node: Any) -> str:
    first, second, alpha = walk.arguments(node, [("input", None), ("other", None), ("alpha", 1)])
    kind = _operator_name(node.target).rstrip("_")
    signs = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[kind]
    parts = list(zip((first, second), signs, strict=True))
    values = [part for part in parts if walk.is_value(part[0])]
    if len(values) == 1:
        ((value, gain),) = values
        ((other, sign),) = [part for part in parts if part is not values[0]]
        return walk.emit(op.affine, walk.value(value), gain, walk.constant(other) * sign)
    names = []
    for number, (value, sign) in enumerate(values):
        name = walk.value(value)
        if sign != 1:
            name = walk.emit(op.affine, name, sign, suffix=f":{number}")
        names.append(name)
    return walk.emit(op.add, *names)


@_handles("mul")
def _mul(walk: _Walk, node: Any) -> str:
    first, second = node.args[:2]
    values = [each for each in (first, second) if walk.is_value(each)]
    if len(values) == 2:
        return walk.emit(op.refused, [walk.value(each) for each in values], supported.PRODUCT)
    (constant,) = (each for each in (first, second) if not walk.is_value(each))
    return walk.emit(op.affine, walk.value(values[0]), walk.constant(constant))


@_handles("div")
def _div(walk: _Walk, node: Any) -> str:
    first, second = node.args[:2]
    if walk.is_value(second) or node.kwargs.get("rounding_mode"):
        values = [walk.value(each) for each in (first, second) if walk.is_value(each)]
        return walk.emit(op.refused, values, supported.PRODUCT)
    return walk.emit(op.affine, walk.value(first), 1 / np.asarray(walk.constant(second), float))


@_handles("neg")
def _neg(walk: _Walk, node: Any) -> str:
    return walk.emit(op.affine, walk.value(node.args[0]), -1.0)


@_handles("cat", "concat", "concatenate")
def _cat(walk: _Walk, node: Any) -> str:
    tensors, axis = walk.arguments(node, [("tensors", None), ("dim", 0)])
    axis = walk.axis(node, axis)
    values = [walk.value(each) for each in tensors if walk.is_value(each)]
    constants = [walk.constant(each) for each in tensors if not walk.is_value(each)]
    if not constants:
        return walk.emit(op.concat, values, axis)
    before = [not walk.is_value(each) for each in tensors].index(False)
    if len(values) > 1 or any(np.any(constant) for constant in constants):
        return walk.emit(op.refused, values, "")
    # Zeros beside a map are padding.
    sizes = [each.shape[axis] for each in constants]
    sides = [(0, 0)] * (node.meta["val"].ndim - 1)
    sides[axis - 1] = sum(sizes[:before]), sum(sizes[before:])
    return walk.emit(op.pad, values[0], sides)


@_handles(
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view"),
    *("view_as", "reshape_as"),
)
def _reshape(walk: _Walk, node: Any) -> str:
    return walk.emit(op.reshape, walk.value(node.args[0]), walk.shape(node))


@_handles("permute")
def _permute(walk: _Walk, node: Any) -> str:
    x, axes = node.args
    return _transposed(walk, x, [walk.axis(x, axis) for axis in axes])


@_handles("transpose", "swapaxes", "t")
def _transpose(walk: _Walk, node: Any) -> str:
    x = node.args[0]
    axes = list(range(x.meta["val"].ndim))
    first, second = (walk.axis(x, axis) for axis in (node.args[1:] or (0, 1)))
    axes[first], axes[second] = axes[second], axes[first]
    return _transposed(walk, x, axes)


def _transposed(walk: _Walk, x: Any, axes: list[int]) -> str:
    if axes[0] != 0:
        return walk.emit(op.refused, [walk.value(x)], supported.LAYOUT)
    return walk.emit(op.transpose, walk.value(x), axes)


@_handles("slice")
def _slice(walk: _Walk, node: Any) -> str:
    x, axis, start, stop, step = walk.arguments(
        node, [("input", None), ("dim", 0), ("start", None), ("end", None), ("step", 1)]
    )
    axis = walk.axis(x, axis)
    size = walk.shape(x)[axis - 1] if axis else 0
    if not axis:
        return walk.emit(op.identity, walk.value(x))
    stop = size if stop is None else min(stop, size)
    return walk.emit(op.slices, walk.value(x), axis, start or 0, stop, step)


@_handles("narrow")
def _narrow(walk: _Walk, node: Any) -> str:
    x, axis, start, length = node.args
    return walk.emit(op.slices, walk.value(x), walk.axis(x, axis), start, start + length)


@_handles("select")
def _select(walk: _Walk, node: Any) -> str:
    x, axis, index = node.args
    axis = walk.axis(x, axis)
    if not axis:
        return walk.emit(op.refused, [walk.value(x)], supported.DATA)
    index %= walk.shape(x)[axis - 1]
    part = walk.emit(op.slices, walk.value(x), axis, index, index + 1, suffix=":part")
    return walk.emit(op.reshape, part, walk.shape(node))


@_handles("split", "split_with_sizes", "chunk")
def _split(walk: _Walk, node: Any) -> list[str]:
    x = node.args[0]
    axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    axis = walk.axis(x, axis)
    outputs = []
    start = 0
    for number, part in enumerate(node.meta["val"]):
        stop = start + int(part.shape[axis])
        outputs.append(walk.emit(op.slices, walk.value(x), axis, start, stop, suffix=f":{number}"))
        start = stop
    return outputs


@_handles("pad", "constant_pad_nd", "zero_pad2d", "_pad_enum")
def _pad(walk: _Walk, node: Any) -> str:
    x, widths, *rest = node.args
    name = _operator_name(node.target)
    mode = rest[0] if name == "pad" and rest else node.kwargs.get("mode", "constant")
    value = rest[-1] if rest and not isinstance(rest[-1], str) else node.kwargs.get("value", 0)
    rank = x.meta["val"].ndim
    sides = [(0, 0)] * rank
    for number in range(len(widths) // 2):
        sides[rank - 1 - number] = widths[2 * number], widths[2 * number + 1]
    if mode != "constant" or value or sides[0] != (0, 0):
        return walk.emit(op.refused, [walk.value(x)], supported.PADDING)
    return walk.emit(op.pad, walk.value(x), sides[1:])


@_handles(
    *("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "contiguous"),
    *("clone", "alias", "detach", "lift_fresh_copy", "to", "_to_copy"),
)
def _identity(walk: _Walk, node: Any) -> str:
    x = node.args[0]
    training = "dropout" in _operator_name(node.target) and node.args[2:3] == (True,)
    if training and node.args[1]:
        return walk.emit(op.refused, [walk.value(x)], supported.DATA)
    value = node.meta.get("val")
    if isinstance(value, Tensor) and not value.is_floating_point():
        return walk.emit(op.refused, [walk.value(x)], "")
    return walk.emit(op.identity, walk.value(x))


@_handles("softmax", "_softmax", "log_softmax", "_log_softmax", "sigmoid")
def _final(walk: _Walk, node: Any) -> str:
    return walk.emit(op.final, walk.value(node.args[0]))
