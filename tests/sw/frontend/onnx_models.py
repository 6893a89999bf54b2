"""ONNX models for tests, built node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Model:
    """A chain of nodes, with what opset they are written for.

    ``node`` appends a node that reads the last value, or those given, and returns its output.
    """

    def __init__(self, shape: tuple[int, ...], opset: int, *, batch: int | str = 1) -> None:
        self.opset = opset
        self.last = "image"
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *shape])]
        self.outputs: list[str] = []

    def constant(self, values, dtype=np.float32) -> str:
        name = f"constant{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(
        self, op: str, *inputs: str, source: str | None = None, outputs: int = 1, **attributes
    ) -> str:
        """Append ``op(source, *inputs)``; ``source`` is the last value by default, "" for none."""
        source = self.last if source is None else source
        number = len(self.nodes)
        names = [f"v{number}", *(f"v{number}_{n}" for n in range(1, outputs))]
        given = [source, *inputs] if source else list(inputs)
        self.nodes.append(helper.make_node(op, given, names, name=f"n{number}", **attributes))
        self.last = names[0]
        return self.last

    def model(self) -> onnx.ModelProto:
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in self.outputs or [self.last]
        ]
        graph = helper.make_graph(self.nodes, "test", self.inputs, outputs, self.initializers)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )

    def save(self, path):
        onnx.save(self.model(), path)
        return path
