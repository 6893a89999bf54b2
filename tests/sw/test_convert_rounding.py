"""Ranges, units, shifts, and rounding with compensation."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from residuum.sw.convert.calibrate import calibrate, smallest_error
from residuum.sw.convert.compensation import compensated, descend, errors, nearest
from residuum.sw.convert.statistics import statistics
from residuum.sw.convert.to_integer import convert
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import HALF, SPIKES, ZERO, MaxPool, Pad, Source
from residuum.sw.network.integer_network import RADIX
from residuum.sw.train.qcfs import qcfs
from tests.sw.quantized import quantized_logits, quantized_maps


def eye(channels: int, number: int, **geometry) -> Source:
    return Source(np.eye(channels)[:, :, None, None], number, **geometry)


def conv(rng: np.random.Generator, out: int, into: int, number: int, size: int = 3) -> Source:
    weight = rng.normal(0, 1 / math.sqrt(into * size * size), (out, into, size, size))
    return Source(weight, number, padding=(size // 2,) * 4)


def residual_network(seed: int, *, worth: float = 1.0, last: float = 1.0) -> FloatNetwork:
    """conv, conv + identity, dense; ``worth`` is the range of the map that the identity reads."""
    rng = np.random.default_rng(seed)
    return FloatNetwork(
        "residual",
        (2, 6, 6),
        (
            FloatLayer("first", (conv(rng, 4, 2, -1),), rng.normal(0, 0.1, 4), worth),
            FloatLayer("add", (conv(rng, 4, 4, 0), eye(4, 0)), rng.normal(0, 0.1, 4), last),
            FloatLayer("out", (Source(rng.normal(0, 1, (3, 4, 1, 1)), 1, pool=(6, 6)),),
                       np.zeros(3), None),
        ),
        None,
    )  # fmt: skip


def some_images(seed: int, count: int = 64) -> np.ndarray:
    """Smooth pictures, so that neighbouring inputs are correlated as in photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 2, 3, 3))
    return coarse.repeat(2, axis=2).repeat(2, axis=3).astype(np.uint8)


# ---------------------------------------------------------------------------------------------
# Ranges


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_range_loses_least(bits: int) -> None:
    """No range of a finer search on the values themselves is much better."""
    values = torch.from_numpy(np.random.default_rng(bits).exponential(1, 20_000)).relu()
    levels = 2**bits - 1

    def loss(limit: float) -> float:
        scale = limit / levels
        return float(
            ((torch.floor(values / scale + 0.5).clamp(max=levels) * scale - values) ** 2).sum()
        )

    found = smallest_error(values, bits)
    largest = float(values.max())
    assert loss(found) <= 1.01 * min(loss(share * largest) for share in np.linspace(0.02, 1, 500))


def test_a_clip_bounds_the_range() -> None:
    network = residual_network(0, worth=0.05, last=math.inf)
    ranges = [layer.threshold for layer in calibrate(network, some_images(0), bits=6).layers]
    assert ranges[0] is not None
    assert ranges[0] <= 0.05
    assert ranges[1] is not None
    assert math.isfinite(ranges[1])
    assert ranges[2] is None


@pytest.mark.parametrize("kept", [{"levels": 4}, {"input": SPIKES}])
def test_trained_thresholds_stay(kept: dict) -> None:
    network = replace(residual_network(0), **kept)
    assert calibrate(network, some_images(0), bits=6) is network


def test_silent_layer_has_a_range() -> None:
    assert smallest_error(torch.zeros(5), 6) == 1.0
    assert smallest_error(torch.zeros(5), 6, limit=6.0) == 6.0


def test_ranges_need_images_of_the_network() -> None:
    with pytest.raises(ResiduumError, match=r"calibration needs uint8 images of shape \(N, 2, 6"):
        calibrate(residual_network(0), some_images(0)[:, :1], bits=6)
    with pytest.raises(ResiduumError, match=r"calibration needs uint8 images of shape \(N, 2, 6"):
        convert(residual_network(0), bits=8, images=some_images(0)[:0])


# ---------------------------------------------------------------------------------------------
# Compensation


def random_problem(seed: int, g: int, rows: int, depth: int):
    """Targets, steps and Gram matrices of correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    double = {"dtype": torch.float64, "generator": generator}
    mixed = torch.randn(g, depth, depth, **double)
    gram = mixed @ mixed.mT / depth + 0.05 * torch.eye(depth, dtype=torch.float64)
    target = torch.randn(g, rows, depth, **double)
    step = 0.3 + torch.rand(g, rows, 1, **double).expand(g, rows, depth)
    return target, step, gram


def test_compensation_comes_close_to_the_optimum() -> None:
    """Against all 3^5 roundings of five weights."""
    every = torch.tensor(list(itertools.product([-1.0, 0, 1], repeat=5)), dtype=torch.float64)
    sums = np.zeros(4)
    for seed in range(20):
        target, step, gram = random_problem(seed, 1, 4, 5)
        best = torch.stack(
            [errors(target - w * step, gram)[0] for w in every.expand(4, -1, -1).transpose(0, 1)]
        ).amin(dim=0)
        first = compensated(target, step, gram, 1)
        found = [nearest(target, step, 1), first, descend(first, target, step, gram, 1)]
        sums += [float(errors(target - w * step, gram).sum()) for w in found] + [float(best.sum())]
    rounded, handed, refined, optimum = sums
    assert optimum <= refined <= handed < 0.9 * rounded
    assert refined < 1.2 * optimum


def test_uncorrelated_inputs_round_to_the_nearest() -> None:
    target, step, _ = random_problem(0, 2, 3, 70)
    gram = torch.diag_embed(torch.rand(2, 70, dtype=torch.float64) + 0.1)
    assert torch.equal(compensated(target, step, gram, 3), nearest(target, step, 3))


def test_blocks_do_not_depend_on_each_other() -> None:
    target, step, gram = random_problem(1, 3, 2, 130)
    together = compensated(target, step, gram, 7)
    alone = [compensated(target[i : i + 1], step[i : i + 1], gram[i : i + 1], 7) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_statistics_are_moments_of_the_windows() -> None:
    """Against unfold; the least-squares weights explain a current that is linear in the inputs."""
    torch.manual_seed(0)
    source = Source(np.zeros((6, 2, 3, 3)), 0, (2, 1), (1, 1, 1, 1), groups=2)
    x = torch.rand(40, 4, 7, 5)
    true = torch.randn(6, 2, 3, 3)
    wanted = torch.nn.functional.conv2d(x, true, None, (2, 1), 1, groups=2) + 3
    start = torch.zeros(2, 3, 18, dtype=torch.float64)
    found = statistics([source], [x], wanted, start, feedback=1.0)
    windows = torch.nn.functional.unfold(x, 3, padding=1, stride=(2, 1)).double()
    windows = windows.reshape(40, 2, 18, -1).permute(1, 2, 0, 3).flatten(2)
    for group in range(2):
        expected = torch.cov(windows[group], correction=0)
        off = ~torch.eye(18, dtype=torch.bool)
        assert torch.allclose(found.gram[group][off], expected[off], atol=1e-5)
        assert torch.allclose(found.mean[group], windows[group].mean(dim=1), atol=1e-5)
    # Damping of 1 % keeps the solution a little shorter.
    assert torch.allclose(found.target.flatten(), true.double().flatten(), atol=0.1)


@pytest.mark.parametrize("bits", [3, 4])
def test_compensation_halves_the_error_of_a_network(bits: int) -> None:
    """Squared error of the logits on pictures that were not used for calibration."""
    network, held_out = residual_network(1), some_images(99, 256)
    images = torch.from_numpy(held_out).double()

    def loss(compensate: bool) -> float:
        conversion = convert(
            calibrate(network, some_images(0, 256), bits=8),
            bits=bits, code=RADIX, map_bits=8, images=some_images(0, 256), compensate=compensate,
        )  # fmt: skip
        assert conversion.network.logit_scale is not None
        logits = quantized_maps(conversion.network, held_out)[-1].flatten(1)
        return float(
            (logits * conversion.network.logit_scale - exact_logits(network, images))
            .square()
            .mean()
        )

    assert loss(True) < 0.5 * loss(False)


def exact_logits(network: FloatNetwork, images: torch.Tensor) -> torch.Tensor:
    """The residual network of this file in torch."""
    first, add, out = network.layers
    w = [torch.from_numpy(layer.source.weight) for layer in network.layers]
    b = [torch.from_numpy(layer.bias) for layer in network.layers]
    conv2d = torch.nn.functional.conv2d
    x = conv2d(images / 255, w[0], b[0], padding=1).clamp(0, first.threshold)
    y = (conv2d(x, w[1], b[1], padding=1) + x).clamp(0, add.threshold)
    return y.mean(dim=(2, 3)) @ w[2][:, :, 0, 0].T + b[2]


def test_groups_are_compensated_on_their_own() -> None:
    """A depthwise layer gives the same as its channels in networks of their own."""
    rng = np.random.default_rng(3)
    weight, images = rng.normal(0, 1, (2, 1, 3, 3)), some_images(3)

    def integers(channels: list[int]) -> list[np.ndarray]:
        source = Source(weight[channels], -1, groups=len(channels))
        out = Source(np.ones((1, len(channels), 4, 4)), 0)
        layers = (
            FloatLayer("deep", (source,), np.zeros(len(channels)), 1.0),
            FloatLayer("out", (out,), np.zeros(1), None),
        )
        network = FloatNetwork("groups", (len(channels), 6, 6), layers, None)
        part = convert(
            network, bits=3, code=RADIX, images=images[:, channels], compensate=True
        ).network.layers[0]
        return [part.source.weight, part.threshold, part.bias]

    for both, *single in zip(integers([0, 1]), integers([0]), integers([1]), strict=True):
        assert np.array_equal(both, np.concatenate(single))


# ---------------------------------------------------------------------------------------------
# Units, shifts and registers


def test_identity_worth_many_weights_gets_a_shift() -> None:
    """With 4-bit weights, an identity that is worth far more than 7 weight units needs h = 4."""
    network = residual_network(2, worth=4.0)
    small = replace(network.layers[1].source, weight=network.layers[1].source.weight / 10)
    add = replace(network.layers[1], sources=(small, network.layers[1].sources[1]))
    layers = (network.layers[0], add, network.layers[2])
    shifted = convert(replace(network, layers=layers), bits=4, code=RADIX).network.layers[1]
    assert shifted.shift == 4
    # Without a shift, the identity takes 7 at most, and the largest weight is 0.6 then.
    assert np.abs(shifted.source.weight).max() > 3


def test_identity_worth_few_weights_gets_none() -> None:
    network = residual_network(2)
    large = replace(network.layers[1].source, weight=network.layers[1].source.weight * 3)
    add = replace(network.layers[1], sources=(large, network.layers[1].sources[1]))
    layers = (network.layers[0], add, network.layers[2])
    assert convert(replace(network, layers=layers), bits=4, code=RADIX).network.layers[1].shift == 0


def test_two_identities() -> None:
    """The first is exact: ranges 3 and 2 have the ratio 3 : 2, which four bits hold exactly."""
    layers = (
        FloatLayer("a", (eye(2, -1),), np.zeros(2), 3.0),
        FloatLayer("b", (eye(2, -1),), np.zeros(2), 2.0),
        FloatLayer("sum", (eye(2, 0), eye(2, 1)), np.zeros(2), 4.0),
        FloatLayer("out", (Source(np.ones((1, 2, 6, 6)), 2),), np.zeros(1), None),
    )
    network = FloatNetwork("twice", (2, 6, 6), layers, None)
    result = convert(network, bits=4, code=RADIX).network.layers[2]
    first, second = (source.weight.max() for source in result.sources)
    assert (first / (second << result.shift)) == 1.5


@pytest.mark.parametrize("tiny", [1e-3, 1e-7, 0.0])
@pytest.mark.parametrize("how", ["weights alone", "nearest", "compensated"])
def test_nearly_dead_channel_stays_in_its_registers(tiny: float, how: str) -> None:
    """Its bias decides; threshold and bias would need more than 24 bits with its own scale."""
    network = residual_network(4)
    weight = network.layers[0].source.weight.copy()
    weight[1] *= tiny
    first = replace(
        network.layers[0],
        sources=(replace(network.layers[0].source, weight=weight),),
        bias=np.array([0.1, 0.5, 0, 0]),
    )
    network = replace(network, layers=(first, *network.layers[1:]))
    images = None if how == "weights alone" else some_images(4)
    conversion = convert(
        network, bits=8, code=RADIX, map_bits=6, images=images, compensate=how == "compensated"
    )
    assert max(loss.potential_bits for loss in conversion.losses) <= 24
    q = quantized_maps(conversion.network, some_images(5))[0][:, 1]
    # 0.5 of a range of 1 is level 31.5 of 63.
    assert set(q.unique().tolist()) <= {31, 32}


def test_channels_that_lose_their_weights_are_told() -> None:
    network = residual_network(4)
    weight = network.layers[0].source.weight.copy()
    weight[1] *= 1e-9
    first = replace(network.layers[0], sources=(replace(network.layers[0].source, weight=weight),))
    conversion = convert(replace(network, layers=(first, *network.layers[1:])), bits=8, code=RADIX)
    assert conversion.losses[0].silent == (1,)
    assert conversion.losses[0].coarse[1] > 100


def test_larger_fraction_bits_where_the_potential_fits() -> None:
    network = residual_network(0)
    found = {
        bits: [loss.fraction_bits for loss in losses]
        for bits in (16, 40)
        for losses in [convert(network, bits=6, code=RADIX, potential_bits=bits).losses]
    }
    assert found == {16: [0, 0, 0], 40: [4, 4, 4]}


def test_logits_have_a_scale() -> None:
    network, images = residual_network(5), some_images(5)
    integer = convert(network, bits=8, code=RADIX, map_bits=8).network
    assert integer.logit_scale is not None
    logits = quantized_maps(integer, images)[-1].flatten(1) * integer.logit_scale
    exact = exact_logits(network, torch.from_numpy(images).double())
    assert float((logits - exact).abs().max()) < 0.02 * float(exact.abs().max())


def test_border_is_rounded_to_pixels() -> None:
    network = residual_network(0)
    first = replace(
        network.layers[0], sources=(replace(network.layers[0].source, padding=(0,) * 4),)
    )
    layers = (first, *network.layers[1:])
    padded = replace(network, layers=layers, pad=Pad((1, 1, 1, 1), (0.485, 0.4)))
    assert convert(padded, bits=8, code=RADIX).network.pad == Pad((1, 1, 1, 1), (124, 102))


def test_rate_code_keeps_starts_and_strict_thresholds() -> None:
    network = replace(residual_network(0), input=SPIKES)
    layers = (
        replace(network.layers[0], start=ZERO, strict=True),
        *network.layers[1:],
    )
    result = convert(replace(network, layers=layers), bits=8).network
    kinds = [(layer.start, layer.strict) for layer in result.layers[:2]]
    assert kinds == [(ZERO, True), (HALF, False)]
    assert result.input == SPIKES
    # A spike of the input is worth 1, one of the first layer its threshold.
    scale = result.layers[0].threshold / 16
    weight = network.layers[0].source.weight * scale[:, None, None, None]
    assert np.abs(weight - result.layers[0].source.weight).max() < 0.6


def test_rate_code_has_no_max_pooling() -> None:
    network = residual_network(0)
    pooled = replace(network.layers[1], max_pool=MaxPool((1, 1), (1, 1)))
    with pytest.raises(ResiduumError, match="'add' has max-pooling, which does not exist in rate"):
        convert(replace(network, layers=(network.layers[0], pooled, network.layers[2])), bits=8)


@pytest.mark.parametrize("compensate", [False, True])
def test_rate_code_of_a_relu_network(compensate: bool) -> None:
    """Many steps of spikes approach the float network; potentials stay in their registers."""
    network, images = calibrate(residual_network(6), some_images(6), bits=6), some_images(7)
    conversion = convert(
        network, bits=6, steps=64, images=some_images(6), compensate=compensate, potential_bits=24
    )
    assert max(loss.potential_bits for loss in conversion.losses) <= 24
    assert conversion.network.logit_scale is not None
    trace = simulate(conversion.network, images, tau=0, T=64)
    logits = trace.logits / 64 * conversion.network.logit_scale
    exact = exact_logits(network, torch.from_numpy(images).double()).numpy()
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


def test_qcfs_network_of_seven_levels_is_exact_in_radix_code() -> None:
    """Up to the rounding of weights of 16 bits; values at a step may take another level."""
    network = replace(residual_network(8), levels=7)
    images = some_images(8)
    integer = convert(network, bits=16, code=RADIX, map_bits=3, potential_bits=40).network

    def activation(index: int, layer: FloatLayer, z: torch.Tensor) -> torch.Tensor:
        return qcfs(z, layer.threshold or 0.0, 7)

    expected = forward(network, torch.from_numpy(images).double() / 255, activation=activation)
    logits = quantized_logits(integer, images) * integer.logit_scale
    assert np.median(np.abs(logits - expected.numpy())) < 1e-3
