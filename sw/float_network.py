"""The float network after BatchNorm is folded: what conversion starts from, framework-free."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FloatLayer:
    """Average pooling, convolution, QCFS or firing neuron.

    Attributes
    ----------
    weight
        float64 (out_channels, in_channels, kernel_h, kernel_w). A dense layer is a convolution
        whose kernel is its whole pooled input map.
    bias
        float64 (out_channels,).
    threshold
        theta = lambda > 0, one for the layer; None for the output layer, which has no neuron.
    pool
        (h, w) of the average-pooling window in front, stride = window, floor mode.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    threshold: float | None
    stride: int = 1
    padding: int = 0
    pool: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class FloatNetwork:
    """The layers in order. Images enter as u/255, shape ``input_shape`` = (C, H, W)."""

    name: str
    input_shape: tuple[int, int, int]
    layers: tuple[FloatLayer, ...]
    levels: int


def fold_batchnorm(
    weight: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the one convolution that equals convolution, then BatchNorm.

    ``w' = w * gamma / sqrt(variance + epsilon)``, ``b' = beta - mean * gamma / sqrt(...)``.
    ``weight`` is (out, in, kh, kw) without a bias; the others are (out,).
    """
    gain = gamma / np.sqrt(variance + epsilon)
    return weight * gain[:, None, None, None], beta - mean * gain
