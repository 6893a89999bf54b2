"""Training: repeatable, resumable, and what it is made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sw import train as training
from sw.augment import random_affine
from sw.data import ImageSet
from sw.errors import ResiduumError
from sw.models import DIGITS, MNIST, QCFSNetwork, model_definition
from sw.train import FoldedModule, fine_tune, float_accuracy, fold, mean_activity, train

SMALL = replace(DIGITS, epochs=2, fine_tune_epochs=1, batch=16)


def small_data() -> ImageSet:
    """Two kinds of images that are easy to tell apart: ink above or ink below."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = np.zeros((64, 1, 8, 8), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * label : 4 * label + 4] = rng.integers(100, 256, (4, 8))
    return ImageSet("digits", images, labels, images, labels)


def weights_of(network: QCFSNetwork) -> list[list[float]]:
    return [tensor.flatten().tolist() for tensor in network.state_dict().values()]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_interrupted_run_goes_on_to_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(SMALL, small_data(), seed=3, checkpoint=tmp_path / "whole.pt")
    save = training._save

    def save_and_stop(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, small_data(), seed=3, checkpoint=tmp_path / "cut.pt")
    monkeypatch.setattr(training, "_save", save)
    resumed = train(SMALL, small_data(), seed=3, checkpoint=tmp_path / "cut.pt")
    assert weights_of(resumed) == weights_of(whole)


def test_seed_decides(tmp_path: Path) -> None:
    one = train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "1.pt")
    two = train(SMALL, small_data(), seed=2, checkpoint=tmp_path / "2.pt")
    assert weights_of(one) != weights_of(two)


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "1.pt")
    with pytest.raises(ResiduumError, match="was made with other settings; delete it, or give"):
        train(SMALL, small_data(), seed=2, checkpoint=tmp_path / "1.pt")


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.pt").write_bytes(b"half")
    with pytest.raises(ResiduumError, match="is damaged; delete it, or give --restart"):
        train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "1.pt")


def test_training_and_fine_tuning_learn(tmp_path: Path) -> None:
    data = small_data()
    definition = replace(SMALL, epochs=10)
    network = fold(train(definition, data, seed=0, checkpoint=tmp_path / "1.pt"))
    assert float_accuracy(network, data.test_images, data.test_labels) > 0.9
    tuned = fine_tune(network, definition, data, bits=2, seed=0)
    with torch.inference_mode():
        logits = FoldedModule(tuned, bits=2)(torch.from_numpy(data.test_images).float() / 255)
    assert (logits.argmax(1).numpy() == data.test_labels).mean() > 0.9


def test_activity_weighs_neurons_by_the_synapses_they_feed() -> None:
    """Only layer 1 active: its 3136 neurons feed 32 * 9 / 2**2 = 72 synapses each, and so on."""
    network = QCFSNetwork(MNIST)
    network(torch.zeros(1, 1, 28, 28))
    for layer in network.hidden_layers():
        assert layer.activation.share is not None
        layer.activation.share = torch.zeros_like(layer.activation.share)
    first = network.hidden_layers()[0].activation
    assert first.share is not None
    first.share = torch.ones_like(first.share)
    feeds = [3136 * 72, 1568 * 288, 1568 * 10]
    assert mean_activity(network).item() == pytest.approx(feeds[0] / sum(feeds))


def augmented(images: torch.Tensor, **limits: float) -> torch.Tensor:
    values = {"max_rotation": 0.0, "max_zoom": 0.0, "max_shift": 0.0} | limits
    return random_affine(images, **values, generator=torch.Generator().manual_seed(0))


def test_no_augmentation_changes_nothing() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert torch.allclose(augmented(images), images, atol=1e-5)


def test_shift_keeps_ink_and_stays_within_limits() -> None:
    """A dot in the middle moves by at most two pixels and loses nothing."""
    images = torch.zeros(200, 1, 11, 11)
    images[:, :, 5, 5] = 1
    moved = augmented(images, max_shift=2.0)
    assert torch.allclose(moved.sum(dim=(1, 2, 3)), torch.ones(200), atol=1e-4)
    centre = (moved.sum(dim=(1, 2)) * torch.arange(11.0)).sum(dim=1) - 5
    assert 1.5 < centre.abs().max() <= 2.0 + 1e-4


def test_mnist_definition_is_the_agreed_network() -> None:
    assert [layer.channels for layer in MNIST.hidden] == [16, 32, 32]
    assert [layer.stride for layer in MNIST.hidden] == [2, 2, 1]
    assert MNIST.feature_shape == (32, 7, 7)


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ResiduumError, match="no model 'vgg' to train; the known models are digits"):
        model_definition("vgg")
