"""Random modules of PyTorch against the float networks that they become."""

from collections import Counter

import pytest
import torch

from residuum.sw.frontend.models import module_to_network
from residuum.sw.network.forward import forward
from tests.sw.frontend.modules import RandomNet

SEEDS = 240
# What the random modules must contain at least once.
FORMS = {
    *("normalisation", "relu", "relu6", "clip", "plain", "dilation", "groups", "depthwise"),
    *("residual", "projection", "option A", "two identities", "three terms of one map"),
    *("concatenation", "ReLU of concatenation", "norm of concatenation", "split channels"),
    *("max-pooling", "max-pooling with padding", "max-pooling with overlap", "ceil mode"),
    *("max-pooling before ReLU", "pooled and unpooled reader", "average pooling"),
    *("BatchNorm before convolution", "channel shuffle", "padding of its own"),
    *("global pooling", "flatten", "dense", "dense residual", "convolution as head"),
    *("ReLU as head", "uneven pooling", "mean", "transposed flatten", "two global poolings"),
}


def difference(seed: int) -> float:
    """Largest difference between a random module and its float network, relative to the logits."""
    module = RandomNet(seed).double().eval()
    images = torch.rand(3, *module.input_shape, dtype=torch.float64)
    with torch.no_grad():
        expected = module(images.clone())
    if "dense" in module.forms and "global pooling" in module.forms:
        expected = expected - expected.mean(1, keepdim=True)
    network = module_to_network(module, module.input_shape)
    logits = forward(network, images)
    if "dense" in module.forms and "global pooling" in module.forms:
        # The log-softmax is dropped, so logits differ by a constant.
        logits = logits - logits.mean(1, keepdim=True)
    return float((logits - expected).abs().max() / (1 + expected.abs().max()))


@pytest.mark.parametrize("first", range(0, 20, 5))
def test_random_modules(first: int) -> None:
    for seed in range(first, first + 5):
        assert difference(seed) < 1e-9, seed


@pytest.mark.long
@pytest.mark.parametrize("first", range(20, SEEDS, 20))
def test_more_random_modules(first: int) -> None:
    for seed in range(first, first + 20):
        assert difference(seed) < 1e-9, seed


@pytest.mark.long
def test_random_modules_have_all_forms() -> None:
    counts = Counter(form for seed in range(SEEDS) for form in RandomNet(seed).forms)
    assert set(counts) >= FORMS
