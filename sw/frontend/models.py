"""Models of any origin behind one interface: what ``residuum import`` opens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file, told
from residuum.sw.frontend.aten import operators_of
from residuum.sw.frontend.lowering import lower
from residuum.sw.frontend.nir import import_integer_nir, import_nir
from residuum.sw.frontend.onnx import import_onnx, read_onnx
from residuum.sw.frontend.operators import OperatorGraph
from residuum.sw.frontend.torch_model import export, load_module, load_program
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import IMAGE, Preprocessing, Shape
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.threads import no_spinning_threads

_BATCH = 100

Predictor = Callable[[np.ndarray], Iterator[np.ndarray]]


class Model(ABC):
    """A trained classifier in the format that it came in.

    Attributes
    ----------
    name
        Short name, from its source.
    input_shape
        (C, H, W) of the pictures that it takes; None if it takes several sizes.
    spikes
        Whether it reads spike trains instead of pictures.
    finished
        Whether it is a float network of this project, which says itself how a picture becomes its
        input, and which class has which number.
    measured
        Whether ranges of its activations have to be measured on images.
    """

    name: str
    input_shape: Shape | None = None
    spikes: bool = False
    finished: bool = False
    measured: bool = True

    def network(
        self,
        *,
        input_shape: Shape,
        preprocessing: Preprocessing | None = None,
        name: str | None = None,
        class_names: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> FloatNetwork:
        """The float network for pictures of ``input_shape``.

        Raises ``ResiduumError`` that names the part of the model that no layer computes.
        """
        network = self._read(input_shape, preprocessing, class_names)
        return replace(
            network,
            name=network.name if name is None else name,
            metadata={**network.metadata, **(metadata or {})},
        )

    @abstractmethod
    def _read(
        self, shape: Shape, preprocessing: Preprocessing | None, class_names: Sequence[str]
    ) -> FloatNetwork:
        """The float network with the name and the metadata of the model."""

    def integers(self, name: str | None = None) -> IntegerNetwork | None:
        """The integer network that the model is already, nothing rounded; else None."""
        return None

    def predictor(self, preprocessing: Preprocessing | None) -> Predictor | None:
        """Predictions of the model itself on uint8 images (N, C, H, W), batch by batch; None if
        its framework cannot run it here."""
        return None


class _Torch(Model):
    """A PyTorch model, which becomes operators first; ``metadata`` is its origin."""

    metadata: dict[str, str]

    @abstractmethod
    def graph(self, input_shape: Shape) -> OperatorGraph:
        """Its operators for pictures of ``input_shape``."""

    def _read(
        self, shape: Shape, preprocessing: Preprocessing | None, class_names: Sequence[str]
    ) -> FloatNetwork:
        return lower(
            self.graph(shape),
            preprocessing=preprocessing,
            class_names=class_names,
            metadata=self.metadata,
        )


class _Module(_Torch):
    def __init__(self, source: str, weights: Path | None) -> None:
        self.module = load_module(source, weights=weights)
        file, _, function = source.rpartition(":")
        python = file.endswith(".py")
        self.source = source
        self.name = Path(file).stem if python else function
        self.metadata = {"source": source, "torch": torch.__version__}
        if python:
            self.metadata["source sha256"] = digest_of_file(Path(file))
        if weights is not None:
            self.metadata["weights"] = weights.name
            self.metadata["weights sha256"] = digest_of_file(weights)

    def graph(self, input_shape: Shape) -> OperatorGraph:
        program = export(self.module, input_shape, name=self.source)
        return operators_of(program, name=self.name, input_shape=input_shape)

    def predictor(self, preprocessing: Preprocessing | None) -> Predictor | None:
        return _predictor(self.module, preprocessing, _BATCH)


class _Program(_Torch):
    def __init__(self, path: Path, weights: Path | None) -> None:
        self.program = load_program(path, weights)
        self.name = path.stem
        self.metadata = {
            "source": path.name,
            "source sha256": digest_of_file(path),
            "torch": torch.__version__,
        }
        examples = self.program.example_inputs
        shape = tuple(examples[0][0].shape) if examples and examples[0] else ()
        self.batch = shape[0] if shape else 1
        self.input_shape = shape[1:] if len(shape) == 4 else None

    def graph(self, input_shape: Shape) -> OperatorGraph:
        return operators_of(self.program, name=self.name, input_shape=input_shape)

    def predictor(self, preprocessing: Preprocessing | None) -> Predictor | None:
        return _predictor(self.program.module(), preprocessing, self.batch)


class _Onnx(Model):
    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        try:
            self.input_shape = read_onnx(path).input_shape
        except ResiduumError:
            # Some faults go away once the shape of the pictures is known; `network` tells the rest.
            self.input_shape = None

    def _read(
        self, shape: Shape, preprocessing: Preprocessing | None, class_names: Sequence[str]
    ) -> FloatNetwork:
        return import_onnx(
            self.path,
            input_shape=shape,
            preprocessing=preprocessing,
            class_names=class_names,
        )


class _Nir(Model):
    spikes = True
    measured = False

    def __init__(self, path: Path, reset: str | None, start: str | None) -> None:
        self.imported = import_nir(path, reset=reset, start=start)
        self.exact = import_integer_nir(path, reset=reset, start=start)
        self.name, self.input_shape = self.imported.name, self.imported.input_shape

    def _read(
        self, shape: Shape, preprocessing: Preprocessing | None, class_names: Sequence[str]
    ) -> FloatNetwork:
        return self.imported

    def integers(self, name: str | None = None) -> IntegerNetwork | None:
        if name is None or self.exact is None:
            return self.exact
        return replace(self.exact, name=name)


class _Float(Model):
    """A float network that `train` or `import` wrote. Thresholds of QCFS neurons, and ranges that
    were found on images, stay as they are."""

    finished = True

    def __init__(self, path: Path) -> None:
        self.path, self.float = path, FloatNetwork.load(path)
        self.name, self.input_shape = self.float.name, self.float.input_shape
        self.spikes = self.float.input != IMAGE
        self.measured = self.float.levels is None and not self.spikes

    def _read(
        self, shape: Shape, preprocessing: Preprocessing | None, class_names: Sequence[str]
    ) -> FloatNetwork:
        if preprocessing is not None:
            raise ResiduumError(
                f"{self.path} says already how a picture becomes its input; leave out scale, mean "
                "and std"
            )
        if shape != self.float.input_shape:
            raise ResiduumError(
                f"{self.path} reads pictures of the shape {self.float.input_shape}, not {shape}"
            )
        metadata = {
            **self.float.metadata,
            "source": self.path.name,
            "source sha256": digest_of_file(self.path),
        }
        if command := metadata.pop("command", None):
            metadata["command of the float network"] = command
        names = self.float.class_names or tuple(class_names)
        return replace(self.float, class_names=names, metadata=metadata)


def open_model(
    source: str,
    *,
    weights: Path | None = None,
    reset: str | None = None,
    start: str | None = None,
) -> Model:
    """The model called ``source``.

    Parameters
    ----------
    source
        "file.py:callable" or "package.module:callable", which returns a torch module, or the path
        of a file .pt2, .onnx or .nir, or of a float network of this project, .npz.
    weights
        State dict of a module.
    reset, start
        What a NIR file cannot say, as in `nir.import_nir`.

    Raises
    ------
    ResiduumError
        If the model cannot be read, or an argument does not go with its format.
    """
    suffix = Path(source).suffix
    if suffix != ".nir" and (reset is not None or start is not None):
        raise ResiduumError(f"--reset and --start are for .nir files, and {source} is none")
    if suffix in (".onnx", ".nir", ".npz") and weights is not None:
        raise ResiduumError(f"{source} has its weights already; leave out {weights}")
    if suffix in (".pt2", ".onnx", ".nir"):
        path = Path(source)
        with told(path, "read"), path.open("rb"):
            pass
        if suffix == ".nir":
            return _Nir(path, reset, start)
        return _Onnx(path) if suffix == ".onnx" else _Program(path, weights)
    if suffix == ".npz":
        return _Float(Path(source))
    if suffix in (".pt", ".pth", ".th"):
        raise ResiduumError(
            f"{source} holds weights; name the function that makes the module, as in "
            f"mynet.py:make --weights {source}"
        )
    return _Module(source, weights)


def module_to_network(
    module: nn.Module,
    input_shape: Shape,
    *,
    name: str = "network",
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> FloatNetwork:
    """The float network of a module that is in memory; arguments and errors as `Model.network`."""
    graph = operators_of(export(module, input_shape, name=name), name=name, input_shape=input_shape)
    return lower(
        graph,
        preprocessing=preprocessing,
        class_names=class_names,
        metadata={"torch": torch.__version__, **(metadata or {})},
    )


def _predictor(module: nn.Module, preprocessing: Preprocessing | None, batch: int) -> Predictor:
    """Predictions of a module in batches of one size: an exported program takes no other."""

    def predict(images: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(images), batch):
            part = images[first : first + batch]
            filled = np.resize(part, (batch, *part.shape[1:]))
            with no_spinning_threads(), torch.no_grad():
                logits = module(_numbers(filled, preprocessing))
            yield logits.reshape(batch, -1).argmax(dim=1).numpy()[: len(part)]

    return predict


def _numbers(images: np.ndarray, preprocessing: Preprocessing | None) -> torch.Tensor:
    """``(u * scale - mean) / std``, as the model reads it."""
    preprocessing = preprocessing or Preprocessing()
    x = torch.from_numpy(images).float() * preprocessing.scale
    if preprocessing.mean:
        x = x - torch.tensor(preprocessing.mean)[:, None, None]
    if preprocessing.std:
        x = x / torch.tensor(preprocessing.std)[:, None, None]
    return x
