"""The nodes of an ONNX graph, one after another: constants, shapes, and what the rest becomes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import operators, supported
from residuum.sw.frontend.extras import need
from residuum.sw.frontend.operators import Operator, OperatorGraph
from residuum.sw.network.graph import Pair, Shape, Sides

# Larger constants never decide a shape.
_SHAPE_NUMBERS = 64
# Key of a node's metadata under which torch.onnx.export notes the modules that the node is part of.
_SCOPES = "pkg.torch.onnx.name_scopes"


def need_onnx(module: str = "onnx") -> Any:
    """The package or one of its modules; ``ResiduumError`` if the extra is not installed."""
    return need(module, extra="onnx", purpose="to read and write ONNX files")


@dataclass(frozen=True)
class Node:
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
    def label(self) -> tuple[str, str]:
        """Name and operator, the first arguments of the functions in `operators`."""
        return self.name, self.op

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


# Adds what a node becomes to the operators of the reader.
Handler = Callable[["Reader", Node], None]


class Reader:
    """Follows the nodes of one graph in their order.

    Attributes
    ----------
    onnx
        The package.
    constants
        Values that do not depend on the image.
    shapes
        Shapes of the values that do, with the batch.
    operators
        What the nodes so far have become.
    """

    def __init__(
        self,
        path: Path,
        graph: Any,
        version: int,
        source: Any,
        target: str,
        handlers: Mapping[str, Handler],
    ) -> None:
        self.onnx = need_onnx()
        self._handlers = handlers
        self._path = path
        self._version = version
        self._source, self._target = source, target
        self._nodes = self._needed(self._named(graph.node))
        self.constants = self._arrays(graph.initializer)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.operators: list[Operator] = []
        self._batch = 1

    def read(self, input_shape: Shape | None) -> OperatorGraph:
        name = str(self._source.name)
        shape = self._image(name, input_shape)
        for node in self._nodes:
            self._step(node)
        if self._target not in self.shapes:
            raise ResiduumError(f"{self._path} has an output that does not depend on the image")
        return OperatorGraph(self._path.stem, shape, name, self._target, tuple(self.operators))

    # Structure ------------------------------------------------------------------------------

    def _named(self, protos: Sequence[Any]) -> list[Node]:
        value = self.onnx.helper.get_attribute_value
        nodes = []
        for proto in protos:
            attributes = {}
            for entry in proto.attribute:
                content = value(entry)
                text = isinstance(content, bytes)
                attributes[entry.name] = content.decode(errors="replace") if text else content
            domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
            nodes.append(Node(proto, _name(proto), f"{domain}{proto.op_type}", attributes))
        return nodes

    def _arrays(self, tensors: Sequence[Any]) -> dict[str, np.ndarray]:
        """The initializers that the nodes read."""
        read = {name for node in self._nodes for name in node.inputs}
        arrays = {}
        for tensor in tensors:
            if tensor.name in read:
                try:
                    arrays[str(tensor.name)] = self.onnx.numpy_helper.to_array(tensor)
                except Exception:
                    # Wrong types, sizes and numbers raise many kinds of exceptions.
                    raise ResiduumError(
                        f"{self._path} has the damaged constant {tensor.name!r}; export it again"
                    ) from None
        return arrays

    def _needed(self, nodes: list[Node]) -> list[Node]:
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
        self.shapes[name] = (self._batch, *taken)
        if len(taken) == 3 and given in (None, taken):
            return self._channels_first(name, taken)
        return self._reshaped(name, taken, given)

    def _channels_first(self, name: str, taken: Shape) -> Shape:
        """Images of models that begin with a transpose from (H, W, C) enter behind it."""
        readers = [node for node in self._nodes if name in node.inputs]
        if len(readers) != 1 or readers[0].op != "Transpose":
            return taken
        transpose = readers[0]
        if tuple(transpose.get("perm", ())) != (0, 3, 1, 2):
            return taken
        height, width, channels = taken
        shape = channels, height, width
        self._nodes.remove(transpose)
        (output,) = transpose.outputs
        self.shapes[output] = (self._batch, *shape)
        self.add(operators.identity(*transpose.label, name, output=output))
        return shape

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
        self.shapes[inner] = (self._batch, *taken)
        self.operators.append(operators.reshape(name, "input", name, taken, output=inner))
        return shape[0], shape[1], shape[2]

    # One node -------------------------------------------------------------------------------

    def _step(self, node: Node) -> None:
        for name in filter(None, node.inputs):
            if name not in self.constants and name not in self.shapes:
                raise node.refused(
                    f"reads {name!r}, which no node before it writes; {self._path} is damaged"
                )
        moving = [name for name in node.inputs if name in self.shapes]
        if node.op in ("Shape", "Size"):
            self._take_shape(node)
        elif not moving and not node.op.startswith("Random"):
            self._fold(node)
        else:
            handler = self._handlers.get(node.op)
            if handler is None:
                raise node.refused_as(supported.refusal_of_onnx(node.op))
            self._infer(node)
            try:
                handler(self, node)
            except (TypeError, ValueError, KeyError, IndexError):
                raise node.refused(
                    "has attributes or constants of a wrong type or size; the file is damaged"
                ) from None

    def _take_shape(self, node: Node) -> None:
        (name,) = node.inputs
        known = self.shapes.get(name)
        shape = known if known is not None else self.constants[name].shape
        if node.op == "Size":
            self.constants[node.outputs[0]] = np.array(np.prod(shape), np.int64)
        else:
            part = shape[node.get("start", 0) : node.get("end", len(shape))]
            self.constants[node.outputs[0]] = np.array(part, np.int64)

    def _fold(self, node: Node) -> None:
        """Computes a node whose inputs are constants."""
        helper, feeds = self.onnx.helper, {x: self.constants[x] for x in node.inputs if x}
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
        self.constants |= {
            name: np.asarray(value) for name, value in zip(node.outputs, values, strict=True)
        }

    def _info(self, name: str, value: np.ndarray) -> Any:
        helper = self.onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, value.shape)

    def _infer(self, node: Node) -> None:
        """Shapes of the outputs, by ONNX's own inference on this node alone."""
        helper, float32 = self.onnx.helper, self.onnx.TensorProto.FLOAT
        inputs, constants = [], []
        for name in dict.fromkeys(filter(None, node.inputs)):
            value = self.constants.get(name)
            if value is None or np.issubdtype(value.dtype, np.floating):
                # Precisions may differ: the network has one.
                shape = self.shapes[name] if value is None else value.shape
                inputs.append(helper.make_tensor_value_info(name, float32, shape))
            else:
                inputs.append(self._info(name, value))
                if value.size <= _SHAPE_NUMBERS:
                    constants.append(self.onnx.numpy_helper.from_array(value, name))
        names = [name for name in node.outputs if name]
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
        model = helper.make_model(
            helper.make_graph([node.proto], "infer", inputs, outputs, constants),
            opset_imports=[helper.make_opsetid("", self._version)],
        )
        try:
            inferred = self.onnx.shape_inference.infer_shapes(model, strict_mode=True)
        except Exception as error:
            raise node.refused(f"does not fit its inputs: {first_line(error)}") from None
        for value in inferred.graph.output:
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(dim.dim_value for dim in dims)
        shape = self.shapes[names[0]]
        if not shape or not all(shape):
            raise node.refused("has an output whose shape is not known before the run")
        if shape[0] != self._batch:
            raise node.refused(
                f"makes the shape {shape} of a batch of {self._batch}; the batch must stay the "
                "first axis"
            )

    # For handlers ---------------------------------------------------------------------------

    def add(self, operator: Operator) -> None:
        self.operators.append(operator)

    def given(self, node: Node, index: int) -> str:
        """Name of an input, "" if it is left out."""
        return node.inputs[index] if index < len(node.inputs) else ""

    def constant(self, node: Node, index: int, what: str) -> np.ndarray | None:
        """An input that must be constant; None if it is left out."""
        name = self.given(node, index)
        if not name:
            return None
        if name not in self.constants:
            raise node.refused(f"computes its {what} from the image; it must be constant")
        return self.constants[name]

    def weight(self, node: Node, index: int) -> np.ndarray:
        """A weight; a product of two maps is refused."""
        name = self.given(node, index)
        if name not in self.constants:
            raise node.refused_as(supported.PRODUCT)
        return self.constants[name].astype(np.float64)

    def numbers(self, node: Node, attribute: str, index: int, what: str) -> list[int] | None:
        """A list that is an attribute in old opsets and an input in new ones."""
        if attribute in node.attributes:
            return [int(number) for number in node[attribute]]
        values = self.constant(node, index, what)
        return None if values is None else [int(number) for number in values.ravel()]

    def axis(self, node: Node, axis: int) -> int:
        """An axis from 1 on."""
        rank = len(self.shapes[node.inputs[0]])
        axis += rank if axis < 0 else 0
        if not 1 <= axis < rank:
            raise node.refused("works on the batch; it must leave the batch alone")
        return axis

    def need_map(self, node: Node) -> Pair:
        """(h, w) of the input; one or three axes are refused."""
        shape = self.shapes[node.inputs[0]]
        if len(shape) != 4:
            raise node.refused_as(supported.DIMENSIONS)
        return shape[2], shape[3]

    def padding(self, node: Node, kernel: Pair, stride: Pair, dilation: Pair) -> Sides:
        """(top, bottom, left, right) of a window, with ``auto_pad``."""
        mode = node.get("auto_pad", "NOTSET")
        if mode in ("NOTSET", ""):
            top, left, bottom, right = node.get("pads", (0, 0, 0, 0))
            return int(top), int(bottom), int(left), int(right)
        if mode == "VALID":
            return 0, 0, 0, 0
        sides = []
        for axis, size in enumerate(self.need_map(node)):
            windows = -(-size // stride[axis])
            reach = (windows - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
            total = max(reach - size, 0)
            less, more = total // 2, total - total // 2
            sides += [less, more] if mode == "SAME_UPPER" else [more, less]
        return sides[0], sides[1], sides[2], sides[3]

    def window(self, node: Node, kernel: Sequence[int]) -> dict[str, Any]:
        """stride, padding and dilation."""
        stride, dilation = pair(node.get("strides", (1, 1))), pair(node.get("dilations", (1, 1)))
        padding = self.padding(node, pair(kernel), stride, dilation)
        return {"stride": stride, "dilation": dilation, "padding": padding}


def first_line(error: Exception) -> str:
    """The first line of a message, without the kinds of errors in front and a full stop."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.rsplit("Error] ", 1)[-1].rstrip(".")


def _name(proto: Any) -> str:
    """The module's path in PyTorch, where its exporter noted it, or the name of the node."""
    for entry in proto.metadata_props:
        if entry.key == _SCOPES:
            # The model, its modules from outside to inside, and the operator.
            scopes = re.findall("'([^']*)'", entry.value)
            if len(scopes) > 1 and scopes[-2]:
                return scopes[-2]
    return proto.name or next(filter(None, proto.output), str(proto.op_type))


def pair(values: Sequence[int]) -> Pair:
    sizes = [int(value) for value in values]
    return sizes[0], sizes[-1]
