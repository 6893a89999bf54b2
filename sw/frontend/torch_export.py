"""PyTorch models become float networks, through torch.export."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from residuum.sw.frontend.aten import operators_of
from residuum.sw.frontend.lowering import lower
from residuum.sw.frontend.torch_model import export, load_module, load_program
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.graph import Preprocessing, Shape


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
    graph = operators_of(program, name=name or default, input_shape=input_shape)
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
    graph = operators_of(export(module, input_shape, name=name), name=name, input_shape=input_shape)
    return lower(
        graph,
        preprocessing=preprocessing,
        class_names=class_names,
        metadata={"torch": torch.__version__, **(metadata or {})},
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
