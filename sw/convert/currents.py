"""Currents of a layer on many calibration images, a few images at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import convolve

# Numbers in the maps of one chunk of images.
_CHUNK = 1 << 24


def check_images(network: FloatNetwork, images: np.ndarray) -> None:
    """``ResiduumError`` unless calibration images are uint8 (N, C, H, W) of the network's shape."""
    if images.dtype != np.uint8 or images.shape[1:] != network.input_shape or not len(images):
        shape = ", ".join(map(str, network.input_shape))
        raise ResiduumError(
            f"calibration needs uint8 images of shape (N, {shape}), not {images.dtype} "
            f"{images.shape}"
        )


def float_current(layer: FloatLayer, maps: Sequence[Tensor]) -> Tensor:
    """Currents (N, out, H', W') of the float network, float32; one map (N, C, H, W) per source."""

    def part(*inputs: Tensor) -> Tensor:
        current = float32(layer.bias)[:, None, None]
        for source, x in zip(layer.sources, inputs, strict=True):
            current = current + convolve(source, x, float32(source.weight), pooling="mean")
        return current

    return in_chunks(part, maps)


def in_chunks(part: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """``part(*inputs)`` for a few images at a time, so that intermediate arrays stay small."""
    at_once = max(1, _CHUNK // max(each[0].numel() for each in inputs))
    chunks = zip(*(each.split(at_once) for each in inputs), strict=True)
    return torch.cat([part(*chunk) for chunk in chunks])


def float32(array: np.ndarray) -> Tensor:
    """A tensor of its own."""
    return torch.from_numpy(array.astype(np.float32))
