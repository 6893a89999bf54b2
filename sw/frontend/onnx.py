"""Float networks from ONNX models: first a graph of operators, which `lowering` makes a network.

Opsets 7 to 20. The batch is fixed to what the file says, or to 1. Every shape is then known before
the run: node by node, what depends on constants and shapes only is computed with ONNX's reference
implementation, and what depends on the image becomes an operator. Nodes that the output does not
depend on are ignored.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file, told
from residuum.sw.frontend.lowering import lower
from residuum.sw.frontend.onnx_nodes import Reader, first_line, need_onnx
from residuum.sw.frontend.onnx_operators import HANDLERS
from residuum.sw.frontend.operators import OperatorGraph
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import Preprocessing, Shape

OPSETS = range(7, 21)
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
    return Reader(path, model.graph, version, source, target, HANDLERS).read(input_shape)


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
            f"{path} keeps its weights in other files, which cannot be read "
            f"({first_line(error)}); put them beside it"
        ) from None
    if model.functions:
        model = need_onnx("onnx.inliner").inline_local_functions(model)
    return model


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
