"""The deep networks: published sizes, folding, and training of small ones of their kind."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from residuum.sw.convert.balance import in_order
from residuum.sw.convert.to_integer import to_integer
from residuum.sw.data.data_sets import ImageSet
from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.train import fine_tuning, training
from residuum.sw.train.augment import CropAndFlip
from residuum.sw.train.deep import ARCHITECTURES, deep_definition
from residuum.sw.train.fine_tuning import FoldedModule, fine_tune, float_accuracy
from residuum.sw.train.folding import fold
from residuum.sw.train.models import (
    ConvDefinition,
    ModelDefinition,
    QCFSNetwork,
    Shortcut,
    ShortcutKind,
    model_definition,
    with_relu,
)
from residuum.sw.train.qcfs import QCFS
from residuum.sw.train.start import IMAGES, best_threshold
from residuum.sw.train.training import Paused, cosine, mean_activity, train
from tests.sw.folded import logits_of_folded
from tests.sw.reporter import Lines

RECIPE = replace(
    deep_definition("resnet20", "cifar10").recipe,
    epochs=3,
    batch=16,
    chunk=2,
    precision="float32",
    augmentation=CropAndFlip(max_shift=1),
)


def small(kind: ShortcutKind = "projection", levels: int = 4) -> ModelDefinition:
    """A residual network of two blocks for 8x8 images."""
    return ModelDefinition(
        name="small",
        dataset="digits",
        input_shape=(1, 8, 8),
        hidden=(
            ConvDefinition(6, kernel=3, padding=1),
            ConvDefinition(6, kernel=3, padding=1),
            ConvDefinition(6, kernel=3, padding=1, shortcut=Shortcut(kind)),
            ConvDefinition(10, kernel=3, stride=2, padding=1),
            ConvDefinition(10, kernel=3, padding=1, shortcut=Shortcut(kind, stride=2)),
        ),
        classes=10,
        levels=levels,
        recipe=RECIPE,
        pool=2,
    )


def padded(definition: ModelDefinition) -> ModelDefinition:
    """The same with other padding in the first layer; the weights have the same shapes."""
    first, *others = definition.hidden
    return replace(definition, hidden=(replace(first, padding=2), *others))


def small_data() -> ImageSet:
    """Two kinds of images that are easy to tell apart: ink above or ink below."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 70)
    images = np.zeros((70, 1, 8, 8), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * label : 4 * label + 4] = rng.integers(100, 256, (4, 8))
    return ImageSet("digits", images, labels, images, labels)


def weights_of(network: nn.Module) -> list[list[float]]:
    return [tensor.flatten().tolist() for tensor in network.state_dict().values()]


def logits_of(network: QCFSNetwork, images: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = network.eval()(torch.from_numpy(images).float() / 255)
    return logits


def random_network(definition: ModelDefinition) -> QCFSNetwork:
    """An untrained network in float64 with random BatchNorms and thresholds."""
    torch.manual_seed(1)
    network = QCFSNetwork(definition)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.2, 0.3)
        elif isinstance(module, QCFS):
            nn.init.uniform_(module.threshold, 0.8, 1.6)
    return network.double().eval()


@pytest.mark.parametrize(
    ("architecture", "dataset", "shortcut", "parameters"),
    [
        ("resnet20", "cifar10", "option-a", 269_722),
        ("resnet20", "cifar100", "option-a", 275_572),
        ("resnet20", "cifar10", "projection", 272_474),
        ("resnet20", "cifar100", "projection", 278_324),
        ("resnet18", "cifar10", "projection", 11_173_962),
        # 4,224 less than with the biases of the convolutions, which BatchNorm makes useless.
        ("vgg16", "cifar10", None, 14_728_266 - 4_224),
    ],
)
def test_sizes_are_the_published_ones(
    architecture: str, dataset: str, shortcut: ShortcutKind | None, parameters: int
) -> None:
    with torch.device("meta"):
        network = QCFSNetwork(deep_definition(architecture, dataset, shortcut=shortcut, relu=True))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_folded_network_computes_the_same(architecture: str, dataset: str) -> None:
    network = random_network(deep_definition(architecture, dataset, width=0.125))
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    folded = fold(network)
    assert len(folded.class_names) == folded.classes == {"cifar10": 10, "cifar100": 100}[dataset]
    with torch.inference_mode():
        logits = network(images)
    assert logits.std() > 0.01
    assert torch.allclose(logits_of_folded(folded, images), logits, atol=1e-9)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("kind", ["projection", "option-a"])
def test_folded_shortcuts_compute_the_same(kind: ShortcutKind, relu: bool, tmp_path: Path) -> None:
    network = random_network(with_relu(small(kind)) if relu else small(kind))
    images = torch.rand(20, 1, 8, 8, dtype=torch.float64)
    folded = fold(network)
    with torch.inference_mode():
        logits = network(images)
    assert [source.map for source in folded.layers[4].sources] == [3, 2]
    assert logits.std() > 0.01
    assert torch.allclose(logits_of_folded(folded, images), logits, atol=1e-9)
    folded.save(tmp_path / "net.npz")
    loaded = FloatNetwork.load(tmp_path / "net.npz")
    read = [[layer.threshold for layer in network.layers] for network in (loaded, folded)]
    assert read[0] == read[1]
    assert (loaded.levels is None) == relu


def test_interrupted_run_goes_on_to_the_same_network(tmp_path: Path) -> None:
    """A run with a time limit pauses after each epoch; the next one goes on from there."""
    data, reporter = small_data(), Lines()
    whole = train(small(), data, seed=3, checkpoint=tmp_path / "whole.pt")
    again = partial(train, small(), data, seed=3, checkpoint=tmp_path / "cut.pt", minutes=1e-9)
    for epochs in (1, 2):
        with pytest.raises(Paused, match=f"{epochs} of 3 epochs"):
            again(reporter=reporter)
    assert weights_of(again(reporter=reporter)) == weights_of(whole)
    assert [line.partition(",")[0] for line in reporter.said] == [
        f"epoch {epoch} of 3" for epoch in (1, 2, 3)
    ]


@pytest.mark.parametrize("kind", ["projection", "option-a"])
def test_small_residual_networks_learn(kind: ShortcutKind, tmp_path: Path) -> None:
    definition = replace(small(kind), recipe=replace(RECIPE, epochs=10))
    data, reporter = small_data(), Lines()
    train(definition, data, seed=0, checkpoint=tmp_path / "1.pt", reporter=reporter)
    said = reporter.said[-1].removesuffix(" % of the held-out images")
    assert float(said.rpartition(" ")[2]) > 90


# Torch's compiler uses deprecated functions of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_residual_network_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    definition = replace(small(), recipe=replace(RECIPE, epochs=10, precision="bfloat16"))
    reporter = Lines()
    train(definition, small_data(), seed=0, checkpoint=tmp_path / "1.pt", reporter=reporter)
    said = reporter.said[-1].removesuffix(" % of the held-out images")
    assert float(said.rpartition(" ")[2]) > 90


def test_whole_batches_leave_out_the_rest() -> None:
    assert RECIPE.batches(70) == 4
    assert RECIPE.batches(5) == 1
    assert replace(RECIPE, whole_batches=False).batches(70) == 5


def test_training_from_weights_is_shorter_and_slower() -> None:
    recipe = deep_definition("resnet18", "cifar100").recipe
    assert (recipe.continued.epochs, recipe.continued.learning_rate) == (50, 0.025)
    assert replace(recipe, epochs=1).continued.epochs == 1


def test_cosine_rises_and_falls() -> None:
    rates = [cosine(step, steps=1000) for step in range(1000)]
    assert rates[0] == 1 / 20
    assert max(rates) == rates[19] == rates[20] == 1
    assert rates[510] == pytest.approx(0.5)
    assert rates[-1] < 1e-5
    assert np.diff(rates[20:]).max() < 0


def test_activity_counts_the_readers_of_a_shortcut() -> None:
    """Only the map that block and shortcut read is active: 64 synapses for each of its neurons."""
    definition = replace(small(), recipe=replace(RECIPE, activity_penalty=0.1))
    network = QCFSNetwork(definition)
    network(torch.zeros(1, 1, 8, 8))
    shares = []
    for number, layer in enumerate(network.hidden_layers()):
        share = layer.activation.share
        assert share is not None
        layer.activation.share = torch.full_like(share, float(number == 2))
        shares.append(share[0].numel())
    # Of the sum that the second block reads: 10 * 9 / 4 of the convolution, 10 / 4 of the shortcut.
    fan_outs = [6 * 9 + 1, 6 * 9, 10 * 9 / 4 + 10 / 4, 10 * 9, 10]
    synapses = np.multiply(shares, fan_outs)
    assert mean_activity(network).item() == pytest.approx(synapses[2] / synapses.sum())


@pytest.mark.parametrize("kind", ["projection", "option-a"])
def test_start_from_a_float_network_computes_what_it_computes(
    kind: ShortcutKind, tmp_path: Path
) -> None:
    """A training of no length: rate 0, so only the statistics of BatchNorm change."""
    data = small_data()
    first = random_network(small(kind)).float()
    fold(first).save(tmp_path / "net.npz")
    still = replace(small(kind), recipe=replace(RECIPE, epochs=1, learning_rate=0.0))
    second = train(still, data, seed=5, checkpoint=tmp_path / "2.pt", start=tmp_path / "net.npz")
    ours, theirs = logits_of(second, data.test_images), logits_of(first, data.test_images)
    # Random augmentation changes the statistics a little.
    assert (ours - theirs).abs().mean() < 0.2 * theirs.std()
    for layer, other in zip(second.hidden_layers(), first.hidden_layers(), strict=True):
        assert isinstance(layer.activation, QCFS)
        assert isinstance(other.activation, QCFS)
        assert layer.activation.threshold.item() == other.activation.threshold.item()


@pytest.mark.parametrize("kind", ["projection", "option-a"])
def test_start_from_channels_in_another_order(kind: ShortcutKind, tmp_path: Path) -> None:
    data, rng = small_data(), np.random.default_rng(3)
    network = fold(random_network(small(kind)).float())
    orders = {
        index: rng.permutation(layer.out_channels)
        for index, layer in enumerate(network.layers[:-1])
    }
    still = replace(small(kind), recipe=replace(RECIPE, epochs=1, learning_rate=0.0))
    logits = []
    for name, file in {"as it is": network, "in order": in_order(network, orders)}.items():
        file.save(tmp_path / f"{name}.npz")
        how = {"checkpoint": tmp_path / f"{name}.pt", "start": tmp_path / f"{name}.npz"}
        logits.append(logits_of(train(still, data, seed=5, **how), data.test_images))  # type: ignore[arg-type]
    assert torch.allclose(*logits, rtol=1e-3, atol=1e-3)


def test_qcfs_starts_from_relu(tmp_path: Path) -> None:
    """From a checkpoint and from the float network; the first loss is that of a trained network."""
    data = small_data()
    relu = replace(with_relu(small()), recipe=replace(RECIPE, epochs=10))
    fold(train(relu, data, seed=1, checkpoint=tmp_path / "relu.pt")).save(tmp_path / "relu.npz")
    short = replace(small(levels=8), recipe=replace(RECIPE, epochs=1, learning_rate=1e-3))
    for file in ("relu.pt", "relu.npz"):
        reporter = Lines()
        how = {"checkpoint": tmp_path / f"{file}.qcfs.pt", "start": tmp_path / file}
        train(short, data, seed=2, reporter=reporter, **how)  # type: ignore[arg-type]
        assert float(reporter.said[0].rpartition(" ")[2]) < 0.8


def test_classifier_for_other_classes_is_drawn(tmp_path: Path) -> None:
    first = replace(small(), classes=7)
    train(first, small_data(), seed=1, checkpoint=tmp_path / "1.pt")
    still = replace(small(), recipe=replace(RECIPE, epochs=1, learning_rate=0.0))
    start = tmp_path / "1.pt"
    second = train(still, small_data(), seed=2, checkpoint=tmp_path / "2.pt", start=start)
    drawn = train(still, small_data(), seed=2, checkpoint=tmp_path / "3.pt")
    assert second.classifier.weight.tolist() == drawn.classifier.weight.tolist()
    assert second.hidden_layers()[0].conv.weight.tolist() != (
        drawn.hidden_layers()[0].conv.weight.tolist()
    )


@pytest.mark.parametrize(
    ("suffix", "other"),
    [
        ("pt", model_definition("digits")),
        ("npz", model_definition("digits")),
        ("pt", small("projection")),
        ("npz", small("projection")),
        ("pt", replace(small("option-a"), pool=4)),
        ("npz", replace(small("option-a"), pool=4)),
        ("npz", padded(small("option-a"))),
    ],
)
def test_start_from_another_structure_is_refused(
    suffix: str, other: ModelDefinition, tmp_path: Path
) -> None:
    other = replace(other, recipe=replace(RECIPE, epochs=1))
    network = train(other, small_data(), seed=1, checkpoint=tmp_path / "1.pt")
    fold(network).save(tmp_path / "1.npz")
    how = {"checkpoint": tmp_path / "2.pt", "start": tmp_path / f"1.{suffix}"}
    sentence = rf"1\.{suffix} holds a network of another structure than small"
    with pytest.raises(ResiduumError, match=sentence):
        train(small("option-a"), small_data(), seed=1, **how)  # type: ignore[arg-type]


def test_checkpoint_of_another_start_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        network = random_network(small()).float()
        network.classifier.bias.data.fill_(number)
        fold(network).save(tmp_path / f"{number}.npz")
    how = {"seed": 1, "checkpoint": tmp_path / "net.pt"}
    train(small(), small_data(), start=tmp_path / "1.npz", **how)  # type: ignore[arg-type]
    with pytest.raises(ResiduumError, match="was made with other settings"):
        train(small(), small_data(), start=tmp_path / "2.npz", **how)  # type: ignore[arg-type]
    with pytest.raises(ResiduumError, match=r"there is no file .*3\.npz"):
        train(small(), small_data(), start=tmp_path / "3.npz", **how)  # type: ignore[arg-type]


def test_best_threshold_is_found() -> None:
    """Values that QCFS can give exactly, and rare larger ones that are not worth coarser levels."""
    exact = torch.arange(-8, 9).float().repeat(1000) / 8 * 3
    assert best_threshold(exact, 8) == pytest.approx(3)
    assert best_threshold(torch.cat([exact, torch.tensor([6.0])]), 8) == pytest.approx(3, rel=0.03)
    assert best_threshold(-torch.rand(100), 8) == 1
    assert len(small_data().train_images) < IMAGES
    assert math.isfinite(best_threshold(torch.zeros(3), 2))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dataset": "mnist"}, "resnet20 is trained on cifar10 and cifar100, not on mnist"),
        ({"width": 0.0}, "--width must be above 0 and at most 16, not 0.0"),
        ({"width": math.nan}, "--width must be above 0 and at most 16, not nan"),
        (
            {"architecture": "vgg16", "shortcut": "option-a"},
            "vgg16 has no shortcuts, so --shortcut is not for it",
        ),
    ],
)
def test_impossible_definition_gets_a_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(ResiduumError) as error:
        deep_definition(**{"architecture": "resnet20", "dataset": "cifar10", **arguments})
    assert str(error.value) == sentence


@pytest.mark.parametrize("kind", ["projection", "option-a"])
def test_fine_tuning_rounds_as_the_conversion(kind: ShortcutKind) -> None:
    """The integers of every source; an identity stays 1 and becomes a whole number."""
    folded = fold(random_network(small(kind)))
    module = FoldedModule(folded, bits=4)
    converted = to_integer(folded, bits=4)
    for index, integer in enumerate(converted.layers):
        weights = module.of(index)
        for number, source in enumerate(integer.sources):
            step = module.steps[index][number][:, None, None, None]
            whole = (weights[number] / step).round().clamp(-7, 7)
            assert whole.int().tolist() == source.weight.tolist()
            trained = isinstance(weights[number], nn.Parameter)
            assert trained == (number == 0 or kind == "projection" and index == 4)


def test_residual_network_is_fine_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after its first epoch, it goes on to the same network."""
    definition = replace(small("option-a"), recipe=replace(RECIPE, epochs=10, fine_tune_epochs=2))
    data = small_data()
    network = fold(train(definition, data, seed=0, checkpoint=tmp_path / "1.pt"))
    tuned = fine_tune(network, definition, data, bits=3, seed=0)
    assert float_accuracy(tuned, data.test_images, data.test_labels) > 0.9
    exact = tuned.layers[2].sources[1].weight
    assert exact.tolist() == network.layers[2].sources[1].weight.tolist()
    assert tuned.layers[2].source.weight.tolist() != network.layers[2].source.weight.tolist()

    def save_and_stop(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    save = fine_tuning.save_epoch
    monkeypatch.setattr(fine_tuning, "save_epoch", save_and_stop)
    how = {"bits": 3, "seed": 0, "checkpoint": tmp_path / "tuned.pt"}
    with pytest.raises(KeyboardInterrupt):
        fine_tune(network, definition, data, **how)  # type: ignore[arg-type]
    monkeypatch.undo()
    again = fine_tune(network, definition, data, **how)  # type: ignore[arg-type]
    for layer, other in zip(again.layers, tuned.layers, strict=True):
        assert layer.source.weight.tolist() == other.source.weight.tolist()
    other = replace(definition, recipe=replace(definition.recipe, fine_tune_epochs=3))
    with pytest.raises(ResiduumError, match="was made with other settings"):
        fine_tune(network, other, data, **how)  # type: ignore[arg-type]
