"""Pooling and convolution against explicit sums."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from residuum.sw.network.convolution import Pooling, convolve


@dataclass(frozen=True)
class Shape:
    stride: int
    padding: int
    pool: tuple[int, int]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("shape", [Shape(1, 0, (1, 1)), Shape(2, 1, (2, 3)), Shape(1, 2, (3, 1))])
def test_every_output_is_its_sum(shape: Shape, pooling: Pooling) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-9, 9, (2, 3, 11, 13)), rng.integers(-9, 9, (4, 3, 2, 3))
    bias = rng.integers(-9, 9, 4)
    tensors = (torch.from_numpy(array).double() for array in (x, weight, bias))
    found = convolve(shape, *tensors, pooling=pooling).numpy()
    (rows, columns), edge = shape.pool, shape.padding
    height, width = 11 // rows, 13 // columns
    windows = x[:, :, : height * rows, : width * columns].reshape(
        2, 3, height, rows, width, columns
    )
    maps = windows.sum(axis=(3, 5)) / (rows * columns if pooling == "mean" else 1)
    maps = np.pad(maps, [(0, 0), (0, 0), (edge, edge), (edge, edge)])
    for n, out, i, j in np.ndindex(*found.shape):
        place = maps[n, :, i * shape.stride :, j * shape.stride :][:, :2, :3]
        assert found[n, out, i, j] == pytest.approx((place * weight[out]).sum() + bias[out])
