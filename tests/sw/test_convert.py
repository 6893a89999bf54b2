"""Folding, weight scales and the rounding to integers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from residuum.sw.convert.quantize import quantize_weights, weight_scales
from residuum.sw.convert.to_integer import FractionBits, to_integer
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.float_snn import simulate_float
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.float_network import FloatLayer, FloatNetwork, fold_batchnorm
from residuum.sw.network.graph import Source
from residuum.sw.train.fine_tuning import FoldedModule
from residuum.sw.train.folding import fold
from residuum.sw.train.models import DIGITS, QCFSNetwork


def test_folding_equals_torch_batchnorm() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False).double()
    norm = nn.BatchNorm2d(5).double()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.1, 2)
        norm.eval()
        x = torch.randn(2, 3, 7, 9, dtype=torch.float64)
        expected = norm(conv(x))
        weight, bias = fold_batchnorm(
            *(t.numpy() for t in (conv.weight, norm.running_mean, norm.running_var)),
            *(t.numpy() for t in (norm.weight, norm.bias)),
            norm.eps,
        )
        folded = nn.functional.conv2d(
            x, torch.from_numpy(weight), torch.from_numpy(bias), stride=2, padding=1
        )
    assert torch.allclose(folded, expected, atol=1e-12)


def test_folded_network_equals_trained_module() -> None:
    """Folding also keeps pooling, thresholds, geometry and the classifier."""
    torch.manual_seed(1)
    network = QCFSNetwork(DIGITS)
    x = torch.rand(64, 1, 8, 8)
    network.train()
    for _ in range(5):
        network(x)  # changes the running statistics from their initial values
    network.eval()
    with torch.no_grad():
        logits, folded = network(x), FoldedModule(fold(network))(x)
    # Folding rounds differently in float32, so values at a step of QCFS may take another level.
    assert (logits - folded).abs().median() < 1e-5
    assert (logits.argmax(1) == folded.argmax(1)).float().mean() > 0.95


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shared", [False, True])
def test_scales_lose_least(bits: int, shared: bool) -> None:
    """No candidate of a finer search is better by more than the coarser grid explains."""
    rng = np.random.default_rng(bits)
    weight = torch.from_numpy(rng.standard_t(4, (3, 40)))
    scales = weight_scales(weight, bits, shared=shared)
    rows = weight.reshape(1 if shared else 3, -1)
    limit = 2 ** (bits - 1) - 1

    def loss(row: torch.Tensor, scale: float) -> float:
        rounded = (row / scale).round().clamp(-limit, limit) * scale
        return float(((row - rounded) ** 2).sum())

    for row, scale in zip(rows, scales[: len(rows)].tolist(), strict=True):
        largest = float(row.abs().max()) / limit
        best = min(loss(row, s) for s in np.linspace(0.4, 1, 1001) * largest)
        assert loss(row, scale) <= min(1.1 * best + 1e-12, loss(row, largest))


def test_channel_without_weights() -> None:
    weight = torch.zeros(2, 4, dtype=torch.float64)
    weight[1, 0] = 0.5
    scales = weight_scales(weight, 8, shared=False)
    assert scales[0] == 1.0
    assert quantize_weights(weight, scales, 8).tolist() == [[0, 0, 0, 0], [127, 0, 0, 0]]


def hand_network(pool: tuple[int, int] = (1, 1)) -> FloatNetwork:
    weight = np.array([127.0, -64.0]).reshape(1, 1, 1, 2) / 127
    return FloatNetwork(
        "hand",
        (1, 2, 4),
        (
            FloatLayer("first", (Source(np.ones((1, 1, 1, 1))),), np.array([0.5]), 2.0),
            FloatLayer("second", (Source(weight, 0, pool=pool),), np.array([-0.25]), 1.0),
            FloatLayer("out", (Source(np.full((2, 1, 2 // pool[0], 4 // pool[1] - 1), 127.0), 1),),
                       np.array([1.0, 2.0]), None),
        ),
        levels=4,
    )  # fmt: skip


def test_hand_computed_integers() -> None:
    """Scale 1/127 in both hidden layers, A = 1/255 and then theta = 2."""
    first, second, out = to_integer(hand_network(), bits=8).layers
    assert first.fraction_bits == 0
    assert first.source.weight.flatten().tolist() == [127]
    assert first.bias.tolist() == [round(0.5 * 255 * 127)]
    assert first.threshold is not None
    assert first.threshold.tolist() == [2 * 255 * 127]
    assert second.fraction_bits == 4
    assert second.source.weight.flatten().tolist() == [127, -64]
    assert second.bias.tolist() == [round(-0.25 / 2 * 127 * 16)]
    assert second.threshold is not None
    assert second.threshold.tolist() == [round(1.0 / 2 * 127 * 16)]
    assert out.threshold is None
    assert out.bias.tolist() == [16, 32]


def test_pooling_makes_spikes_smaller() -> None:
    """2 x 2 pooling sums, so threshold and bias are multiplied by 4, and weights are unchanged."""
    plain = to_integer(hand_network(), bits=8).layers[1]
    pooled = to_integer(hand_network(pool=(2, 2)), bits=8).layers[1]
    assert np.array_equal(plain.source.weight, pooled.source.weight)
    assert plain.threshold is not None
    assert pooled.threshold is not None
    assert pooled.threshold.tolist() == (4 * plain.threshold).tolist()
    assert pooled.bias.tolist() == (4 * plain.bias).tolist()


def test_threshold_is_at_least_one() -> None:
    network = hand_network()
    tiny = replace(network.layers[1], threshold=1e-9)
    network = replace(network, layers=(network.layers[0], tiny, network.layers[2]))
    threshold = to_integer(network, bits=8).layers[1].threshold
    assert threshold is not None
    assert threshold.tolist() == [1]


def test_output_layer_has_one_scale() -> None:
    """Two classes whose weights differ by a factor of 10 must have the same unit."""
    weight = np.array([[1.0], [0.1]])[:, :, None, None]
    layer = FloatLayer("out", (Source(weight),), np.zeros(2), None)
    network = to_integer(FloatNetwork("one", (1, 1, 1), (layer,), 4), bits=8)
    assert network.layers[0].source.weight.flatten().tolist() == [127, 13]


def test_range_must_be_known() -> None:
    """A plain ReLU has none."""
    network = hand_network()
    endless = replace(network.layers[0], threshold=np.inf)
    with pytest.raises(ResiduumError, match="'first' is a ReLU whose range is not known"):
        to_integer(replace(network, layers=(endless, *network.layers[1:])), bits=8)


def test_integer_model_approaches_float_model() -> None:
    """With weights that are exact in 4 bits, only B and TH are rounded, and a large f makes their
    rounding errors vanish."""
    network, images = exactly_representable(0)
    exact = simulate_float(network, images / 255, tau=4, T=4)
    differing = []
    for fraction in (0, 4, 8, 16):
        rounded = to_integer(network, bits=4, fraction_bits=FractionBits(fraction, fraction))
        trace = simulate(rounded, images, tau=4, T=4)
        pairs = zip(exact.layers, trace.layers, strict=True)
        differing.append(sum(int((a.trains != b.trains).sum()) for a, b in pairs))
    assert differing == sorted(differing, reverse=True)
    assert differing[0] > 0
    assert differing[-1] == 0


def exactly_representable(seed: int) -> tuple[FloatNetwork, np.ndarray]:
    """Weights k/7 with |k| = 7 in every channel, biases and thresholds of any kind."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        integers = rng.integers(-6, 7, shape)
        integers.reshape(shape[0], -1)[:, 0] = 7
        return integers / 7

    layers = (
        FloatLayer(
            "a",
            (Source(weights(6, 2, 3, 3), padding=(1, 1, 1, 1)),),
            rng.normal(0, 0.1, 6),
            0.713,
        ),
        FloatLayer(
            "b", (Source(weights(5, 6, 3, 3), 0, pool=(2, 2)),), rng.normal(0, 0.1, 5), 0.391
        ),
        FloatLayer("out", (Source(weights(4, 5, 1, 1), 1),), rng.normal(0, 0.1, 4), None),
    )
    images = rng.integers(0, 256, (40, 2, 6, 6), dtype=np.uint8)
    return FloatNetwork("exact", (2, 6, 6), layers, 4), images
