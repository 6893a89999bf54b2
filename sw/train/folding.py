"""The trained network as a float network."""

import math

import numpy as np
from torch import Tensor, nn

from residuum.sw.data.classes import CLASSES
from residuum.sw.network.float_network import FloatLayer, FloatNetwork, fold_batchnorm
from residuum.sw.network.graph import INPUT, Source
from residuum.sw.train.models import HiddenLayer, OptionA, Projection, QCFSNetwork
from residuum.sw.train.qcfs import QCFS


def fold(network: QCFSNetwork) -> FloatNetwork:
    """The trained network with BatchNorm folded into weights and biases (float64).

    Layer i reads the map of layer i - 1; a shortcut reads the map of layer i - 2. A network with
    ReLU has infinite thresholds and no levels.
    """
    definition = network.definition
    layers = [_folded(number, hidden) for number, hidden in enumerate(network.hidden_layers())]
    weight = _array(network.classifier.weight).reshape(-1, *definition.feature_shape)
    pool = (definition.pool, definition.pool)
    layers.append(
        FloatLayer(
            name="classifier",
            sources=(Source(weight, map=len(layers) - 1, pool=pool),),
            bias=_array(network.classifier.bias),
            threshold=None,
        )
    )
    names = CLASSES.get(definition.dataset, ())
    return FloatNetwork(
        definition.name,
        definition.input_shape,
        tuple(layers),
        None if definition.relu else definition.levels,
        class_names=names if len(names) == definition.classes else (),
    )


def _folded(number: int, hidden: HiddenLayer) -> FloatLayer:
    weight, bias = _conv_and_norm(hidden.conv, hidden.norm)
    source = Source(
        weight,
        map=number - 1,
        stride=_pair(hidden.conv.stride[0]),
        padding=(hidden.padding,) * 4,
        pool=_pair(hidden.pool),
    )
    sources = [source]
    # The layer before reads the map of the layer before that, or the images.
    read = max(number - 2, INPUT)
    if isinstance(hidden.shortcut, Projection):
        conv = hidden.shortcut.conv
        weight, of_shortcut = _conv_and_norm(conv, hidden.shortcut.norm)
        bias = bias + of_shortcut
        sources.append(Source(weight, map=read, stride=_pair(conv.stride[0])))
    elif isinstance(hidden.shortcut, OptionA):
        weight = identity(hidden.shortcut, source.out_channels)
        sources.append(Source(weight, map=read, stride=_pair(hidden.shortcut.stride)))
    activation = hidden.activation
    return FloatLayer(
        name=f"conv{number + 1}",
        sources=tuple(sources),
        bias=bias,
        threshold=activation.threshold.item() if isinstance(activation, QCFS) else math.inf,
    )


def identity(shortcut: OptionA, channels: int) -> np.ndarray:
    """Weights (channels, in_channels, 1, 1) of the convolution that equals the shortcut."""
    copied = channels - shortcut.before - shortcut.after
    weight = np.zeros((channels, copied, 1, 1))
    weight[shortcut.before + np.arange(copied), np.arange(copied)] = 1
    return weight


def _conv_and_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return fold_batchnorm(
        _array(conv.weight),
        _array(norm.running_mean),
        _array(norm.running_var),
        _array(norm.weight),
        _array(norm.bias),
        norm.eps,
    )


def _pair(size: int) -> tuple[int, int]:
    return size, size


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)
