"""PyTorch modules through torch.export: the ATen graph becomes a graph of operators."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import operators as op
from residuum.sw.frontend import supported
from residuum.sw.frontend.lowering import lower
from residuum.sw.frontend.operators import Operator, OperatorGraph
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import Preprocessing, Shape

# Keys under which files keep the weights, and what wrappers put in front of their names.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")
# A batch of two tells operators that keep the batch from those that do not.
_BATCH = 2


def import_torch(
    source: str,
    *,
    weights: Path | None = None,
    input_shape: Shape,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    name: str = "",
    metadata: Mapping[str, str] | None = None,
) -> FloatNetwork:
    """The float network of a PyTorch model.

    Parameters
    ----------
    source
        "mynet.py:make" or "package.module:callable", which returns an ``nn.Module``, or the path
        of a program that ``torch.export.save`` wrote (``.pt2``).
    weights
        File of a state dict; None: the weights that the module comes with.
    input_shape
        (C, H, W) of the pictures.
    preprocessing
        Scale, mean and std of the numbers that the model wants; None: u/255.
    name
        Name of the network; "": from ``source``.

    Raises
    ------
    ResiduumError
        If the model cannot be loaded, or computes what no layer does.
    """
    texts = {"source": source, "torch": torch.__version__, **(metadata or {})}
    program: torch.export.ExportedProgram | None = None
    if source.endswith(".pt2"):
        path = Path(source)
        program = load_program(path, weights)
        texts["source sha256"] = _digest(path)
        default = path.stem
    else:
        module = load_module(source, weights=weights)
        program = export(module, input_shape, name=source)
        file, _, attribute = source.rpartition(":")
        if file.endswith(".py"):
            texts["source sha256"] = _digest(Path(file))
        default = Path(file).stem if file.endswith(".py") else attribute
    if weights is not None:
        texts["weights"] = weights.name
        texts["weights sha256"] = _digest(weights)
    graph = operators(program, name=name or default, input_shape=input_shape)
    return lower(graph, preprocessing=preprocessing, class_names=class_names, metadata=texts)


def module_to_network(
    module: nn.Module,
    input_shape: Shape,
    *,
    name: str = "network",
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> FloatNetwork:
    """The float network of a module that is in memory; as `import_torch`."""
    graph = operators(export(module, input_shape, name=name), name=name, input_shape=input_shape)
    return lower(
        graph,
        preprocessing=preprocessing,
        class_names=class_names,
        metadata={"torch": torch.__version__, **(metadata or {})},
    )


# ---------------------------------------------------------------------------------------------
# Modules and weights.


def load_module(source: str, *, weights: Path | None = None) -> nn.Module:
    """The module that ``source`` makes, in evaluation mode, with its weights.

    ``source`` is "file.py:callable" or "package.module:callable"; the callable takes no arguments
    and returns a module. While a file is imported its folder is on ``sys.path``. Raises
    ``ResiduumError`` for everything that goes wrong, with file and line of the user's code.
    """
    file, colon, attribute = source.rpartition(":")
    if not colon or not file or not attribute:
        raise ResiduumError(
            f"{source!r} does not name a model; write file.py:callable, package.module:callable, or "
            "the path of a .pt2 file"
        )
    with _users_code(f"importing {file}"), _on_path(file):
        namespace = _imported(file)
    if not hasattr(namespace, attribute):
        raise ResiduumError(f"{file} has no {attribute!r}")
    made = getattr(namespace, attribute)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ResiduumError(f"{source} is not callable; it must return an nn.Module")
        with _users_code(f"calling {source}"), _on_path(file):
            made = made()
    if not isinstance(made, nn.Module):
        raise ResiduumError(f"{source} returned {type(made).__name__!r}; it must be an nn.Module")
    if weights is not None:
        load_weights(made, weights)
    return made.cpu().eval()


def _imported(file: str) -> Any:
    if not file.endswith(".py"):
        return importlib.import_module(file)
    path = Path(file)
    if not path.is_file():
        raise ResiduumError(f"there is no file {file}")
    # torch.export and pickles look modules up by name.
    name = f"residuum_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _on_path(file: str) -> Iterator[None]:
    """The folder of a file, or the current one, in front of ``sys.path``."""
    folder = str(Path(file).resolve().parent) if file.endswith(".py") else str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _users_code(doing: str) -> Iterator[None]:
    """Errors of code of the user as one sentence with file and line."""
    try:
        yield
    except ResiduumError:
        raise
    except (Exception, SystemExit) as error:
        raise ResiduumError(f"{doing} failed{_place(error)}: {_first_line(error)}") from error


def _place(error: BaseException) -> str:
    """File and line where an error was raised, outside of Python's and torch's own files."""
    if isinstance(error, SyntaxError):
        return f" in {error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith("<")
        and "site-packages" not in frame.filename
        and Path(frame.filename) != Path(__file__)
        and not frame.filename.startswith(str(Path(importlib.__file__).parent))
    ]
    return f" in {own[-1].filename}, line {own[-1].lineno}" if own else ""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a file of weights into a module, from any device and most wrappers.

    Raises ``ResiduumError`` if the file is not one of weights, or if names or shapes differ.
    """
    tensors = read_weights(path)
    expected = module.state_dict()
    found = _without_prefixes(tensors, expected)
    counted = [key for key in expected if key not in found]
    missing = [key for key in counted if not key.endswith("num_batches_tracked")]
    extra = [key for key in found if key not in expected]
    if missing or extra:
        raise ResiduumError(
            f"{path} does not fit the model: "
            + " and ".join(
                f"{len(keys)} weights are {what}, such as {', '.join(keys[:3])}"
                for keys, what in ((missing, "missing"), (extra, "not in the model"))
                if keys
            )
        )
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape:
            raise ResiduumError(
                f"{path} does not fit the model: {key} has the shape {tuple(tensor.shape)}, but the "
                f"model has {tuple(expected[key].shape)}"
            )
    module.load_state_dict(found, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that ``torch.save`` wrote, by name.

    Raises ``ResiduumError`` if the file is missing, damaged, or holds more than weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ResiduumError(f"there is no file {path}") from None
    except pickle.UnpicklingError:
        raise ResiduumError(
            f"{path} holds more than weights, which is not loaded since it could run any code; save "
            "model.state_dict() instead"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ResiduumError(f"{path} is no file of weights: {_first_line(error)}") from None
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ResiduumError(f"{path} holds no weights by name; save model.state_dict()")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ResiduumError(f"{path} holds no weights by name; save model.state_dict()")
    return tensors


def _without_prefixes(tensors: dict[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """The names as the model has them: wrappers put a prefix in front of all."""
    changed = True
    while changed and not set(tensors) & set(expected):
        changed = False
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
                changed = True
                break
    return tensors


def load_program(path: Path, weights: Path | None = None) -> torch.export.ExportedProgram:
    """A program that ``torch.export.save`` wrote. Raises ``ResiduumError`` if it cannot be read."""
    if weights is not None:
        raise ResiduumError(f"{path} has its weights already; leave out {weights}")
    if not path.is_file():
        raise ResiduumError(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(path)
    except Exception as error:
        raise ResiduumError(
            f"{path} is no program that torch.export.save of torch {torch.__version__} can read: "
            f"{_first_line(error)}"
        ) from None


def export(module: nn.Module, input_shape: Shape, *, name: str) -> torch.export.ExportedProgram:
    """``torch.export`` of a module on pictures of ``input_shape``.

    Raises ``ResiduumError`` if the module cannot be traced, or does not take such pictures.
    """
    module = module.cpu().eval()
    floating = [p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()]
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in floating):
        module = module.float()
        floating = []
    dtype = torch.float64 if any(p.dtype == torch.float64 for p in floating) else torch.float32
    example = torch.zeros(_BATCH, *input_shape, dtype=dtype)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module(example)
    except Exception as error:
        raise ResiduumError(
            f"{name} does not take pictures of the shape {input_shape}{_place(error)}: "
            f"{_first_line(error)}"
        ) from error
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, (example,))
    except Exception as error:
        raise ResiduumError(
            f"{name} cannot be traced by torch.export{_place(error)}, mostly because of an if or a "
            f"loop on the numbers of the image: {_first_line(error)}"
        ) from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------------------------------------
# ATen to operators.


def operators(
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
        output = ""
        for node in self.program.graph.nodes:
            self.node = node
            if node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                output = self._output(node)
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
                f"model {self.name!r} takes {len(images)} inputs; it must take one batch of pictures"
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
                f"model {self.name!r} returns {len(returned)} values; it must return one number per "
                "class, which follows from the image"
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

    # -- one node -------------------------------------------------------------------------------

    def _call(self, node: Any) -> None:
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
        self._check_batch(node)
        handler = _HANDLERS.get(name)
        read = [each for each in arguments if each.name in self.values]
        if handler is None:
            output = self._emit(
                op.refused,
                [self._value(each) for each in read if isinstance(self.values[each.name], str)],
                _refusal_of(name),
            )
        else:
            output = handler(self, node)
        self.values[node.name] = output
        source = read[0] if read else None
        shares = source is not None and (in_place or name in _VIEWS)
        self.memory[node.name] = self.memory[source.name] if shares and source else node.name
        if in_place and source is not None:
            self._changed(source.name, node.name, output)

    def _item(self, node: Any) -> None:
        whole, number = node.args
        outputs = self.values[whole.name]
        self.memory[node.name] = self.memory[whole.name]
        if isinstance(outputs, list) and number < len(outputs):
            self.values[node.name] = outputs[number]
        else:
            # The positions of maxima, for example.
            values = outputs if isinstance(outputs, list) else [outputs]
            self.values[node.name] = self._emit(op.refused, values[:1], supported.DATA)

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
                    f"{self._place()!r} ({self._label()}) mixes the pictures of a batch or drops the "
                    "batch axis; keep the first axis, as in x.flatten(1)"
                )

    # -- help for handlers ----------------------------------------------------------------------

    def _value(self, node: Any) -> str:
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
        return self._emit(make, *args, suffix=suffix, **kwargs)

    def _emit(
        self, make: Callable[..., Operator], *args: Any, suffix: str = "", **kwargs: Any
    ) -> str:
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


def _refusal_of(name: str) -> str:
    if "quantize" in name:
        return supported.QUANTISED
    return supported.refusal_of_torch(name)


Handler = Callable[[_Walk, Any], str | list[str]]
_HANDLERS: dict[str, Handler] = {}
# Operators whose result may share memory with their input.
_VIEWS = {
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose"),
    *("slice", "select", "split", "split_with_sizes", "chunk", "contiguous", "alias", "dropout"),
    *("feature_dropout", "alpha_dropout", "detach", "to", "narrow", "view_as", "movedim", "t"),
}


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(names, handler))
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
        return walk.emit(op.refused, [walk._value(x)], supported.PRODUCT)
    kernel = walk.constant(weight)
    if kernel.ndim != 4:
        return walk.emit(op.refused, [walk._value(x)], supported.DIMENSIONS)
    if transposed:
        return walk.emit(op.refused, [walk._value(x)], supported.RESAMPLING)
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
        walk._value(x),
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
        return walk.emit(op.refused, [walk._value(x)], supported.PRODUCT)
    return walk.emit(op.linear, walk._value(x), walk.constant(weight), walk.constant(bias))


@_handles("addmm")
def _addmm(walk: _Walk, node: Any) -> str:
    bias, x, weight = node.args[:3]
    if walk.is_value(weight) or walk.is_value(bias) or not walk.is_value(x) or node.kwargs:
        return walk.emit(op.refused, [walk._value(x)], supported.PRODUCT)
    return walk.emit(op.linear, walk._value(x), walk.constant(weight).T, walk.constant(bias))


@_handles("mm", "matmul", "bmm")
def _matmul(walk: _Walk, node: Any) -> str:
    x, weight = node.args[:2]
    if not walk.is_value(x) or walk.is_value(weight):
        values = [walk._value(each) for each in (x, weight) if walk.is_value(each)]
        return walk.emit(op.refused, values, supported.ATTENTION)
    matrix = walk.constant(weight)
    if matrix.ndim != 2:
        return walk.emit(op.refused, [walk._value(x)], "")
    return walk.emit(op.linear, walk._value(x), matrix.T)


@_handles("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(walk: _Walk, node: Any) -> str | list[str]:
    legit = _operator_name(node.target) != "batch_norm"
    names = ["input", "weight", "bias", "running_mean", "running_var"]
    names += ["momentum", "eps"] if legit else ["training", "momentum", "eps"]
    values = walk.arguments(node, [(name, None) for name in names])
    x, gamma, beta, mean, variance = values[:5]
    training = False if legit else values[5]
    if training or mean is None or variance is None:
        return walk.emit(op.refused, [walk._value(x)], supported.NORMALISATION)
    output = walk.emit(
        op.batch_norm,
        walk._value(x),
        mean=walk.constant(mean),
        variance=walk.constant(variance),
        gamma=1.0 if gamma is None else walk.constant(gamma),
        beta=0.0 if beta is None else walk.constant(beta),
        epsilon=float(values[len(names) - 1]),
    )
    return [output] if legit else output


@_handles("relu")
def _relu(walk: _Walk, node: Any) -> str:
    return walk.emit(op.clip, walk._value(node.args[0]))


@_handles("relu6")
def _relu6(walk: _Walk, node: Any) -> str:
    return walk.emit(op.clip, walk._value(node.args[0]), 6.0)


@_handles("hardtanh", "clamp", "clip", "clamp_min")
def _clamp(walk: _Walk, node: Any) -> str:
    default = (-1.0, 1.0) if _operator_name(node.target).startswith("hardtanh") else (None, None)
    x, low, high = walk.arguments(node, [("input", None), ("min", default[0]), ("max", default[1])])
    if walk.is_value(low) or walk.is_value(high):
        return walk.emit(op.refused, [walk._value(x)], supported.CLIPPING)
    low, high = walk.constant(low), walk.constant(high)
    if low is None or np.any(low != 0) or np.size(high) != 1:
        return walk.emit(op.refused, [walk._value(x)], supported.CLIPPING)
    return walk.emit(
        op.clip, walk._value(x), math.inf if high is None else float(np.ravel(high)[0])
    )


@_handles("maximum")
def _maximum(walk: _Walk, node: Any) -> str:
    first, second = node.args
    values = [each for each in (first, second) if walk.is_value(each)]
    constants = [walk.constant(each) for each in (first, second) if not walk.is_value(each)]
    if len(values) == 1 and not np.any(constants[0]):
        return walk.emit(op.clip, walk._value(values[0]))
    return walk.emit(op.refused, [walk._value(each) for each in values], "")


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
        walk._value(x),
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
        walk._value(x),
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
        walk._value(x),
        (height if rows is None else rows, width if columns is None else columns),
        maximum=maximum,
    )
    return [output] if maximum else output


@_handles("mean")
def _mean(walk: _Walk, node: Any) -> str:
    x, axes, keep = walk.arguments(node, [("input", None), ("dim", None), ("keepdim", False)])
    if axes is None:
        return walk.emit(op.refused, [walk._value(x)], supported.MAP_OUTPUT)
    axes = [axes] if isinstance(axes, int) else list(axes)
    return walk.emit(
        op.mean, walk._value(x), sorted(walk.axis(x, axis) for axis in axes), keep=keep
    )


@_handles("amax", "max")
def _amax(walk: _Walk, node: Any) -> str:
    x, axes, keep = walk.arguments(node, [("input", None), ("dim", None), ("keepdim", False)])
    axes = [axes] if isinstance(axes, int) else list(axes or [])
    shape = walk.shape(x)
    global_ = len(shape) == 3 and sorted(walk.axis(x, axis) for axis in axes) == [2, 3]
    if _operator_name(node.target) == "max" or not global_:
        return walk.emit(op.refused, [walk._value(x)], "")
    pooled = walk.emit(op.adaptive_pool, walk._value(x), (1, 1), maximum=True, suffix=":pooled")
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
        return walk.emit(op.affine, walk._value(value), gain, walk.constant(other) * sign)
    names = []
    for number, (value, sign) in enumerate(values):
        name = walk._value(value)
        if sign != 1:
            name = walk.emit(op.affine, name, sign, suffix=f":{number}")
        names.append(name)
    return walk.emit(op.add, *names)


@_handles("mul")
def _mul(walk: _Walk, node: Any) -> str:
    first, second = node.args[:2]
    values = [each for each in (first, second) if walk.is_value(each)]
    if len(values) == 2:
        return walk.emit(op.refused, [walk._value(each) for each in values], supported.PRODUCT)
    (constant,) = (each for each in (first, second) if not walk.is_value(each))
    return walk.emit(op.affine, walk._value(values[0]), walk.constant(constant))


@_handles("div")
def _div(walk: _Walk, node: Any) -> str:
    first, second = node.args[:2]
    if walk.is_value(second) or node.kwargs.get("rounding_mode"):
        values = [walk._value(each) for each in (first, second) if walk.is_value(each)]
        return walk.emit(op.refused, values, supported.PRODUCT)
    return walk.emit(op.affine, walk._value(first), 1 / np.asarray(walk.constant(second), float))


@_handles("neg")
def _neg(walk: _Walk, node: Any) -> str:
    return walk.emit(op.affine, walk._value(node.args[0]), -1.0)


@_handles("cat", "concat", "concatenate")
def _cat(walk: _Walk, node: Any) -> str:
    tensors, axis = walk.arguments(node, [("tensors", None), ("dim", 0)])
    axis = walk.axis(node, axis)
    values = [walk._value(each) for each in tensors if walk.is_value(each)]
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
    return walk.emit(op.reshape, walk._value(node.args[0]), walk.shape(node))


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
        return walk.emit(op.refused, [walk._value(x)], supported.LAYOUT)
    return walk.emit(op.transpose, walk._value(x), axes)


@_handles("slice")
def _slice(walk: _Walk, node: Any) -> str:
    x, axis, start, stop, step = walk.arguments(
        node, [("input", None), ("dim", 0), ("start", None), ("end", None), ("step", 1)]
    )
    axis = walk.axis(x, axis)
    size = walk.shape(x)[axis - 1] if axis else 0
    if not axis:
        return walk.emit(op.identity, walk._value(x))
    stop = size if stop is None else min(stop, size)
    return walk.emit(op.slices, walk._value(x), axis, start or 0, stop, step)


@_handles("narrow")
def _narrow(walk: _Walk, node: Any) -> str:
    x, axis, start, length = node.args
    return walk.emit(op.slices, walk._value(x), walk.axis(x, axis), start, start + length)


@_handles("select")
def _select(walk: _Walk, node: Any) -> str:
    x, axis, index = node.args
    axis = walk.axis(x, axis)
    if not axis:
        return walk.emit(op.refused, [walk._value(x)], supported.DATA)
    index %= walk.shape(x)[axis - 1]
    part = walk.emit(op.slices, walk._value(x), axis, index, index + 1, suffix=":part")
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
        outputs.append(walk.emit(op.slices, walk._value(x), axis, start, stop, suffix=f":{number}"))
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
        return walk.emit(op.refused, [walk._value(x)], supported.PADDING)
    return walk.emit(op.pad, walk._value(x), sides[1:])


@_handles(
    *("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "contiguous"),
    *("clone", "alias", "detach", "lift_fresh_copy", "to", "_to_copy"),
)
def _identity(walk: _Walk, node: Any) -> str:
    x = node.args[0]
    training = "dropout" in _operator_name(node.target) and node.args[2:3] == (True,)
    if training and node.args[1]:
        return walk.emit(op.refused, [walk._value(x)], supported.DATA)
    value = node.meta.get("val")
    if isinstance(value, Tensor) and not value.is_floating_point():
        return walk.emit(op.refused, [walk._value(x)], "")
    return walk.emit(op.identity, walk._value(x))


@_handles("softmax", "_softmax", "log_softmax", "_log_softmax", "sigmoid")
def _final(walk: _Walk, node: Any) -> str:
    return walk.emit(op.final, walk._value(node.args[0]))
