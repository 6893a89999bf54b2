"""Weights that a training starts from: a float network's, or a checkpoint's.

A float network has no BatchNorm. Each BatchNorm gets the mean and the variance that its input has
on some training images, and the gain and offset that undo them, so the network computes what the
file computes, and goes on to train with BatchNorm.

A network with ReLU has no thresholds. If QCFS is trained from one, each lambda starts at the value
with the smallest squared error between QCFS and ReLU on the same images.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from residuum.sw.convert.balance import in_order
from residuum.sw.errors import ResiduumError
from residuum.sw.files import told
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.train.augment import unit_range
from residuum.sw.train.checkpoint import read_checkpoint
from residuum.sw.train.folding import identity
from residuum.sw.train.models import HiddenLayer, OptionA, Projection, QCFSNetwork
from residuum.sw.train.qcfs import QCFS, qcfs

# Training images that BatchNorms and thresholds are computed from.
IMAGES = 512
# Values of a map that a threshold is computed from.
_VALUES = 1 << 16
_SHARES = torch.linspace(0.05, 1.0, 96)


def digest_of(path: Path) -> str:
    """SHA-256 of a file; ``ResiduumError`` if it cannot be read."""
    with told(path, "read"):
        return hashlib.sha256(path.read_bytes()).hexdigest()


def start_from(path: Path, network: QCFSNetwork, images: np.ndarray) -> None:
    """Set the weights of ``network``, on the CPU, to those of a file.

    A classifier for another number of classes keeps its random weights.

    Parameters
    ----------
    path
        A float network (.npz), or a checkpoint of the training (any other name).
    images
        Training images, uint8 (N, C, H, W); the first `IMAGES` are used.

    Raises
    ------
    ResiduumError
        If the file cannot be read, or holds a network of another structure.
    """
    few = unit_range(torch.from_numpy(images[:IMAGES]))
    network.eval()
    with torch.no_grad():
        if path.suffix == ".npz":
            file = FloatNetwork.load(path)
            thresholds = _from_float_network(path, file, network)
        else:
            thresholds = _from_checkpoint(path, network)
        if not network.definition.relu and not thresholds:
            _set_thresholds(network, few)
        if path.suffix == ".npz":
            _set_norms(network, few)
    network.train()


def _other_structure(path: Path, network: QCFSNetwork) -> ResiduumError:
    name = network.definition.name
    return ResiduumError(f"{path} holds a network of another structure than {name}")


def _from_checkpoint(path: Path, network: QCFSNetwork) -> bool:
    """Copy the weights; returns whether there were thresholds."""
    saved = read_checkpoint(path).get("network", {})
    own = network.state_dict()
    thresholds = {key for key in own if key.endswith(".threshold")}
    if set(own) - thresholds != {key for key in saved if not key.endswith(".threshold")}:
        raise _other_structure(path, network)
    other_classes = saved["classifier.bias"].shape != own["classifier.bias"].shape
    for key in saved.keys() & own.keys():
        if saved[key].shape == own[key].shape:
            own[key].copy_(saved[key])
        elif not (other_classes and key.startswith("classifier.")):
            raise _other_structure(path, network)
    return bool(thresholds) and thresholds <= saved.keys()


def _from_float_network(path: Path, file: FloatNetwork, network: QCFSNetwork) -> bool:
    """Copy weights, with BatchNorms that only add the bias; returns whether there were
    thresholds."""
    file = _straight(file, network)
    *hidden, last = file.layers
    if len(hidden) != len(network.hidden_layers()) or file.input_shape[0] != _channels(network):
        raise _other_structure(path, network)
    for layer, module in zip(hidden, network.hidden_layers(), strict=True):
        if not _copied(layer, module):
            raise _other_structure(path, network)
    if len(last.bias) == network.definition.classes:
        weight = torch.from_numpy(last.source.weight).flatten(1)
        if weight.shape != network.classifier.weight.shape:
            raise _other_structure(path, network)
        network.classifier.weight.copy_(weight)
        network.classifier.bias.copy_(torch.from_numpy(last.bias))
    return file.levels is not None


def _straight(file: FloatNetwork, network: QCFSNetwork) -> FloatNetwork:
    """The file's network with its channels in an order in which shortcuts keep their order, as in
    ``network``; a conversion may have changed it (`residuum.sw.convert.balance`)."""
    orders: dict[int, np.ndarray] = {}
    for index, (layer, module) in enumerate(
        zip(file.layers, network.hidden_layers(), strict=False)
    ):
        if isinstance(module.shortcut, OptionA) and len(layer.sources) == 2:
            shortcut = layer.sources[1]
            present = shortcut.weight[:, orders.get(shortcut.map, slice(None))]
            wanted = identity(module.shortcut, layer.out_channels)
            if present.shape == wanted.shape:
                orders[index] = _matched(present, wanted)
    return in_order(file, orders)


def _matched(present: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The order of the rows of ``present`` in which they are those of ``wanted``, if there is
    one."""
    order = np.empty(len(wanted), int)
    order[_sorted(wanted)] = _sorted(present)
    return order


def _sorted(rows: np.ndarray) -> np.ndarray:
    return np.lexsort(rows.reshape(len(rows), -1).T)


def _channels(network: QCFSNetwork) -> int:
    return network.definition.input_shape[0]


def _copied(layer: FloatLayer, module: HiddenLayer) -> bool:
    """Copy a layer; False, with nothing copied, if its shapes differ."""
    convs = [module.conv]
    if isinstance(module.shortcut, Projection):
        convs.append(module.shortcut.conv)
    sources = layer.sources
    if isinstance(module.shortcut, OptionA):
        sources, rest = sources[:1], sources[1:]
        wanted = identity(module.shortcut, layer.out_channels)
        if len(rest) != 1 or not np.array_equal(rest[0].weight, wanted):
            return False
    weights = [torch.from_numpy(source.weight) for source in sources]
    if [w.shape for w in weights] != [conv.weight.shape for conv in convs]:
        return False
    if any(s.stride != conv.stride for s, conv in zip(sources, convs, strict=True)):
        return False
    if sources[0].pool != (module.pool, module.pool) or sources[0].padding[0] != module.padding:
        return False
    for conv, weight in zip(convs, weights, strict=True):
        conv.weight.copy_(weight)
    for norm in _norms(module):
        # Computes x + bias.
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
        norm.weight.fill_(1)
        norm.bias.zero_()
    module.norm.bias.copy_(torch.from_numpy(layer.bias))
    threshold = math.inf if layer.threshold is None else layer.threshold
    if isinstance(module.activation, QCFS) and threshold < math.inf:
        module.activation.threshold.fill_(threshold)
    return True


def _norms(module: HiddenLayer) -> list[nn.BatchNorm2d]:
    if isinstance(module.shortcut, Projection):
        return [module.norm, module.shortcut.norm]
    return [module.norm]


def _set_norms(network: QCFSNetwork, images: Tensor) -> None:
    """Give BatchNorms the statistics of their inputs, without a change of what they compute."""

    def set_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.add_(mean)

    norms = [norm for layer in network.hidden_layers() for norm in _norms(layer)]
    with _hooked(norms, set_norm):
        network(images)


def _set_thresholds(network: QCFSNetwork, images: Tensor) -> None:
    """Set each lambda from the currents that the layer gets, one layer after another."""

    def set_threshold(activation: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(activation, QCFS)
        activation.threshold.fill_(best_threshold(inputs[0], activation.levels))

    with _hooked([layer.activation for layer in network.hidden_layers()], set_threshold):
        network(images)


def best_threshold(currents: Tensor, levels: int) -> float:
    """The lambda with the smallest squared error between QCFS and ReLU; 1 if no current is
    positive."""
    values = currents.flatten()
    values = values[:: max(1, len(values) // _VALUES)].relu()
    largest = values.max().item()
    if largest <= 0:
        return 1.0
    errors = [(qcfs(values, s * largest, levels) - values).square().mean() for s in _SHARES]
    return (_SHARES[torch.stack(errors).argmin()] * largest).item()


@contextmanager
def _hooked(
    modules: Sequence[nn.Module], hook: Callable[[nn.Module, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    """In the block, ``hook`` gets the inputs of the modules before they compute."""
    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
