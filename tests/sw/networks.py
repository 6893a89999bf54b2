"""Small random networks for tests, and their conversion for the naive simulators."""

import numpy as np

from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.integer_network import PIXELS, SPIKES, IntegerNetwork, Layer
from tests.sw.naive import NaiveLayer


def random_geometry(rng: np.random.Generator, shape: tuple[int, int, int], last: bool) -> dict:
    """Pool, kernel, stride and padding that fit a (C, H, W) map; the last layer is dense."""
    _, height, width = shape
    pool = tuple(int(rng.integers(1, min(size, 3) + 1)) for size in (height, width))
    rows, columns = height // pool[0], width // pool[1]
    if last:
        return {"pool": pool, "kernel": (rows, columns), "stride": 1, "padding": 0}
    kernel = tuple(int(rng.integers(1, 5)) for _ in range(2))
    least = max(0, -(-(kernel[0] - rows) // 2), -(-(kernel[1] - columns) // 2))
    if least >= min(kernel):
        kernel, least = (min(kernel[0], rows), min(kernel[1], columns)), 0
    padding = int(rng.integers(least, min(kernel)))
    return {"pool": pool, "kernel": kernel, "stride": int(rng.integers(1, 4)), "padding": padding}


def random_network(seed: int) -> IntegerNetwork:
    """Up to three hidden layers with odd sizes, every geometry and extreme weights."""
    rng = np.random.default_rng(seed)
    bits = int(rng.integers(2, 9))
    input_shape = shape = (int(rng.integers(1, 4)), *map(int, rng.integers(1, 8, 2)))
    depth = int(rng.integers(1, 5))
    layers = []
    for index in range(depth):
        last = index == depth - 1
        geometry = random_geometry(rng, shape, last)
        out = int(rng.integers(1, 6))
        weight = random_weights(rng, (out, shape[0], *geometry.pop("kernel")), bits)
        fraction = int(rng.integers(0, 6))
        unit = (255 if index == 0 else 1) << fraction
        reach = max(int(np.abs(weight).sum()) * unit // (2 * out), 2)
        layer = Layer(
            name=f"layer{index + 1}",
            weight=weight,
            bias=rng.integers(-reach // 4, reach // 4 + 1, out),
            threshold=None if last else rng.integers(1, reach + 1, out),
            coding=PIXELS if index == 0 else SPIKES,
            fraction_bits=fraction,
            **geometry,
        )
        layers.append(layer)
        shape = layer.output_shape(shape)
    return IntegerNetwork("random", input_shape, tuple(layers), bits)


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Uniform, or only the two extremes, or mostly zeros."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    weight = rng.integers(low, high + 1, shape)
    kind = rng.integers(0, 3)
    if kind == 1:
        weight = np.where(rng.random(shape) < 0.5, low, high)
    elif kind == 2:
        weight = np.where(rng.random(shape) < 0.7, 0, weight)
    return weight


def random_images(seed: int, network: IntegerNetwork, count: int) -> np.ndarray:
    """uint8 (count, C, H, W), half of the pixels 0, as in drawings."""
    rng = np.random.default_rng(seed + 1)
    images = rng.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)
    return np.where(rng.random(images.shape) < 0.5, 0, images).astype(np.uint8)


def random_float_network(seed: int) -> FloatNetwork:
    """A network with weights, biases and thresholds k/16, so that sums in float64 are exact."""
    rng = np.random.default_rng(seed)
    input_shape = shape = (int(rng.integers(1, 3)), *map(int, rng.integers(2, 7, 2)))
    depth = int(rng.integers(1, 4))
    layers = []
    for index in range(depth):
        last = index == depth - 1
        geometry = random_geometry(rng, shape, last)
        # Pool only over powers of two: their means are exact.
        pool = tuple(1 if size == 3 else size for size in geometry.pop("pool"))
        kernel = geometry.pop("kernel")
        if last:
            kernel = shape[1] // pool[0], shape[2] // pool[1]
        out = int(rng.integers(1, 4))
        layer = FloatLayer(
            name=f"layer{index + 1}",
            weight=rng.integers(-16, 17, (out, shape[0], *kernel)) / 16,
            bias=rng.integers(-8, 9, out) / 16,
            threshold=None if last else float(rng.integers(1, 5)) / 2,
            pool=pool,
            **geometry,
        )
        layers.append(layer)
        sizes = [
            (extent // p + 2 * layer.padding - k) // layer.stride + 1
            for extent, p, k in zip(shape[1:], pool, kernel, strict=True)
        ]
        shape = (out, *sizes)
    return FloatNetwork("random", input_shape, tuple(layers), levels=4)


def naive_integer(network: IntegerNetwork) -> list[NaiveLayer]:
    """The layers with Python integers, which cannot overflow."""
    return [
        NaiveLayer(
            weight=layer.weight.tolist(),
            bias=layer.bias.tolist(),
            threshold=None if layer.threshold is None else layer.threshold.tolist(),
            start=None if layer.threshold is None else [th // 2 for th in layer.threshold.tolist()],
            stride=layer.stride,
            padding=layer.padding,
            pool=layer.pool,
            scale=2**layer.fraction_bits,
        )
        for layer in network.layers
    ]


def naive_float(network: FloatNetwork) -> list[NaiveLayer]:
    """The layers for the naive simulator; a spike is worth its layer's threshold."""
    layers = []
    for layer in network.layers:
        theta = layer.threshold
        count = len(layer.bias)
        layers.append(
            NaiveLayer(
                weight=layer.weight.tolist(),
                bias=layer.bias.tolist(),
                threshold=None if theta is None else [theta] * count,
                start=None if theta is None else [theta / 2] * count,
                stride=layer.stride,
                padding=layer.padding,
                pool=layer.pool,
                spike_value=theta or 0,
                divide=True,
            )
        )
    return layers
