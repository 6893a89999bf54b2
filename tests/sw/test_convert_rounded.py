"""Fine-tuning with rounded weights and activations, on the digits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from residuum.sw.convert.to_integer import convert
from residuum.sw.data.data_sets import ImageSet, load_dataset
from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import RADIX
from residuum.sw.train.rounded import RoundedModule, fine_tune_rounded
from tests.sw.quantized import quantized_logits
from tests.sw.reporter import Lines

ZOO = Path(__file__).resolve().parents[2] / "sw" / "zoo"


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def network() -> FloatNetwork:
    """A ReLU network with ranges."""
    return replace(FloatNetwork.load(ZOO / "digits-float.npz"), levels=None)


def accuracy(network: FloatNetwork, data: ImageSet) -> float:
    """With 2-bit weights and activations, rounded to the nearest."""
    integer = convert(network, bits=2, code=RADIX, map_bits=2).network
    return float((quantized_logits(integer, data.test_images).argmax(1) == data.test_labels).mean())


def tuned(network, data, path, *, epochs=3, labels=True, **options):
    return fine_tune_rounded(
        network, data.train_images, data.train_labels if labels else None, epochs=epochs,
        weight_bits=2, map_bits=2, checkpoint=path, **options,
    )  # fmt: skip


@pytest.mark.parametrize("labels", [True, False])
def test_fine_tuning_recovers_what_rounding_loses(network, digits, tmp_path, labels) -> None:
    before = accuracy(network, digits)
    result = tuned(network, digits, tmp_path / "c.pt", labels=labels)
    assert accuracy(result, digits) > before + 0.05


def test_conversion_finds_the_trained_integers(network, digits, tmp_path) -> None:
    """Also with compensation: every weight is a whole multiple of the unit of its channel."""
    result = tuned(network, digits, tmp_path / "c.pt", epochs=1)
    nearest = convert(result, bits=2, code=RADIX, map_bits=2).network
    handed = convert(
        result, bits=2, code=RADIX, map_bits=2, images=digits.train_images[:256], compensate=True
    ).network
    for a, b in zip(nearest.layers, handed.layers, strict=True):
        assert np.array_equal(a.source.weight, b.source.weight)


def test_training_sees_the_values_of_the_integers(network, digits, tmp_path) -> None:
    """The module's logits are those of the integers, whose bias and threshold are rounded."""
    result = tuned(network, digits, tmp_path / "c.pt", epochs=1)
    module = RoundedModule(result, weight_bits=2, map_bits=2)
    with torch.no_grad():
        trained = module(torch.from_numpy(digits.test_images).float() / 255).numpy()
    integer = convert(result, bits=2, code=RADIX, map_bits=2, potential_bits=40).network
    assert integer.logit_scale is not None
    logits = quantized_logits(integer, digits.test_images) * integer.logit_scale
    difference = np.abs(logits - trained).max(axis=1)
    assert np.median(difference) < 1e-3 * np.abs(trained).max()


def test_resumed_training_is_the_same(network, digits, tmp_path, monkeypatch) -> None:
    whole = tuned(network, digits, tmp_path / "whole.pt", epochs=2)
    path, reporter = tmp_path / "parts.pt", Interrupting()
    with pytest.raises(KeyboardInterrupt):
        tuned(network, digits, path, epochs=2, reporter=reporter)
    again = Lines()
    resumed = tuned(network, digits, path, epochs=2, reporter=again)
    assert [line[:12] for line in again.said] == ["epoch 2 of 2"]
    for a, b in zip(whole.layers, resumed.layers, strict=True):
        assert np.array_equal(a.source.weight, b.source.weight)


class Interrupting(Lines):
    """Interrupts the training behind its first epoch."""

    def say(self, line: str) -> None:
        raise KeyboardInterrupt


def test_checkpoint_of_other_settings(network, digits, tmp_path) -> None:
    path = tmp_path / "c.pt"
    tuned(network, digits, path, epochs=1)
    with pytest.raises(ResiduumError, match="was made with other settings"):
        tuned(network, digits, path, epochs=1, seed=1)


def test_ranges_must_be_known(network, digits, tmp_path) -> None:
    endless = replace(network.layers[0], threshold=np.inf)
    unknown = replace(network, layers=(endless, *network.layers[1:]))
    with pytest.raises(ResiduumError, match="'conv1' is a ReLU whose range is not known"):
        tuned(unknown, digits, tmp_path / "c.pt")
