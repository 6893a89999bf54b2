"""Float networks from ONNX models: first a graph of operators, which `lowering` makes a network.

Opsets 7 to 20. The batch is fixed to what the file says, or to 1. Every shape is then known before
the run: node by node, what depends on constants and shapes only is computed with ONNX's reference
implementation, and what depends on the image becomes an operator. Nodes that the output does not
depend on are ignored.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file, told
from residuum.sw.frontend import operators, supported
from residuum.sw.frontend.extras import need
from residuum.sw.frontend.lowering import lower
from residuum.sw.frontend.operators import Operator, OperatorGraph
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import Pair, Preprocessing, Shape, Sides

OPSETS = range(7, 21)
# Larger constants never decide a shape.
_SHAPE_NUMBERS = 64
_PURPOSE = "to read and write ONNX files"
# Key of a node's metadata under which torch.onnx.export notes the modules that the node is part of.
_SCOPES = "pkg.torch.onnx.name_scopes"
# Keys of a model's metadata that tell where it came from.
_ORIGIN = ("author", "license", "license_url")


def import_onnx(
    path: str | os.PathLike[str],
    *,
    input_shape: Shape | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    name: str = "",
    metadata: Mapping[str, str] | None = None,
) -> FloatNetwork:
    """The float network of an ONNX file.

    Parameters
    ----------
    input_shape
        (C, H, W) of the pictures: needed if the file leaves its sizes open, or takes the picture
        in another shape of as many numbers, such as a vector.
    preprocessing
        Scale, mean and std of the numbers that the model wants; None: u/255.
    name
        Name of the network; "": the name of the file.

    Raises
    ------
    ResiduumError
        If the file cannot be read, or naming the node and operator that cannot be taken, and what
        to use in its place.
    """
    path = Path(path)
    model = _load(path)
    graph = _graph(path, model, input_shape)
    texts = {
        "source": path.name,
        "source sha256": digest_of_file(path),
        "opset": str(_opset(path, model)),
        **{entry.key: entry.value for entry in model.metadata_props if entry.key in _ORIGIN},
        **(metadata or {}),
    }
    return lower(
        replace(graph, name=name or graph.name),
        preprocessing=preprocessing,
        class_names=class_names,
        metadata=texts,
    )


def read_onnx(path: str | os.PathLike[str], *, input_shape: Shape | None = None) -> OperatorGraph:
    """The graph of operators of an ONNX file; parameters and errors as `import_onnx`."""
    path = Path(path)
    return _graph(path, _load(path), input_shape)


def _graph(path: Path, model: Any, input_shape: Shape | None) -> OperatorGraph:
    version = _opset(path, model)
    source, target = _ends(path, model.graph)
    return _Reader(path, model.graph, version, source, target).read(input_shape)


def need_onnx(module: str = "onnx") -> Any:
    """The package or one of its modules; ``ResiduumError`` if the extra is not installed."""
    return need(module, extra="onnx", purpose=_PURPOSE)


def _load(path: Path) -> Any:
    onnx = need_onnx()
    with told(path, "read"):
        if not path.exists():
            raise ResiduumError(f"there is no file {path}")
        content = path.read_bytes()
    try:
        model = onnx.load_from_string(content)
    except Exception:
        # The errors of protobuf are not public names.
        model = None
    if model is None or not model.graph.node:
        raise ResiduumError(f"{path} is not an ONNX model, or it is damaged")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise ResiduumError(
            f"{path} keeps its weights in other files, which cannot be read ({_line(error)}); put "
            "them beside it"
        ) from None
    if model.functions:
        model = need_onnx("onnx.inliner").inline_local_functions(model)
    return model


def _line(error: Exception) -> str:
    """The first line of a message, without the kinds of errors in front and a full stop."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.rsplit("Error] ", 1)[-1].rstrip(".")


def _opset(path: Path, model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    version = versions[0] if versions else 1
    if version not in OPSETS:
        raise ResiduumError(
            f"{path} has opset {version}; export it with opset {OPSETS[0]} to {OPSETS[-1]}, or "
            "convert it with onnx.version_converter"
        )
    return int(version)


def _ends(path: Path, graph: Any) -> tuple[Any, str]:
    """The image and the name of the output."""
    constants = {tensor.name for tensor in graph.initializer}
    sources = [value for value in graph.input if value.name not in constants]
    for what, values in (("inputs", sources), ("outputs", graph.output)):
        if len(values) != 1:
            names = ", ".join(repr(value.name) for value in values) or "none"
            raise ResiduumError(
                f"{path} has {len(values)} {what} ({names}); a network has one image and one "
                "number per class: export the classifier alone"
            )
    return sources[0], str(graph.output[0].name)


@dataclass(frozen=True)
class _Node:
    """A node in Python's types; an input that is left out has the name ""."""

    proto: Any
    name: str
    op: str
    attributes: dict[str, Any]

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.proto.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.proto.output)

    def rename(self, name: str, new: str) -> None:
        """Read the value ``new`` in place of ``name``."""
        self.proto.input[:] = [new if each == name else each for each in self.proto.input]

    @property
    def where(self) -> str:
        return f"{self.name!r} ({self.op})"

    def __getitem__(self, key: str) -> Any:
        return self.attributes[key]

    def get(self, key: str, default: Any) -> Any:
        return self.attributes.get(key, default)

    def refused(self, why: str) -> ResiduumError:
        return ResiduumError(f"{self.where} {why}")

    def refused_as(self, key: str) -> ResiduumError:
        """With reason and cure of the tables in `supported`."""
        return ResiduumError(supported.refusal_sentence(self.where, key))


class _Reader:
    """Follows the nodes of one graph in their order."""

    def __init__(self, path: Path, graph: Any, version: int, source: Any, target: str) -> None:
        self._onnx: ModuleType = need_onnx()
        self._path = path
        self._version = version
        self._source, self._target = source, target
        self._nodes = self._needed(self._named(graph.node))
        self._constants = self._arrays(graph.initializer)
        # Shapes of what depends on the image, with the batch.
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._operators: list[Operator] = []
        self._batch = 1

    def read(self, input_shape: Shape | None) -> OperatorGraph:
        name = str(self._source.name)
        shape = self._image(name, input_shape)
        for node in self._nodes:
            self._step(node)
        if self._target not in self._shapes:
            raise ResiduumError(f"{self._path} has an output that does not depend on the image")
        return OperatorGraph(self._path.stem, shape, name, self._target, tuple(self._operators))

    # Structure ------------------------------------------------------------------------------

    def _named(self, protos: Sequence[Any]) -> list[_Node]:
        value = self._onnx.helper.get_attribute_value
        nodes = []
        for proto in protos:
            attributes = {}
            for entry in proto.attribute:
                content = value(entry)
                text = isinstance(content, bytes)
                attributes[entry.name] = content.decode(errors="replace") if text else content
            domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
            nodes.append(_Node(proto, _name(proto), f"{domain}{proto.op_type}", attributes))
        return nodes

    def _arrays(self, tensors: Sequence[Any]) -> dict[str, np.ndarray]:
        """The initializers that the nodes read."""
        read = {name for node in self._nodes for name in node.inputs}
        arrays = {}
        for tensor in tensors:
            if tensor.name in read:
                try:
                    arrays[str(tensor.name)] = self._onnx.numpy_helper.to_array(tensor)
                except Exception:
                    # Wrong types, sizes and numbers raise many kinds of exceptions.
                    raise ResiduumError(
                        f"{self._path} has the damaged constant {tensor.name!r}; export it again"
                    ) from None
        return arrays

    def _needed(self, nodes: list[_Node]) -> list[_Node]:
        """Those that the output depends on."""
        wanted = {self._target}
        needed = []
        for node in reversed(nodes):
            if wanted & set(node.outputs):
                needed.append(node)
                wanted |= set(node.inputs)
        return needed[::-1]

    def _image(self, name: str, given: Shape | None) -> Shape:
        """Notes the shape of the image, and brings it into the shape that the model takes."""
        tensor = self._source.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
        if not tensor.HasField("shape") or len(sizes) < 2:
            raise ResiduumError(
                f"{self._path} has the input {name!r} of the shape {sizes}; it must be (N, C, H, W)"
            )
        self._batch = sizes[0] or 1
        taken = tuple(sizes[1:])
        if not all(taken):
            if given is None or len(taken) != 3:
                raise ResiduumError(
                    f"{self._path} leaves the size of its input {name!r} open; say which size the "
                    "pictures have"
                )
            if any(size not in (0, g) for size, g in zip(taken, given, strict=True)):
                raise ResiduumError(f"{self._path} does not take images of the shape {given}")
            taken = given
        self._shapes[name] = (self._batch, *taken)
        if len(taken) == 3 and given in (None, taken):
            return self._channels_first(name, taken)
        return self._reshaped(name, taken, given)

    def _channels_first(self, name: str, taken: Shape) -> Shape:
        """Images of models that begin with a transpose from (H, W, C) enter behind it."""
        readers = [node for node in self._nodes if name in node.inputs]
        if [node.op for node in readers] == ["Transpose"] and readers[0].get("perm", []) == [
            *(0, 3, 1, 2)
        ]:
            height, width, channels = taken
            shape = channels, height, width
            self._nodes.remove(readers[0])
            (output,) = readers[0].outputs
            self._shapes[output] = (self._batch, *shape)
            self._operators.append(
                operators.identity(*self._label(readers[0]), name, output=output)
            )
            return shape
        return taken

    def _reshaped(self, name: str, taken: tuple[int, ...], given: Shape | None) -> Shape:
        """The image for a model that takes a vector, or a map without channels."""
        shape = given or ((1, *taken) if len(taken) == 2 else (*taken, 1, 1))
        if len(shape) != 3 or np.prod(shape) != np.prod(taken):
            raise ResiduumError(
                f"{self._path} takes {taken}, which is no image of the shape {shape}"
            )
        inner = f"{name}'"
        for node in self._nodes:
            node.rename(name, inner)
        self._shapes[inner] = (self._batch, *taken)
        self._operators.append(operators.reshape(name, "input", name, taken, output=inner))
        return shape[0], shape[1], shape[2]

    # One node -------------------------------------------------------------------------------

    def _step(self, node: _Node) -> None:
        for name in filter(None, node.inputs):
            if name not in self._constants and name not in self._shapes:
                raise node.refused(
                    f"reads {name!r}, which no node before it writes; {self._path} is damaged"
                )
        moving = [name for name in node.inputs if name in self._shapes]
        if node.op in ("Shape", "Size"):
            self._take_shape(node)
        elif not moving and not node.op.startswith("Random"):
            self._fold(node)
        else:
            handler = _HANDLERS.get(node.op)
            if handler is None:
                raise node.refused_as(supported.refusal_of_onnx(node.op))
            self._infer(node)
            try:
                handler(self, node)
            except (TypeError, ValueError, KeyError, IndexError):
                raise node.refused(
                    "has attributes or constants of a wrong type or size; the file is damaged"
                ) from None

    def _take_shape(self, node: _Node) -> None:
        (name,) = node.inputs
        known = self._shapes.get(name)
        shape = known if known is not None else self._constants[name].shape
        if node.op == "Size":
            self._constants[node.outputs[0]] = np.array(np.prod(shape), np.int64)
        else:
            part = shape[node.get("start", 0) : node.get("end", len(shape))]
            self._constants[node.outputs[0]] = np.array(part, np.int64)

    def _fold(self, node: _Node) -> None:
        """Computes a node whose inputs are constants."""
        helper, feeds = self._onnx.helper, {x: self._constants[x] for x in node.inputs if x}
        try:
            evaluator = need_onnx("onnx.reference").ReferenceEvaluator(
                helper.make_model(
                    helper.make_graph(
                        [node.proto],
                        "fold",
                        [self._info(name, value) for name, value in feeds.items()],
                        [helper.make_empty_tensor_value_info(name) for name in node.outputs],
                    ),
                    opset_imports=[helper.make_opsetid("", self._version)],
                )
            )
            values = evaluator.run(None, feeds)
        except Exception:
            # The reference implementation raises many kinds of exceptions.
            raise node.refused(
                "computes with constants, but ONNX's reference implementation cannot run it; fold "
                "it before the import, for example with onnxsim"
            ) from None
        self._constants |= {
            name: np.asarray(value) for name, value in zip(node.outputs, values, strict=True)
        }

    def _info(self, name: str, value: np.ndarray) -> Any:
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, value.shape)

    def _infer(self, node: _Node) -> None:
        """Shapes of the outputs, by ONNX's own inference on this node alone."""
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        inputs, constants = [], []
        for name in dict.fromkeys(filter(None, node.inputs)):
            value = self._constants.get(name)
            if value is None or np.issubdtype(value.dtype, np.floating):
                # Precisions may differ: the network has one.
                shape = self._shapes[name] if value is None else value.shape
                inputs.append(helper.make_tensor_value_info(name, float32, shape))
            else:
                inputs.append(self._info(name, value))
                if value.size <= _SHAPE_NUMBERS:
                    constants.append(self._onnx.numpy_helper.from_array(value, name))
        names = [name for name in node.outputs if name]
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
        model = helper.make_model(
            helper.make_graph([node.proto], "infer", inputs, outputs, constants),
            opset_imports=[helper.make_opsetid("", self._version)],
        )
        try:
            inferred = self._onnx.shape_inference.infer_shapes(model, strict_mode=True)
        except Exception as error:
            raise node.refused(f"does not fit its inputs: {_line(error)}") from None
        for value in inferred.graph.output:
            dims = value.type.tensor_type.shape.dim
            self._shapes[value.name] = tuple(dim.dim_value for dim in dims)
        shape = self._shapes[names[0]]
        if not shape or not all(shape):
            raise node.refused("has an output whose shape is not known before the run")
        if shape[0] != self._batch:
            raise node.refused(
                f"makes the shape {shape} of a batch of {self._batch}; the batch must stay the "
                "first axis"
            )

    # What handlers need ---------------------------------------------------------------------

    def _label(self, node: _Node) -> tuple[str, str]:
        return node.name, node.op

    def _add(self, operator: Operator) -> None:
        self._operators.append(operator)

    def _given(self, node: _Node, index: int) -> str:
        """Name of an input, "" if it is left out."""
        return node.inputs[index] if index < len(node.inputs) else ""

    def _constant(self, node: _Node, index: int, what: str) -> np.ndarray | None:
        """An input that must be constant; None if it is left out."""
        name = self._given(node, index)
        if not name:
            return None
        if name not in self._constants:
            raise node.refused(f"computes its {what} from the image; it must be constant")
        return self._constants[name]

    def _weight(self, node: _Node, index: int) -> np.ndarray:
        """A weight; a product of two maps is refused."""
        name = self._given(node, index)
        if name not in self._constants:
            raise node.refused_as(supported.PRODUCT)
        return self._constants[name].astype(np.float64)

    def _numbers(self, node: _Node, attribute: str, index: int, what: str) -> list[int] | None:
        """A list that is an attribute in old opsets and an input in new ones."""
        if attribute in node.attributes:
            return [int(number) for number in node[attribute]]
        values = self._constant(node, index, what)
        return None if values is None else [int(number) for number in values.ravel()]

    def _axis(self, node: _Node, axis: int) -> int:
        """An axis from 1 on."""
        rank = len(self._shapes[node.inputs[0]])
        axis += rank if axis < 0 else 0
        if not 1 <= axis < rank:
            raise node.refused("works on the batch; it must leave the batch alone")
        return axis

    def _need_map(self, node: _Node) -> Pair:
        """(h, w) of the input; one or three axes are refused."""
        shape = self._shapes[node.inputs[0]]
        if len(shape) != 4:
            raise node.refused_as(supported.DIMENSIONS)
        return shape[2], shape[3]

    def _padding(self, node: _Node, kernel: Pair, stride: Pair, dilation: Pair) -> Sides:
        """(top, bottom, left, right) of a window, with ``auto_pad``."""
        mode = node.get("auto_pad", "NOTSET")
        if mode in ("NOTSET", ""):
            top, left, bottom, right = node.get("pads", (0, 0, 0, 0))
            return int(top), int(bottom), int(left), int(right)
        if mode == "VALID":
            return 0, 0, 0, 0
        sides = []
        for axis, size in enumerate(self._need_map(node)):
            windows = -(-size // stride[axis])
            reach = (windows - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
            total = max(reach - size, 0)
            less, more = total // 2, total - total // 2
            sides += [less, more] if mode == "SAME_UPPER" else [more, less]
        return sides[0], sides[1], sides[2], sides[3]

    def _window(self, node: _Node, kernel: Sequence[int]) -> dict[str, Any]:
        """stride, padding and dilation."""
        stride, dilation = _pair(node.get("strides", (1, 1))), _pair(node.get("dilations", (1, 1)))
        padding = self._padding(node, _pair(kernel), stride, dilation)
        return {"stride": stride, "dilation": dilation, "padding": padding}

    # Linear operators -----------------------------------------------------------------------

    def conv(self, node: _Node) -> None:
        self._need_map(node)
        weight = self._weight(node, 1)
        bias = self._constant(node, 2, "bias")
        groups, channels = int(node.get("group", 1)), self._shapes[node.inputs[0]][1]
        if weight.ndim != 4 or weight.shape[1] * groups != channels:
            raise node.refused(
                f"has weights of the shape {weight.shape} for {channels} channels in {groups} "
                "groups; the file is damaged"
            )
        window = self._window(node, weight.shape[2:])
        self._add(
            operators.convolution(
                *self._label(node),
                node.inputs[0],
                weight,
                bias,
                groups=groups,
                output=node.outputs[0],
                **window,
            )
        )

    def gemm(self, node: _Node) -> None:
        """alpha A B + beta C; C may be a map of its own."""
        if node.get("transA", 0):
            raise node.refused("transposes the map (transA); transpose the weights instead")
        weight = self._weight(node, 1) * node.get("alpha", 1.0)
        weight = weight if node.get("transB", 0) else weight.T
        beta, third, output = node.get("beta", 1.0), self._given(node, 2), node.outputs[0]
        if third in self._shapes:
            inner = f"{output}'"
            self._add(operators.linear(*self._label(node), node.inputs[0], weight, output=inner))
            self._affine(node, third, gain=beta, output=f"{third}'{output}")
            self._add(operators.add(*self._label(node), inner, f"{third}'{output}", output=output))
            return
        bias = self._constants[third].astype(np.float64) * beta if third else None
        if bias is not None:
            rows = np.broadcast_to(bias, (bias.shape[0] if bias.ndim == 2 else 1, len(weight)))
            if (rows != rows[0]).any():
                raise node.refused("adds other numbers to each image of a batch; use one row")
            bias = rows[0].copy()
        self._add(operators.linear(*self._label(node), node.inputs[0], weight, bias, output=output))

    def matmul(self, node: _Node) -> None:
        weight = self._weight(node, 1)
        if weight.ndim != 2:
            raise node.refused(f"has weights of {weight.ndim} dimensions; use a matrix")
        self._add(
            operators.linear(*self._label(node), node.inputs[0], weight.T, output=node.outputs[0])
        )

    def batch_normalization(self, node: _Node) -> None:
        if node.get("training_mode", 0) or not node.get("spatial", 1):
            raise node.refused("normalises by the images at hand; export the model in eval mode")
        gamma, beta, mean, variance = (self._weight(node, index) for index in range(1, 5))
        if not (variance + node.get("epsilon", 1e-5) > 0).all():
            raise node.refused("has a variance below 0; the file is damaged")
        self._add(
            operators.batch_norm(
                *self._label(node),
                node.inputs[0],
                mean=mean,
                variance=variance,
                gamma=gamma,
                beta=beta,
                epsilon=node.get("epsilon", 1e-5),
                output=node.outputs[0],
            )
        )

    # Arithmetic -----------------------------------------------------------------------------

    def _affine(
        self, node: _Node, source: str, gain: Any = 1.0, offset: Any = 0.0, *, output: str = ""
    ) -> None:
        output = output or node.outputs[0]
        if self._shapes[source] != self._shapes.get(output, self._shapes[source]):
            raise node.refused("repeats a map to fit a larger constant; use equal shapes")
        self._add(operators.affine(*self._label(node), source, gain, offset, output=output))

    def _two(self, node: _Node) -> tuple[str, np.ndarray | None, bool]:
        """The first map, the constant, and whether the constant comes first."""
        first, second = node.inputs
        if second in self._constants:
            return first, self._constants[second].astype(np.float64), False
        if first in self._constants:
            return second, self._constants[first].astype(np.float64), True
        return first, None, False

    def addition(self, node: _Node) -> None:
        """Add and Sum, of any number of terms."""
        maps = [name for name in node.inputs if name in self._shapes]
        constants = [self._constants[name] for name in node.inputs if name in self._constants]
        output = node.outputs[0]
        if len({self._shapes[name] for name in maps}) > 1:
            shapes = " and ".join(str(self._shapes[name][1:]) for name in maps)
            raise node.refused(f"adds maps of the shapes {shapes}; they must be equal")
        total = maps[0]
        for number, name in enumerate(maps[1:], start=2):
            inner = output if number == len(maps) and not constants else f"{output}'{number}"
            self._add(operators.add(*self._label(node), total, name, output=inner))
            self._shapes[inner] = self._shapes[name]
            total = inner
        if constants or len(maps) == 1:
            offset = sum((c.astype(np.float64) for c in constants), np.zeros(()))
            self._affine(node, total, offset=offset)

    def subtraction(self, node: _Node) -> None:
        source, constant, first = self._two(node)
        if constant is not None:
            offset = constant if first else -constant
            self._affine(node, source, -1.0 if first else 1.0, offset)
            return
        minus = f"{node.outputs[0]}'"
        self._affine(node, node.inputs[1], -1.0, output=minus)
        self._shapes[minus] = self._shapes[node.inputs[1]]
        self._add(operators.add(*self._label(node), source, minus, output=node.outputs[0]))

    def product(self, node: _Node) -> None:
        source, constant, first = self._two(node)
        if constant is None or (first and node.op == "Div"):
            gates = {op.output: op.inputs[0] for op in self._operators if op.label == "Sigmoid"}
            silu = any(gates.get(a) == b for a, b in (node.inputs, node.inputs[::-1]))
            raise node.refused_as(supported.ACTIVATION if silu else supported.PRODUCT)
        self._affine(node, source, 1 / constant if node.op == "Div" else constant)

    def negative(self, node: _Node) -> None:
        self._affine(node, node.inputs[0], -1.0)

    # Activations ----------------------------------------------------------------------------

    def relu(self, node: _Node) -> None:
        self._add(operators.clip(*self._label(node), node.inputs[0], output=node.outputs[0]))

    def clip(self, node: _Node) -> None:
        bounds = []
        for index, key in ((1, "min"), (2, "max")):
            value = self._constant(node, index, key)
            bounds.append(node.get(key, None) if value is None else float(value.ravel()[0]))
        lower, upper = bounds
        if lower != 0:
            raise node.refused_as(supported.CLIPPING)
        # Attributes have the largest float in place of infinity.
        open_end = upper is None or upper >= float(np.finfo(np.float32).max)
        self._add(
            operators.clip(
                *self._label(node),
                node.inputs[0],
                np.inf if open_end else upper,
                output=node.outputs[0],
            )
        )

    def maximum(self, node: _Node) -> None:
        """Maximum of a map and 0: a ReLU."""
        if len(node.inputs) != 2:
            raise node.refused("compares more than two maps; use ReLU")
        source, constant, _ = self._two(node)
        if constant is None:
            raise node.refused("takes the maximum of two maps, which no layer does; use a sum")
        if constant.any():
            raise node.refused_as(supported.CLIPPING)
        self._add(operators.clip(*self._label(node), source, output=node.outputs[0]))

    # Pooling --------------------------------------------------------------------------------

    def max_pool(self, node: _Node) -> None:
        self._need_map(node)
        if any(node.outputs[1:]):
            raise node.refused("returns the places of the maxima; only its maxima can be used")
        kernel = _pair(node["kernel_shape"])
        self._add(
            operators.max_pool(
                *self._label(node),
                node.inputs[0],
                kernel=kernel,
                ceil_mode=bool(node.get("ceil_mode", 0)),
                output=node.outputs[0],
                **self._window(node, kernel),
            )
        )

    def average_pool(self, node: _Node) -> None:
        self._need_map(node)
        kernel = _pair(node["kernel_shape"])
        window = self._window(node, kernel)
        if window.pop("dilation") != (1, 1):
            raise node.refused("is dilated; use a convolution")
        self._add(
            operators.average_pool(
                *self._label(node),
                node.inputs[0],
                kernel=kernel,
                ceil_mode=bool(node.get("ceil_mode", 0)),
                count_include_pad=bool(node.get("count_include_pad", 0)),
                output=node.outputs[0],
                **window,
            )
        )

    def global_pool(self, node: _Node) -> None:
        self._need_map(node)
        self._add(
            operators.adaptive_pool(
                *self._label(node),
                node.inputs[0],
                (1, 1),
                maximum=node.op == "GlobalMaxPool",
                output=node.outputs[0],
            )
        )

    def reduce_mean(self, node: _Node) -> None:
        axes = self._numbers(node, "axes", 1, "axes")
        if not axes:
            if node.get("noop_with_empty_axes", 0):
                return self.identity(node)
            axes = [0]
        axes = sorted(self._axis(node, axis) for axis in axes)
        self._add(
            operators.mean(
                *self._label(node),
                node.inputs[0],
                axes,
                keep=bool(node.get("keepdims", 1)),
                output=node.outputs[0],
            )
        )

    # Order and shape ------------------------------------------------------------------------

    def reshape(self, node: _Node) -> None:
        """Every operator that changes nothing but the shape."""
        shape = self._shapes[node.outputs[0]][1:]
        self._add(
            operators.reshape(*self._label(node), node.inputs[0], shape, output=node.outputs[0])
        )

    def transpose(self, node: _Node) -> None:
        rank = len(self._shapes[node.inputs[0]])
        axes = [int(axis) for axis in node.get("perm", range(rank)[::-1])]
        if axes[0]:
            raise node.refused("moves the batch; it must stay the first axis")
        self._add(
            operators.transpose(*self._label(node), node.inputs[0], axes, output=node.outputs[0])
        )

    def concat(self, node: _Node) -> None:
        """Maps, or one map between zeros, which are padding."""
        maps = [index for index, name in enumerate(node.inputs) if name in self._shapes]
        shape = self._shapes[node.inputs[maps[0]]]
        axis = int(node["axis"])
        axis += len(shape) if axis < 0 else 0
        if not axis:
            raise node.refused("works on the batch; it must leave the batch alone")
        label, output = self._label(node), node.outputs[0]
        if len(maps) == len(node.inputs):
            self._add(operators.concat(*label, node.inputs, axis, output=output))
            return
        sizes = [0, 0]
        for index, name in enumerate(node.inputs):
            if index in maps[:1]:
                continue
            if name not in self._constants or self._constants[name].any():
                raise node.refused("appends constants to a map; only zeros can be appended")
            sizes[index > maps[0]] += self._constants[name].shape[axis]
        sides = [(0, 0)] * (len(shape) - 1)
        sides[axis - 1] = (sizes[0], sizes[1])
        self._add(operators.pad(*label, node.inputs[maps[0]], sides, output=output))

    def slice(self, node: _Node) -> None:
        starts = self._numbers(node, "starts", 1, "starts") or []
        ends = self._numbers(node, "ends", 2, "ends") or []
        axes = self._numbers(node, "axes", 3, "axes") or list(range(len(starts)))
        steps = self._numbers(node, "steps", 4, "steps") or [1] * len(starts)
        self._slices(node, list(zip(axes, starts, ends, steps, strict=True)))

    def _slices(self, node: _Node, cuts: list[tuple[int, int, int, int]]) -> None:
        """Slices (axis, start, end, step) one after another."""
        name, output = node.inputs[0], node.outputs[0]
        shape = self._shapes[name]
        for number, (axis, start, end, step) in enumerate(cuts):
            axis += len(shape) if axis < 0 else 0
            inner = output if number == len(cuts) - 1 else f"{output}'{axis}"
            if step < 1:
                raise node.refused(f"has the step {step}; it must go forward")
            if not axis:
                if range(shape[0])[start:end:step] != range(shape[0]):
                    raise node.refused("cuts the batch; it must leave the batch alone")
                self._add(operators.identity(*self._label(node), name, output=inner))
            else:
                first, last, _ = slice(start, end).indices(shape[axis])
                self._add(
                    operators.slices(
                        *self._label(node), name, axis, first, last, step, output=inner
                    )
                )
            name = inner

    def split(self, node: _Node) -> None:
        axis = self._axis(node, int(node.get("axis", 0)))
        start = 0
        for output in node.outputs:
            end = start + self._shapes[output][axis]
            self._add(
                operators.slices(
                    *self._label(node), node.inputs[0], axis, start, end, output=output
                )
            )
            start = end

    def pad(self, node: _Node) -> None:
        shape = self._shapes[node.inputs[0]]
        pads = self._numbers(node, "pads", 1, "pads") or []
        axes = self._numbers(node, "axes", 3, "axes") or list(range(len(shape)))
        value = self._constant(node, 2, "value")
        number = node.get("value", 0.0) if value is None else float(value.ravel()[0])
        sides = [(0, 0)] * len(shape)
        for index, axis in enumerate(axes):
            sides[axis] = pads[index], pads[index + len(axes)]
        if any(sides[0]):
            raise node.refused("pads the batch; it must leave the batch alone")
        if any(map(any, sides)) and (number or node.get("mode", "constant") != "constant"):
            raise node.refused_as(supported.PADDING)
        self._add(
            operators.pad(*self._label(node), node.inputs[0], sides[1:], output=node.outputs[0])
        )

    def dropout(self, node: _Node) -> None:
        training = self._constant(node, 2, "mode")
        if training is not None and training.any():
            raise node.refused("drops numbers at random; export the model in eval mode")
        self.identity(node)

    def identity(self, node: _Node) -> None:
        self._add(operators.identity(*self._label(node), node.inputs[0], output=node.outputs[0]))

    def cast(self, node: _Node) -> None:
        kinds = self._onnx.TensorProto
        if node["to"] not in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16):
            raise node.refused("rounds numbers to integers; leave the rounding to the import")
        self.identity(node)

    def final(self, node: _Node) -> None:
        self._add(operators.final(*self._label(node), node.inputs[0], output=node.outputs[0]))


def _name(proto: Any) -> str:
    """The module's path in PyTorch, where its exporter noted it, or the name of the node."""
    for entry in proto.metadata_props:
        if entry.key == _SCOPES:
            # The model, its modules from outside to inside, and the operator.
            scopes = re.findall("'([^']*)'", entry.value)
            if len(scopes) > 1 and scopes[-2]:
                return scopes[-2]
    return proto.name or next(filter(None, proto.output), str(proto.op_type))


def _pair(values: Sequence[int]) -> Pair:
    sizes = [int(value) for value in values]
    return sizes[0], sizes[-1]


_HANDLERS: dict[str, Callable[[_Reader, _Node], None]] = {
    "Conv": _Reader.conv,
    "Gemm": _Reader.gemm,
    "MatMul": _Reader.matmul,
    "BatchNormalization": _Reader.batch_normalization,
    "Add": _Reader.addition,
    "Sum": _Reader.addition,
    "Sub": _Reader.subtraction,
    "Mul": _Reader.product,
    "Div": _Reader.product,
    "Neg": _Reader.negative,
    "Relu": _Reader.relu,
    "Clip": _Reader.clip,
    "Max": _Reader.maximum,
    "MaxPool": _Reader.max_pool,
    "AveragePool": _Reader.average_pool,
    "GlobalAveragePool": _Reader.global_pool,
    "GlobalMaxPool": _Reader.global_pool,
    "ReduceMean": _Reader.reduce_mean,
    "Reshape": _Reader.reshape,
    "Flatten": _Reader.reshape,
    "Squeeze": _Reader.reshape,
    "Unsqueeze": _Reader.reshape,
    "Transpose": _Reader.transpose,
    "Concat": _Reader.concat,
    "Slice": _Reader.slice,
    "Split": _Reader.split,
    "Pad": _Reader.pad,
    "Dropout": _Reader.dropout,
    "Identity": _Reader.identity,
    "Cast": _Reader.cast,
    "Softmax": _Reader.final,
    "LogSoftmax": _Reader.final,
    "Sigmoid": _Reader.final,
}
