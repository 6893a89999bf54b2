"""The golden model against a naive scalar simulator, closed forms and the theory of SRP."""

import collections
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.golden import golden_model
from residuum.sw.golden.golden_model import (
    _Kernel,
    divide,
    firing_share,
    integrate_and_fire,
    simulate,
    simulate_batches,
)
from residuum.sw.network.corrections import CARRY, MASK, NONE, OFFSET
from residuum.sw.network.graph import INPUT, SPIKES, MaxPool, Pad, Source
from residuum.sw.network.integer_network import RADIX, RATE, IntegerNetwork, Layer
from tests.sw.naive import NaiveLayer, number, run, run_radix
from tests.sw.networks import (
    CORNERS,
    corners,
    naive_integer,
    random_graph,
    random_images,
    random_input,
    random_network,
)


def assert_equal_to_naive(
    network: IntegerNetwork, images: np.ndarray, tau: int, T: int, correction: str | None = None
) -> list[NaiveLayer]:
    """Every value of a run of one image equals the scalar simulation; returns its layers."""
    trace = simulate(network, images, tau=tau, T=T, correction=correction)
    naive = naive_integer(network)
    signal = images if network.input == SPIKES else network.with_border(images)
    if network.code == RADIX:
        numbers, logits = run_radix(naive, signal[0].tolist())
        assert [layer.values[0].tolist() for layer in trace.layers] == numbers
    else:
        how = {"correction": correction or MASK, "spikes": network.input == SPIKES}
        hidden, logits = run(naive, signal[0].tolist(), tau, T, **how)
        for found, layer, (trains, residual, silenced) in zip(
            trace.layers, network.layers, hidden, strict=False
        ):
            assert found.trains[0].tolist() == trains
            # A strict neuron of the golden model starts one lower, and fires at its threshold.
            assert (found.residual[0] + int(layer.strict)).tolist() == residual
            assert found.silenced[0].tolist() == silenced
    assert trace.logits[0].tolist() == logits
    return naive


@given(
    seed=st.integers(0, 2**32),
    tau=st.integers(0, 5),
    T=st.integers(1, 5),
    correction=st.sampled_from([None, MASK, CARRY, OFFSET]),
)
@example(seed=0, tau=4, T=4, correction=None)
@settings(max_examples=80)
def test_equals_naive_step_by_step_simulation(
    seed: int, tau: int, T: int, correction: str | None
) -> None:
    """The golden model (layer by layer, matrices) equals the scalar step-by-step simulation."""
    network = random_network(seed)
    assert_equal_to_naive(network, random_images(seed, network, 1), tau, T, correction)


CLIPS = ("clip low", "clip high")
AFTER_PROBE = (
    *("restarted", "silenced", "carried", "no offset", "one spike more", "one spike less"),
    "strict, carried",
)


def seen_in(network: IntegerNetwork, naive: list[NaiveLayer]) -> set[str]:
    """Corners of a network, and those that its run met."""
    seen = set(corners(network)) | {network.code}
    for layer in naive:
        seen |= {name for name in (*CLIPS, *AFTER_PROBE) if name in layer.seen}
        if layer.strict and "carried" in layer.seen:
            seen.add("strict, carried")
        if layer.seen["largest sum"] > 1 << 24:
            seen.add("|sum| > 2**24")
    return seen


def test_equals_naive_on_random_graphs_with_every_corner() -> None:
    met: collections.Counter[str] = collections.Counter()
    for seed in range(300):
        network = random_graph(seed)
        rng = np.random.default_rng(seed + 2)
        tau, T = (0, 1) if network.code == RADIX else (int(rng.integers(0, 4)), 3)
        correction = str(rng.choice([MASK, CARRY, OFFSET])) if tau else NONE
        if tau and any(layer.strict for layer in network.layers):
            correction = CARRY
        images = random_input(seed, network, 1, tau + T)
        met.update(seen_in(network, assert_equal_to_naive(network, images, tau, T, correction)))
    wanted = {*CORNERS, RATE, RADIX, *CLIPS, *AFTER_PROBE, "|sum| > 2**24"}
    assert wanted == set(met)


def quantised_in_torch(network: IntegerNetwork, images: np.ndarray) -> list[torch.Tensor]:
    """The map of every layer in radix code, with torch's own convolutions of int64 and pooling."""
    maps = {INPUT: torch.from_numpy(network.with_border(images)).to(torch.int64)}
    for index, layer in enumerate(network.layers):
        current = torch.from_numpy(layer.bias.copy())[:, None, None]
        for which, source in enumerate(layer.sources):
            (height, width), x = source.pool, maps[source.map]
            rows = x[:, :, : x.shape[2] // height * height].unflatten(2, (-1, height)).sum(dim=3)
            x = rows[..., : x.shape[3] // width * width].unflatten(3, (-1, width)).sum(dim=4)
            x = F.pad(x, (*source.padding[2:], *source.padding[:2]))
            weight = torch.from_numpy(source.weight.astype(np.int64))
            sums = F.conv2d(x, weight, None, source.stride, 0, source.dilation, source.groups)
            current = current + sums * 2 ** (layer.fraction_bits + layer.shift * which)
        if layer.threshold is not None:
            threshold = torch.from_numpy(layer.threshold.copy())[:, None, None]
            level = torch.div(current + threshold // 2, threshold, rounding_mode="floor")
            current = level.clamp(0, 2**layer.bits - 1)
        if layer.max_pool:
            top, bottom, left, right = layer.max_pool.padding
            current = F.pad(current, (left, right, top, bottom), value=-1)
            current = F.max_pool2d(current, layer.max_pool.kernel, layer.max_pool.stride)
        maps[index] = current
    return [maps[index] for index in range(len(network.layers))]


def test_equals_the_quantised_network_in_torch_on_random_graphs() -> None:
    for seed in range(200):
        network = random_graph(seed, RADIX)
        images = random_images(seed, network, 3)
        trace = simulate(network, images, tau=0, T=1)
        *numbers, logits = quantised_in_torch(network, images)
        for found, expected in zip(trace.layers, numbers, strict=True):
            assert np.array_equal(found.values, expected.numpy())
        assert np.array_equal(trace.logits, logits.flatten(1).numpy())


@pytest.mark.parametrize("code", [RATE, RADIX])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_graphs_that_nobody_chose(code: str, seed: int) -> None:
    network = random_graph(seed, code)
    T = 1 if code == RADIX else 4
    assert_equal_to_naive(network, random_input(seed, network, 1, T), 0, T)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_batches_do_not_depend_on_one_another(seed: int) -> None:
    network = random_graph(seed)
    stages = {"tau": 0, "T": 1 if network.code == RADIX else 3}
    images = random_input(seed, network, 5, stages["T"])
    together = simulate(network, images, **stages)
    alone = [simulate(network, images[i : i + 1], **stages) for i in range(5)]
    assert np.array_equal(together.logits, np.concatenate([trace.logits for trace in alone]))
    for index, layer in enumerate(together.layers):
        trains = np.concatenate([trace.layers[index].trains for trace in alone])
        assert np.array_equal(layer.trains, trains)


def spike_count(currents: np.ndarray, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """N and v(T) of neurons with the currents (neurons, T)."""
    steps = currents.shape[1]
    trains, residual, _ = integrate_and_fire(
        torch.from_numpy(currents)[:, :, None, None, None], np.array([threshold]), steps
    )
    return trains.sum(dim=1).flatten().numpy(), residual.flatten().numpy()


def level(total: int, threshold: int, steps: int) -> int:
    """QCFS level with L = T of the mean current total/T, in exact fractions."""
    exact = Fraction(total) / threshold + Fraction(1, 2)
    return min(max(exact.numerator // exact.denominator, 0), steps)


@pytest.mark.parametrize("threshold", [1, 2, 3, 7, 16, 25])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_constant_current_gives_the_closed_form(threshold: int, steps: int) -> None:
    """N = clip(floor((T*I + TH/2)/TH), 0, T): the equation that makes QCFS and neuron equal."""
    currents = np.arange(-2 * threshold, 2 * threshold + 1)
    counts, _ = spike_count(np.repeat(currents[:, None], steps, axis=1), threshold)
    assert counts.tolist() == [level(steps * int(i), threshold, steps) for i in currents]


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_negative_residual_means_too_many_spikes(threshold: int, steps: int) -> None:
    """Exhaustive over time-varying currents: N > q <=> v(T) < 0 and N >= 1.

    N is the number of spikes in T steps, q the QCFS level with L = T of the mean current. The
    potential telescopes to v(T) = V0 + sum of I - N*TH, and q is floor((V0 + sum of I)/TH) limited
    to 0 .. T. So v(T) < 0 means that the unlimited level is below N. The limit T never matters,
    since N <= T. The limit 0 matters only if N = 0, which the second condition excludes. A neuron
    with v(T) < 0 and N = 0 does not fire anyway, so SRP may silence it too. Hao et al. (AAAI 2023)
    derive the condition on the residual potential. It also holds for TH >> 1 instead of TH/2: for
    an odd TH no integer is between the two.
    """
    values = range(-threshold - 1, 2 * threshold + 2)
    currents = np.array(list(itertools.product(values, repeat=steps)))
    counts, residual = spike_count(currents, threshold)
    levels = np.array([level(int(total), threshold, steps) for total in currents.sum(axis=1)])
    assert np.array_equal(counts > levels, (residual < 0) & (counts >= 1))


def reads(weight: np.ndarray, map: int = INPUT, **geometry: Any) -> tuple[Source]:
    return (Source(weight, map, **geometry),)


def only_output(weight: np.ndarray, bias: Any = 0, **geometry: Any) -> Layer:
    """An output layer that reads the image."""
    biases = np.broadcast_to(np.asarray(bias), (len(weight),))
    return Layer("out", reads(weight, **geometry), biases, None, 0)


def one_neuron(weight: int, bias: int, threshold: int) -> IntegerNetwork:
    """One pixel, one neuron, one class that counts its spikes."""
    layers = (
        Layer("neuron", reads(np.full((1, 1, 1, 1), weight)), np.array([bias]),
              np.array([threshold]), 0),
        Layer("count", reads(np.ones((1, 1, 1, 1), int), 0), np.zeros(1, int), None, 0),
    )  # fmt: skip
    return IntegerNetwork("one", (1, 1, 1), layers, 8)


def test_without_probe_nothing_is_silenced() -> None:
    trace = simulate(one_neuron(-1, 0, 7), np.full((1, 1, 1, 1), 9, np.uint8), tau=0, T=3)
    assert trace.layers[0].residual.tolist() == [[[[3]]]]
    assert not trace.layers[0].silenced.any()


def test_residual_of_zero_is_not_silenced() -> None:
    # V0 = 5, and one step of -5 leaves exactly 0.
    trace = simulate(one_neuron(0, -5, 10), np.zeros((1, 1, 1, 1), np.uint8), tau=1, T=1)
    assert trace.layers[0].residual.tolist() == [[[[0]]]]
    assert not trace.layers[0].silenced.any()


def test_prediction_takes_the_first_of_equal_logits() -> None:
    layer = only_output(np.zeros((4, 1, 1, 1), int), [1, 5, 5, 0])
    network = IntegerNetwork("tie", (1, 1, 1), (layer,), 8)
    trace = simulate(network, np.zeros((1, 1, 1, 1), np.uint8), tau=1, T=2)
    assert trace.prediction.tolist() == [1]
    assert trace.logits.tolist() == [[2, 10, 10, 0]]


def test_large_sums_are_exact() -> None:
    """Beyond 2**24 float32 would round; the model must take float64."""
    weight = np.full((1, 1, 41, 41), 32767)
    weight[0, 0, 0, 0] = 1
    network = IntegerNetwork("large", (1, 41, 41), (only_output(weight),), 16)
    trace = simulate(network, np.full((1, 1, 41, 41), 255, np.uint8), tau=0, T=1)
    assert trace.logits.tolist() == [[255 * (1680 * 32767 + 1)]]


def test_first_odd_sum_beyond_float32_is_exact() -> None:
    """2**24 + 1 is the smallest positive integer that float32 cannot represent."""
    weight = np.array([32767, 32767, 259, 1, 1]).reshape(1, 5, 1, 1)
    network = IntegerNetwork("large", (5, 1, 1), (only_output(weight),), 16)
    image = np.array([255, 255, 255, 1, 1], np.uint8).reshape(1, 5, 1, 1)
    total = (1 << 24) + 1
    assert int(weight.reshape(-1) @ image.reshape(-1).astype(int)) == total
    assert float(np.float32(total)) != total
    assert simulate(network, image, tau=0, T=1).logits.tolist() == [[total]]


def test_potentials_beyond_32_bits_are_exact() -> None:
    """A current of -2**22 for 1,024 steps, and a comparison with TH << 7 = 2**33."""
    falling = one_neuron(0, -(1 << 22), 2)
    trace = simulate(falling, PIXEL, tau=1024, T=1)
    assert trace.layers[0].residual.tolist() == [[[[1 - (1 << 32)]]]]
    neuron = replace(falling.layers[0], bias=np.array([1 << 32]), threshold=np.array([1 << 26]),
                     bits=8)  # fmt: skip
    coarse = replace(falling, layers=(neuron, falling.layers[1]), code=RADIX)
    assert simulate(coarse, PIXEL, tau=0, T=1).layers[0].values.tolist() == [[[[64]]]]


# A chain in rate code, and a graph in radix code with max-pooling, each with its stages.
ONE_OF_EACH = [
    (random_network(3), {"tau": 2, "T": 3}),
    (random_graph(5, RADIX), {"tau": 0, "T": 1}),
]


@pytest.mark.parametrize(("network", "stages"), ONE_OF_EACH, ids=[RATE, RADIX])
def test_no_image_gives_the_shapes_of_a_trace(network: IntegerNetwork, stages: dict) -> None:
    images = random_images(0, network, 1)
    empty, one = (simulate(network, each, **stages) for each in (images[:0], images))
    for found, layer in zip(empty.layers, one.layers, strict=True):
        for name in ("trains", "residual", "silenced", "values"):
            array, expected = getattr(found, name), getattr(layer, name)
            assert array.shape == (0, *expected.shape[1:])
            assert array.dtype == expected.dtype
        assert np.array_equal(found.worth, layer.worth)
    assert empty.logits.shape == (0, network.classes)


@pytest.mark.parametrize(("network", "stages"), ONE_OF_EACH, ids=[RATE, RADIX])
def test_logits_only(network: IntegerNetwork, stages: dict) -> None:
    images = random_images(3, network, 2)
    trace = simulate(network, images, **stages, keep_layers=False)
    assert trace.layers == ()
    assert np.array_equal(trace.logits, simulate(network, images, **stages).logits)


def test_batches_cover_all_images_in_order() -> None:
    network = random_network(5)
    images = random_images(5, network, 7)
    logits = np.concatenate([t.logits for t in simulate_batches(network, images, tau=1, T=1)])
    assert np.array_equal(logits, simulate(network, images, tau=1, T=1).logits)


def test_firing_share_counts_neurons_not_spikes() -> None:
    image = np.array([255, 0], np.uint8).reshape(2, 1, 1, 1)
    trace = simulate(one_neuron(1, 0, 100), image, tau=2, T=2)
    assert firing_share(trace.layers[0]) == 0.5


PIXEL = np.zeros((1, 1, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "tau", "T", "message"),
    [
        (PIXEL, -1, 4, "tau must be at least 0, not -1"),
        (PIXEL, 4, 0, "T must be at least 1, not 0"),
        (PIXEL, 9999, 4, "tau must be at most 1024, not 9999"),
        (PIXEL, 2.5, 4, r"tau must be a whole number, not 2\.5"),
        (PIXEL, 4, math.nan, "T must be a whole number, not nan"),
        (PIXEL, 4, True, "T must be a whole number, not True"),
        (PIXEL, "4", 4, "tau must be a whole number, not '4'"),
        (
            np.zeros((1, 1, 1, 1)),
            4,
            4,
            "images must be whole numbers 0 .. 255 in 4 dimension",
        ),
        (torch.zeros((1, 1, 1, 1), requires_grad=True), 4, 4, "dimensions, not float32 of shape"),
        ([[[[math.nan]]]], 4, 4, "dimensions, not float64 of shape"),
        ([[[[256]]]], 4, 4, "in 4 dimensions; there is a 256"),
        ([[[[-1]]]], 4, 4, "in 4 dimensions; there is a -1"),
        ([[[[True]]]], 4, 4, "dimensions, not bool of shape"),
        ([[[[None]]]], 4, 4, "dimensions, not object of shape"),
        ([[[[1], [1, 2]]]], 4, 4, "in 4 dimensions, all lines of the same length"),
        (PIXEL[0], 4, 4, r"not uint8 of shape \(1, 1, 1\)"),
        (np.zeros((1, 1, 2, 1), np.uint8), 4, 4, r"takes images of shape \(1, 1, 1\)"),
        (None, 4, 4, r"dimensions, not object of shape \(\)"),
    ],
)
@pytest.mark.parametrize("keep_layers", [True, False])
def test_wrong_input_gets_a_sentence(
    images: Any, tau: Any, T: Any, message: str, keep_layers: bool
) -> None:
    with pytest.raises(ResiduumError, match=message):
        simulate(one_neuron(1, 0, 1), images, tau=tau, T=T, keep_layers=keep_layers)


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        torch.from_numpy,
        lambda images: images.astype(np.int64),
        lambda images: images[::-1][::-1],
    ],
)
def test_what_can_be_meant_is_accepted(convert: Callable[[np.ndarray], Any]) -> None:
    """Images as lists, tensors and other integer types; tau and T as numpy integers, whose sums may
    wrap."""
    network = random_network(5)
    images = random_images(5, network, 3)
    trace = simulate(network, convert(images), tau=np.uint8(200), T=np.uint8(100))
    assert np.array_equal(trace.logits, simulate(network, images, tau=200, T=100).logits)


def test_largest_possible_window_counts_exactly() -> None:
    layer = only_output(np.full((1, 1, 1, 1), 32767), pool=(1024, 1024))
    network = IntegerNetwork("huge", (1, 1024, 1024), (layer,), 16)
    # A window covers at most 2**20 inputs; their sum is below 2**53.
    trace = simulate(network, np.full((1, 1, 1024, 1024), 255, np.uint8), tau=0, T=1)
    assert trace.logits.tolist() == [[(1 << 20) * 255 * 32767]]


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("bits", range(1, 9))
def test_number_is_the_rounded_quotient(threshold: int, bits: int) -> None:
    """Exhaustive: q = clip(floor((I + (TH >> 1)) / TH), 0, 2**K - 1), ties rounded up."""
    currents = np.arange(-2 * threshold, (threshold << bits) + 2 * threshold)
    found, left = divide(
        torch.from_numpy(currents)[:, None, None, None], np.array([threshold]), bits
    )
    layer = NaiveLayer([], [0], [threshold], None, bits=bits)
    expected = [number(layer, 0, int(i)) for i in currents]
    assert found.flatten().tolist() == expected
    assert left.flatten().tolist() == [
        int(i) + threshold // 2 - q * threshold for i, q in zip(currents, expected, strict=True)
    ]


def in_radix(threshold: int, bits: int, **changes: Any) -> IntegerNetwork:
    """Four pixels, one number for each, and one class that adds them up."""
    layers = (
        Layer("number", reads(np.full((1, 1, 1, 1), 1)), np.zeros(1, int), np.array([threshold]),
              0, bits=bits, **changes),
        Layer("sum", reads(np.ones((1, 1, 1, 1), int), 0, pool=(1, 2)), np.zeros(1, int), None, 0),
    )  # fmt: skip
    return IntegerNetwork("radix", (1, 1, 4), layers, 8, RADIX)


def test_radix_trains_are_the_bits_of_the_pooled_numbers() -> None:
    """Pixels 30, 0, 50, 255 / 10 are 3, 0, 5 and 25, clipped to 7; the maxima of pairs are 3, 7."""
    network = in_radix(10, 3, max_pool=MaxPool((1, 2), (1, 2)))
    image = np.array([30, 0, 50, 255], np.uint8).reshape(1, 1, 1, 4)
    trace = simulate(network, image, tau=0, T=1)
    layer = trace.layers[0]
    assert layer.values.flatten().tolist() == [3, 7]
    assert layer.trains.tolist() == [[[[[True, True]]], [[[True, True]]], [[[False, True]]]]]
    assert layer.residual.flatten().tolist() == [5, 5, 5, 190]
    assert not layer.silenced.any()
    assert trace.logits.tolist() == [[10]]


def test_rate_values_count_the_spikes_of_the_inference() -> None:
    trace = simulate(one_neuron(1, 0, 4), np.full((1, 1, 1, 1), 2, np.uint8), tau=4, T=3)
    assert trace.layers[0].trains.sum() == 4
    assert trace.layers[0].values.tolist() == [[[[2]]]]
    assert trace.logits.tolist() == [[2]]


@pytest.mark.parametrize(
    ("kernel", "groups", "geometry"),
    [
        ((3, 3), 1, {"padding": (1, 0, 2, 1), "stride": (2, 1)}),
        ((3, 3), 6, {"padding": (2, 2, 1, 1), "dilation": (2, 1)}),
        ((2, 3), 2, {"stride": (1, 2)}),
        ((1, 1), 6, {"stride": (2, 2)}),
        ((1, 1), 1, {}),
        ((9, 11), 1, {}),
        ((9, 11), 6, {}),
        ((2, 1), 3, {"pool": (2, 3)}),
    ],
)
def test_every_way_of_summing_equals_an_integer_convolution(
    kernel: tuple[int, int], groups: int, geometry: dict
) -> None:
    """Each shape takes another path through the kernel; torch convolves int64 without rounding."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (6, 6 // groups, *kernel))
    source = Source(weight, INPUT, groups=groups, **geometry)
    layer = Layer("n", (source,), np.zeros(6, int), np.ones(6, int), 0)
    x = torch.from_numpy(rng.integers(0, 256, (3, 6, 9, 11)))
    found = _Kernel(layer, layer.source, 255).sums(x).to(torch.int64)
    top, bottom, left, right = source.padding
    (rows, columns), (height, width) = source.pool, (9 // source.pool[0], 11 // source.pool[1])
    windows = x[:, :, : height * rows, : width * columns].unflatten(3, (width, columns))
    maps = windows.unflatten(2, (height, rows)).sum(dim=(3, 5))
    expected = F.conv2d(
        F.pad(maps, (left, right, top, bottom)), torch.from_numpy(weight), None, source.stride,
        0, source.dilation, groups,
    )  # fmt: skip
    assert torch.equal(found, expected)


def test_window_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(5)
    images = random_images(5, network, 7)
    whole = simulate(network, images, tau=1, T=2)
    monkeypatch.setattr(golden_model, "_WINDOW_NUMBERS", 1)
    assert np.array_equal(simulate(network, images, tau=1, T=2).logits, whole.logits)


def sum_beyond_bfloat16() -> tuple[IntegerNetwork, np.ndarray]:
    """A sum of 4097, which bfloat16 cannot hold, and the image that has it."""
    weight = np.array([16, 16, 1]).reshape(1, 3, 1, 1)
    image = np.array([128, 128, 1], np.uint8).reshape(1, 3, 1, 1)
    return IntegerNetwork("odd", (3, 1, 1), (only_output(weight),), 8), image


def test_autocast_and_reduced_precision_change_nothing() -> None:
    """Torch rounds float32 products to bfloat16 in autocast, and may do so where a switch allows
    it."""
    network, image = sum_beyond_bfloat16()
    with torch.autocast("cpu"):
        assert simulate(network, image, tau=0, T=1).logits.tolist() == [[4097]]
    try:
        torch.set_float32_matmul_precision("medium")
        assert simulate(network, image, tau=0, T=1).logits.tolist() == [[4097]]
    finally:
        torch.set_float32_matmul_precision("highest")


def two_sources(h: int, weights: tuple[int, int]) -> IntegerNetwork:
    """I = 2 * (w x + 2**h w' x) + 1 of one pixel x that is both sources."""
    sources = tuple(Source(np.full((1, 1, 1, 1), weight)) for weight in weights)
    layer = Layer("out", sources, np.ones(1, int), None, 1, h)
    return IntegerNetwork("two", (1, 1, 1), (layer,), 16)


@pytest.mark.parametrize(("h", "expected"), [(0, 2 * 255 * (3 - 5) + 1), (4, 2 * 255 * -77 + 1)])
def test_shift_belongs_to_the_second_source(h: int, expected: int) -> None:
    image = np.full((1, 1, 1, 1), 255, np.uint8)
    trace = simulate(two_sources(h, (3, -5)), image, tau=0, T=1)
    assert trace.logits.tolist() == [[expected]]


def test_image_beside_spikes_counts_in_every_step() -> None:
    """The output adds the image and a neuron that fires in every second step: 3 * 7 + 1."""
    neuron = Layer("neuron", reads(np.ones((1, 1, 1, 1), int)), np.zeros(1, int), np.array([14]), 0)
    sources = (Source(np.ones((1, 1, 1, 1), int)), Source(np.ones((1, 1, 1, 1), int), 0))
    out = Layer("out", sources, np.zeros(1, int), None, 0)
    network = IntegerNetwork("mixed", (1, 1, 1), (neuron, out), 8)
    trace = simulate(network, np.full((1, 1, 1, 1), 7, np.uint8), tau=1, T=3)
    assert trace.layers[0].trains.flatten().tolist() == [True, True, False, True]
    assert trace.logits.tolist() == [[3 * 7 + 2]]


def test_border_is_seen_as_if_the_picture_had_it() -> None:
    weight = np.arange(24).reshape(1, 2, 3, 4) - 9
    whole = IntegerNetwork("whole", (2, 3, 4), (only_output(weight),), 8)
    pad = Pad((1, 0, 0, 2), (9.0, 200.0))
    bordered = replace(whole, input_shape=(2, 2, 2), pad=pad)
    image = random_images(0, bordered, 3)
    wide = np.pad(image, [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=9)
    wide[:, 1, 0] = wide[:, 1, :, 2:] = 200
    logits = simulate(whole, wide, tau=0, T=2).logits
    assert np.array_equal(simulate(bordered, image, tau=0, T=2).logits, logits)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 3, 1, 1, 1), np.uint8), r"takes spike trains of shape \(N, 4, 1, 1, 1\)"),
        (np.full((1, 4, 1, 1, 1), 2, np.uint8), "a spike train holds 0 and 1 only"),
        (np.zeros((1, 1, 1, 1), np.uint8), "spike trains must be whole numbers"),
    ],
)
def test_wrong_trains_get_a_sentence(values: np.ndarray, message: str) -> None:
    network = replace(one_neuron(1, 0, 1), input=SPIKES)
    with pytest.raises(ResiduumError, match=message):
        simulate(network, values, tau=0, T=4)


def test_radix_runs_once() -> None:
    image = np.zeros((1, 1, 1, 4), np.uint8)
    with pytest.raises(ResiduumError, match="is in radix code, which runs once: tau must be 0"):
        simulate(in_radix(10, 3, max_pool=MaxPool((1, 2), (1, 2))), image, tau=4, T=4)


def test_strict_neurons_have_no_mask() -> None:
    network = one_neuron(1, 0, 4)
    strict = replace(network, layers=(replace(network.layers[0], strict=True), network.layers[1]))
    with pytest.raises(ResiduumError, match="layer 'neuron' fires strictly above its threshold"):
        simulate(strict, PIXEL, tau=1, T=1)


@pytest.mark.parametrize(("strict", "spikes"), [(False, 2), (True, 1)])
def test_strict_neuron_rests_at_its_threshold(strict: bool, spikes: int) -> None:
    """V0 = 2, I = 2, TH = 4: v + I is 4, 2, 4, ... without, and 4, 6, 4, ... with strictness."""
    network = one_neuron(1, 0, 4)
    network = replace(
        network, layers=(replace(network.layers[0], strict=strict), network.layers[1])
    )
    trace = simulate(network, np.full((1, 1, 1, 1), 2, np.uint8), tau=0, T=3)
    assert trace.logits.tolist() == [[spikes]]
