"""Pooling, convolution and the float network against explicit sums."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import Pooling, convolve, forward, max_pooled
from residuum.sw.network.graph import MaxPool, Pad, Source


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"stride": (2, 1), "padding": (1, 1, 2, 2), "pool": (2, 3)},
        {"padding": (0, 1, 2, 0), "dilation": (1, 2), "pool": (3, 1)},
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_every_output_is_its_sum(geometry: dict[str, Any], groups: int, pooling: Pooling) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-9, 9, (2, 4, 11, 13)), rng.integers(-9, 9, (4, 4 // groups, 2, 3))
    source = Source(weight, groups=groups, **geometry)
    bias = rng.integers(-9, 9, 4)
    tensors = (torch.from_numpy(array).double() for array in (x, weight, bias))
    found = convolve(source, *tensors, pooling=pooling).numpy()
    (rows, columns), (top, bottom, left, right) = source.pool, source.padding
    height, width = 11 // rows, 13 // columns
    windows = x[:, :, : height * rows, : width * columns].reshape(
        2, 4, height, rows, width, columns
    )
    maps = windows.sum(axis=(3, 5)) / (rows * columns if pooling == "mean" else 1)
    maps = np.pad(maps, [(0, 0), (0, 0), (top, bottom), (left, right)])
    for n, out, i, j in np.ndindex(*found.shape):
        first = out // (4 // groups) * (4 // groups)
        y, x_ = i * source.stride[0], j * source.stride[1]
        place = maps[n, first : first + 4 // groups, y:, x_:]
        place = place[:, : 2 * source.dilation[0] : source.dilation[0]]
        place = place[:, :, : 3 * source.dilation[1] : source.dilation[1]][:, :, :3]
        assert found[n, out, i, j] == pytest.approx((place * weight[out]).sum() + bias[out])
    assert found.shape[1:] == source.output_shape((4, 11, 13))


def test_max_pooling_ignores_what_is_outside() -> None:
    x = torch.rand(2, 3, 7, 5)
    pool = MaxPool((3, 2), (2, 1), (1, 1, 1, 1))
    assert torch.equal(max_pooled(pool, x), F.max_pool2d(x, (3, 2), (2, 1), (1, 1)))
    assert max_pooled(pool, x).shape[1:] == pool.output_shape((3, 7, 5))
    # PyTorch's ceil_mode, as padding on one side.
    ceil = MaxPool((2, 2), (2, 2), (0, 1, 0, 1))
    assert torch.equal(max_pooled(ceil, x), F.max_pool2d(x, 2, ceil_mode=True))


def residual_network() -> tuple[FloatNetwork, dict[str, torch.Tensor]]:
    """Convolution, ReLU6, a residual branch with ReLU and max-pooling, and an output."""
    rng = np.random.default_rng(0)
    weights = {
        "a": rng.normal(size=(4, 3, 3, 3)),
        "b": rng.normal(size=(4, 4, 3, 3)),
        "out": rng.normal(size=(5, 4, 1, 1)),
    }
    identity = np.eye(4)[:, :, None, None]
    layers = (
        FloatLayer("a", (Source(weights["a"], padding=(1, 1, 1, 1)),), np.arange(4.0), 6.0),
        FloatLayer(
            "b",
            (Source(weights["b"], 0, padding=(1, 1, 1, 1)), Source(identity, 0)),
            np.zeros(4),
            math.inf,
            MaxPool((3, 3), (2, 2), (1, 1, 1, 1)),
        ),
        FloatLayer("out", (Source(weights["out"], 1, pool=(4, 4)),), np.ones(5), None),
    )
    pad = Pad((1, 1, 1, 1), (0.25, 0.5, 0.75))
    network = FloatNetwork("residual", (3, 6, 6), layers, None, pad=pad)
    return network, {name: torch.from_numpy(weight) for name, weight in weights.items()}


def test_network_equals_the_same_calls_of_torch() -> None:
    network, weights = residual_network()
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    border = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)[:, None, None]
    x = F.pad(images - border, (1, 1, 1, 1)) + border
    a = F.relu6(F.conv2d(x, weights["a"], torch.arange(4.0).double(), padding=1))
    b = F.max_pool2d(F.relu(F.conv2d(a, weights["b"], padding=1) + a), 3, 2, 1)
    expected = F.conv2d(F.adaptive_avg_pool2d(b, 1), weights["out"]).flatten(1) + 1
    assert torch.allclose(forward(network, images), expected)


def test_activation_sees_every_hidden_layer_before_max_pooling() -> None:
    seen: list[tuple[int, str, tuple[int, ...]]] = []

    def activation(index: int, layer: FloatLayer, z: torch.Tensor) -> torch.Tensor:
        seen.append((index, layer.name, tuple(z.shape)))
        return z.clamp(0)

    forward(residual_network()[0], torch.rand(1, 3, 6, 6), activation=activation)
    assert seen == [(0, "a", (1, 4, 8, 8)), (1, "b", (1, 4, 8, 8))]
