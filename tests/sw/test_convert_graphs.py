"""Random float graphs in radix code: integers by the formulas, and runs equal to torch's."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from residuum.sw.convert.to_integer import Conversion, convert
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import INPUT, Pad
from residuum.sw.network.integer_network import RADIX
from tests.sw.networks import (
    _kind_of_pair,
    _random_structure,
    corners,
    identity,
    is_identity,
)
from tests.sw.quantized import quantized_maps

SEEDS = range(200)
CORNERS = (
    "residual", "projection", "option A", "concatenation", "two identities", "depthwise",
    "dilation", "max-pool with overlap", "max-pool with padding", "odd size", "two readers",
    "sum beyond 2^24", "odd threshold", "nearly dead channel", "h = 0", "h > 0", "f = 0", "f > 0",
    "clipped at 0", "clipped at the top", "pad", "compensated", "nearest",
    *(f"K = {k}" for k in range(1, 9)),
)  # fmt: skip


def random_relu_graph(rng: np.random.Generator) -> FloatNetwork:
    """ReLU layers with known ranges; some channels have tiny weights."""
    structure, pad = _random_structure(rng, max_pool=True, pools=(1, 1, 2, 3), depth=5)
    shape = structure.shapes[INPUT]
    if pad is not None:
        top, bottom, left, right = pad.sides
        shape = shape[0], shape[1] - top - bottom, shape[2] - left - right
        pad = Pad(pad.sides, tuple(pixel / 255 for pixel in pad.pixel))
    layers = []
    for index, (sources, identities, pool) in enumerate(structure.layers):
        last = index == len(structure.layers) - 1
        filled = []
        for number, source in enumerate(sources):
            weight = rng.normal(0, 0.5, source.weight.shape)
            if number in identities:
                weight = identity(*source.weight.shape[:2], 1.0)
            elif rng.random() < 0.2:
                weight[int(rng.integers(len(weight)))] *= 1e-9
            filled.append(replace(source, weight=weight))
        bias = rng.normal(0, 0.3, filled[0].out_channels)
        threshold = None if last else float(rng.uniform(0.2, 3))
        layers.append(FloatLayer(f"layer{index}", tuple(filled), bias, threshold, pool))
    return FloatNetwork("random", shape, tuple(layers), None, pad=pad)


@cache
def converted(seed: int) -> tuple[FloatNetwork, Conversion, np.ndarray, bool]:
    rng = np.random.default_rng(seed)
    network = random_relu_graph(rng)
    images = rng.integers(0, 256, (6, *network.input_shape), dtype=np.uint8)
    compensate = bool(rng.random() < 0.5)
    conversion = convert(
        network,
        bits=int(rng.integers(2, 9)),
        code=RADIX,
        map_bits=int(rng.integers(1, 9)),
        potential_bits=int(rng.choice([18, 24, 30])),
        images=images if compensate or rng.random() < 0.5 else None,
        compensate=compensate,
    )
    return network, conversion, images, compensate


@pytest.mark.parametrize("seed", SEEDS)
def test_integers_follow_the_formulas(seed: int) -> None:
    """TH and, rounded to the nearest, W and B, from the units that were chosen."""
    network, conversion, _, compensate = converted(seed)
    integer = conversion.network
    top = 2 ** (integer.layers[0].bits or 1) - 1

    def worth(number: int) -> float:
        threshold = network.layers[number].threshold
        return 1 / 255 if number == INPUT else (threshold or 0) / top

    limit = 2 ** (integer.weight_bits - 1) - 1
    for layer, result, loss in zip(network.layers, integer.layers, conversion.losses, strict=True):
        unit = loss.unit / 2**result.fraction_bits
        if layer.threshold is not None:
            expected = np.maximum(np.rint(layer.threshold / top / unit), 1)
            assert np.array_equal(result.threshold, expected)
        if compensate:
            continue
        assert np.array_equal(result.bias, np.rint(layer.bias / unit))
        for number, (source, rounded) in enumerate(zip(layer.sources, result.sources, strict=True)):
            area = source.pool[0] * source.pool[1]
            step = loss.unit * 2**result.shift if number else loss.unit
            ratio = source.weight * (worth(source.map) / area / step)[:, None, None, None]
            distance = np.abs(np.clip(ratio, -limit, limit) - rounded.weight)
            assert distance.max() <= 0.5 + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_runs_equal_the_quantised_network_in_torch(seed: int) -> None:
    _, conversion, images, _ = converted(seed)
    expected = [each.numpy() for each in quantized_maps(conversion.network, images)]
    trace = simulate(conversion.network, images, tau=0, T=1)
    found = [*(layer.values for layer in trace.layers), trace.logits[:, :, None, None]]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_identities_are_exact() -> None:
    """The first identity of two sources: its weight times the unit is what the source is worth."""
    count = 0
    for seed in SEEDS:
        network, conversion, _, _ = converted(seed)
        top = 2 ** (conversion.network.layers[0].bits or 1) - 1
        for layer, result, loss in zip(
            network.layers, conversion.network.layers, conversion.losses, strict=True
        ):
            exact = [
                i
                for i, source in enumerate(layer.sources)
                if is_identity(source) and set(source.weight.flat) in ({1.0}, {0.0, 1.0})
            ]
            if len(layer.sources) < 2 or not exact or loss.coarse.max() > 1e3:
                continue
            source, rounded = layer.sources[exact[0]], result.sources[exact[0]]
            threshold = 0 if source.map == INPUT else network.layers[source.map].threshold
            worth = 1 / 255 if source.map == INPUT else (threshold or 0) / top
            step = loss.unit * 2**result.shift if exact[0] else loss.unit
            reached = rounded.weight * step[:, None, None, None]
            assert np.allclose(reached, source.weight * worth, rtol=1e-9)
            count += 1
    assert count > 30


def test_every_corner_is_met() -> None:
    met = Counter(corner for seed in SEEDS for corner in set(corners_of(seed)))
    assert [corner for corner in CORNERS if not met[corner]] == []


def corners_of(seed: int) -> Iterator[str]:
    network, conversion, images, compensate = converted(seed)
    integer = conversion.network
    yield from corners(integer)
    yield "compensated" if compensate else "nearest"
    for layer in network.layers:
        if len(layer.sources) == 2:
            yield _kind_of_pair(*layer.sources)
        weights = [
            np.abs(source.weight).reshape(layer.out_channels, -1) for source in layer.sources
        ]
        if len(weights) == 1 and (weights[0].max(axis=1) < 1e-6).any():
            yield "nearly dead channel"
    for layer, q in zip(integer.layers, quantized_maps(integer, images), strict=True):
        if layer.threshold is None:
            continue
        top = 2 ** (layer.bits or 1) - 1
        yield from (["clipped at 0"] if (q == 0).any() else [])
        yield from (["clipped at the top"] if (q == top).any() else [])
    for layer in integer.layers:
        reach = sum(
            np.abs(source.weight.astype(np.int64)).reshape(layer.out_channels, -1).sum(axis=1)
            * source.pool_area * factor * integer.largest_input(source)
            for source, factor in zip(layer.sources, layer.factors, strict=True)
        )  # fmt: skip
        if (reach > 1 << 24).any():
            yield "sum beyond 2^24"
