"""The simulator of the study against the golden model, scalars and closed forms."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.bounds import bounds
from residuum.sw.network.corrections import CARRY, MASK, OFFSET
from residuum.sw.network.forward import convolve
from residuum.sw.network.graph import INPUT
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.study.measure import CASES, right_ann, right_images, right_with_reset, unevenness
from residuum.sw.study.simulator import Simulator, Synapses, qcfs_levels
from tests.sw.layers import layer
from tests.sw.naive import currents
from tests.sw.networks import naive_integer, random_graph, random_images, random_network

STEPS = 5
# A graph with a neuron that fires strictly above its threshold.
STRICT = next(
    seed for seed in range(99) if any(x.strict for x in random_graph(seed, "rate", "image").layers)
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@given(seed=st.integers(0, 2**32))
@example(seed=0)
@settings(max_examples=15, deadline=None)
def test_every_tau_and_T_equals_the_golden_model(seed: int) -> None:
    """Logits, spikes and masks of every setting, from one shared run."""
    network = any_network(seed)
    images = random_images(seed, network, 2)
    simulator = Simulator(network, STEPS)
    (_, batch), *rest = simulator.batches(images)
    assert not rest
    probe = simulator.plain(batch, STEPS, keep=range(1, STEPS + 1))
    for T in range(1, STEPS + 1):
        assert np.array_equal(
            probe.logits[T - 1].numpy(), simulate(network, images, tau=0, T=T).logits
        )
    for tau in range(1, STEPS + 1):
        inference = simulator.inference(batch, probe, tau=tau, T=STEPS)
        for T in range(1, STEPS + 1):
            golden = simulate(network, images, tau=tau, T=T)
            assert np.array_equal(inference.logits[T - 1].numpy(), golden.logits)
        for index, traced in enumerate(golden.layers):
            silenced = inference.silenced[index]
            assert np.array_equal(silenced.numpy(), traced.silenced)
            assert np.array_equal(probe.layers[index].potentials[tau].numpy(), traced.residual)
            passed = (inference.unmasked[index] * ~silenced).transpose(0, 1).bool()
            assert np.array_equal(passed.numpy(), traced.trains[:, tau:])


@given(seed=st.integers(0, 2**32))
@example(seed=0)
@settings(max_examples=10, deadline=None)
def test_carry_and_offset_equal_the_golden_model(seed: int) -> None:
    network = any_network(seed)
    images = random_images(seed, network, 2)
    simulator = Simulator(network, STEPS)
    (_, batch), *_ = simulator.batches(images)
    run = simulator.plain(batch, STEPS, keep=range(1, STEPS + 1))
    for tau in range(1, STEPS):
        carried = simulator.carried(run, tau=tau)
        offset = simulator.inference(batch, run, tau=tau, T=STEPS - tau, correction=OFFSET)
        assert not any(silenced.any() for silenced in offset.silenced)
        for found, correction in ((carried, CARRY), (offset.logits, OFFSET)):
            assert len(found) == STEPS - tau
            for T in range(1, STEPS - tau + 1):
                golden = simulate(network, images, tau=tau, T=T, correction=correction)
                assert np.array_equal(found[T - 1].numpy(), golden.logits)


def test_batches_cover_all_images_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residuum.sw.study.simulator._BATCH_NUMBERS", 1)
    network = random_network(5)
    images = random_images(5, network, 4)
    places = [(place, batch.numpy()) for place, batch in Simulator(network, 2).batches(images)]
    assert [place for place, _ in places] == [slice(i, i + 1) for i in range(4)]
    assert np.array_equal(np.concatenate([batch for _, batch in places]), images)


def one_neuron(weight: int, bias: int, threshold: int) -> IntegerNetwork:
    """One pixel, one neuron, one class that counts its spikes."""
    layers = (
        layer(0, "neuron", np.full((1, 1, 1, 1), weight), np.array([bias]), np.array([threshold])),
        layer(1, "count", np.ones((1, 1, 1, 1), int), np.zeros(1, int), None),
    )
    return IntegerNetwork("one", (1, 1, 1), layers, 8)


@pytest.mark.parametrize(
    ("reset", "potentials"),
    # Current 7, TH 10, V0 5: v + I = 12 fires, which leaves 2, 0 or 5, and so on.
    [
        ("subtraction", [2, 9, 6, 3]),  # 5+7=12 2+7=9 9+7=16 6+7=13
        ("zero", [0, 7, 0, 7]),  # 12 7 14 7
        ("start", [5, 5, 5, 5]),  # 12 12 12 12
    ],
)
def test_resets_by_hand(reset: str, potentials: list[int]) -> None:
    network = one_neuron(1, 0, 10)
    image = torch.full((1, 1, 1, 1), 7, dtype=torch.uint8)
    run = Simulator(network, 4).plain(image, 4, keep=range(1, 5), reset=reset)  # type: ignore[arg-type]
    assert [int(v) for v in run.layers[0].potentials.values()] == potentials
    assert [int(total) for total in run.logits] == np.cumsum([v < 7 for v in potentials]).tolist()


def test_extremes_by_hand() -> None:
    """Current 7, TH 10: v+I is 12, 9, 16, 13 and v+I-TH at least -1; one spike per step counted."""
    simulator = Simulator(one_neuron(1, 0, 10), 4)
    extremes = simulator.record_extremes()
    simulator.plain(torch.full((1, 1, 1, 1), 7, dtype=torch.uint8), 4)
    assert (extremes.low.tolist(), extremes.high.tolist()) == ([-1, 0], [16, 3])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_extremes_are_within_the_bounds(seed: int) -> None:
    network = any_network(seed)
    images = random_images(seed, network, 3)
    labels = np.zeros(3, np.int64)
    seen = right_images(network, images, labels, plain_steps=4, stages={2: 4}, record=True)
    for index, each in enumerate(network.layers):
        limits = bounds(network, each, 4)
        assert seen["low"][index] >= min(int(limits.potential_min.min()), 0)
        assert seen["high"][index] <= max(int(limits.potential_max.max()), 0)


def naive_levels(network: IntegerNetwork, image: np.ndarray, levels: int) -> list:
    """q of every hidden layer in exact fractions, from the mean currents of the naive simulator."""
    maps, result = {INPUT: network.with_border(image)[0].tolist()}, []
    for index, naive in enumerate(naive_integer(network)[:-1]):
        mean = currents(naive, [maps[source.map] for source in naive.sources])
        assert naive.threshold is not None
        assert naive.start is not None
        maps[index] = [
            [[Fraction(min(max((levels * i + v0) // th, 0), levels), levels) for i in row]
             for row in plane]
            for plane, th, v0 in zip(mean, naive.threshold, naive.start, strict=True)
        ]  # fmt: skip
        result.append([[[int(q * levels) for q in row] for row in plane] for plane in maps[index]])
    return result


def any_network(seed: int) -> IntegerNetwork:
    """A chain, or a graph in rate code that has a probe."""
    if seed % 2:
        return random_network(seed)
    network = random_graph(seed, "rate", "image")
    layers = tuple(replace(each, strict=False) for each in network.layers)
    return replace(network, layers=layers)


@given(seed=st.integers(0, 2**32), levels=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_levels_of_the_ann_equal_exact_fractions(seed: int, levels: int) -> None:
    network = any_network(seed)
    image = random_images(seed, network, 1)
    counts, _ = qcfs_levels(network, torch.from_numpy(network.with_border(image)), levels)
    expected = naive_levels(network, image, levels)
    assert [q[0].tolist() for q in counts] == expected


@given(seed=st.integers(0, 2**32), T=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_first_layer_has_no_unevenness(seed: int, T: int) -> None:
    """The image is a constant current, so the spikes are exactly the levels of the ANN."""
    network = random_network(seed)
    images = random_images(seed, network, 2)
    counts = unevenness(network, images, T=T, taus=[2])
    if len(network.layers) > 1:
        assert counts["plain"][0, :4].tolist() == [0, 0, 0, 0]
        assert counts["own"][0].tolist() == [0, 0]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_unevenness_equals_counts_from_golden_trains(seed: int) -> None:
    """The same counts from the golden model's trains and exact fractions, neuron by neuron."""
    network = any_network(seed)
    image = random_images(seed, network, 1)
    T, tau = 4, 3
    counts = unevenness(network, image, T=T, taus=[tau])
    plain = simulate(network, image, tau=0, T=T)
    ended = simulate(network, image, tau=T, T=1)
    srp = simulate(network, image, tau=tau, T=T)
    levels = naive_levels(network, image, T)
    for index, q in enumerate(np.array(level) for level in levels):
        before = plain.layers[index].trains[0].sum(axis=0)
        after = srp.layers[index].trains[0, tau:].sum(axis=0)
        assert counts["plain"][index].tolist() == naive_cases(before, q)
        assert counts["srp"][0, index].tolist() == naive_cases(after, q)
        threshold = network.layers[index].threshold
        assert threshold is not None
        # QCFS level of the neuron's actual current: V0 + sum of I = v + N TH.
        total = ended.layers[index].residual[0] + before * threshold[:, None, None]
        own = np.clip(total // threshold[:, None, None], 0, T)
        assert counts["own"][index].tolist() == [(before > own).sum(), (before < own).sum()]
        silenced = srp.layers[index].silenced[0]
        assert counts["silenced"][0, index, :2].tolist() == [
            silenced.sum(),
            (silenced & (q == 0)).sum(),
        ]


def naive_cases(count: np.ndarray, q: np.ndarray) -> list[int]:
    """The cases in the order of ``CASES``, one neuron at a time."""
    names = []
    for n, level in zip(count.flatten().tolist(), q.flatten().tolist(), strict=True):
        if n == level:
            names.append("both silent" if n == 0 else "exact")
        elif n > level:
            names.append("fires, ANN silent" if level == 0 else "fires too often")
        else:
            names.append("silent, ANN active" if n == 0 else "fires too rarely")
    return [names.count(case) for case in CASES]


def test_silenced_neurons_that_would_have_fired() -> None:
    """A neuron that fires before its inhibition arrives is rightly silenced."""
    layers = (
        layer(0, "in", [[[[2]]], [[[1]]]], np.zeros(2, int), np.array([2, 2])),
        layer(1, "mid", [[[[3]], [[-9]]]], np.zeros(1, int), np.array([4])),
        layer(2, "out", np.ones((1, 1, 1, 1), int), np.zeros(1, int), None),
    )
    network = IntegerNetwork("late", (1, 1, 1), layers, 8)
    counts = unevenness(network, np.full((1, 1, 1, 1), 1, np.uint8), T=2, taus=[2])
    # Both inputs fire at step 1, so "mid" gets 3-9 at once and never fires.
    assert counts["silenced"][0, 1].tolist() == [1, 1, 0, 0]
    later = layer(0, "in", [[[[2]]], [[[2]]]], np.array([0, -1]), np.array([2, 3]))
    network = replace(network, layers=(later, *layers[1:]))
    counts = unevenness(network, np.full((1, 1, 1, 1), 1, np.uint8), T=2, taus=[2])
    # "in" 2 has V0 1, current 1, TH 3: it fires at step 2 only. "mid": 2+3 fires, 1+3-9 = -5.
    assert counts["silenced"][0, 1].tolist() == [1, 1, 1, 1]
    assert counts["plain"][1].tolist() == [1, 0, 0, 0, 0, 0]
    assert counts["srp"][0, 1].tolist() == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("correction", [MASK, CARRY, OFFSET])
def test_right_images_are_those_of_the_golden_model(correction: str) -> None:
    network = random_network(11)
    images = random_images(11, network, 40)
    labels = np.arange(40) % network.classes
    stages = {1: 2, 4: 3}
    right = right_images(
        network, images, labels, plain_steps=7, stages=stages, correction=correction
    )
    assert right["plain"].shape == (7, 40)
    for tau, T, row in ((0, 1, 0), (0, 6, 5), (1, 2, 1), (4, 1, 0), (4, 3, 2)):
        golden = simulate(network, images, tau=tau, T=T, correction=correction).prediction == labels
        found = right["plain" if tau == 0 else f"srp_{tau}"][row]
        assert np.array_equal(found, golden)


def test_right_with_reset_starts_as_the_plain_run() -> None:
    """The kind of reset has no effect on the first step, so T = 1 is the same for all."""
    network = random_network(11)
    images = random_images(11, network, 40)
    labels = np.arange(40) % network.classes
    plain = right_images(network, images, labels, plain_steps=1, stages={})["plain"]
    other = right_with_reset(network, images, labels, steps=3, resets=["zero", "start"])
    assert np.array_equal(other["zero"][0], plain[0])
    assert np.array_equal(other["start"][0], plain[0])


def test_ann_with_one_level_is_one_step() -> None:
    """With L = 1 a level is one spike, so the ANN and one step of the network agree."""
    network = random_network(11)
    images = random_images(11, network, 40)
    labels = np.arange(40) % network.classes
    right = right_ann(network, images, labels, levels=[1])["right"][0]
    assert np.array_equal(right, simulate(network, images, tau=0, T=1).prediction == labels)


def test_convolution_that_rounds_is_replaced_by_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    source = random_network(7).layers[0].source
    x = torch.randint(0, 256, (2, source.in_channels, 9, 9), dtype=torch.uint8)
    exact = Synapses(source, 1, 1).sum(x)

    def rounding(*args: Any, **how: Any) -> torch.Tensor:
        return convolve(*args, **how) + 0.25

    monkeypatch.setattr("residuum.sw.study.simulator.convolve", rounding)
    assert torch.equal(Synapses(source, 1, 1).sum(x), exact)


def test_large_sums_are_exact() -> None:
    """Beyond 2**24 float32 would round; the simulator must take float64."""
    weight = np.full((1, 1, 41, 41), 32767)
    weight[0, 0, 0, 0] = 1
    out = layer(0, "out", weight, np.zeros(1, int), None)
    network = IntegerNetwork("large", (1, 41, 41), (out,), 16)
    run = Simulator(network, 3).plain(torch.full((1, 1, 41, 41), 255, dtype=torch.uint8), 3)
    assert int(run.logits[2]) == 3 * 255 * (1680 * 32767 + 1)


def test_sums_beyond_all_float_types_get_a_sentence() -> None:
    huge = layer(0, "out", np.full((1, 1, 16, 16), 32767), np.zeros(1, int), None, 16)
    network = IntegerNetwork("huge", (1, 16, 16), (huge,), 16)
    with pytest.raises(ResiduumError, match=r"'out' can reach \d+, beyond the 2\*\*53 up to which"):
        Simulator(network, 1024)


@pytest.mark.parametrize(
    ("seed", "code", "kind", "sentence"),
    [
        (
            0,
            "radix",
            "image",
            "is in radix code, which has no steps; there is no residual",
        ),
        (0, "rate", "spikes", "reads spike trains instead of images; there is no residual"),
        (STRICT, "rate", "image", "fires strictly above its threshold and has no probe; there is"),
    ],
)
def test_networks_without_a_probe_get_a_sentence(
    seed: int, code: str, kind: str, sentence: str
) -> None:
    with pytest.raises(ResiduumError, match=sentence):
        Simulator(random_graph(seed, code, kind), 1)


def test_wrong_images_get_a_sentence() -> None:
    network = random_network(7)
    with pytest.raises(ResiduumError, match="takes 8-bit images of shape"):
        next(Simulator(network, 1).batches(np.zeros((1, 9, 9, 9), np.uint8)))
