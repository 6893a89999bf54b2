"""Training: reproducible, resumable, and its parts."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from residuum.sw.data.data_sets import DATASETS, ImageSet
from residuum.sw.errors import ResiduumError
from residuum.sw.train import training
from residuum.sw.train.augment import CropAndFlip
from residuum.sw.train.checkpoint import MAGIC, read_checkpoint, write_checkpoint
from residuum.sw.train.fine_tuning import FoldedModule, fine_tune, float_accuracy
from residuum.sw.train.folding import fold
from residuum.sw.train.models import MODELS, ModelDefinition, QCFSNetwork, model_definition
from residuum.sw.train.training import mean_activity, train
from tests.sw.folded import logits_of_folded
from tests.sw.reporter import Lines

DIGITS = model_definition("digits")


def with_recipe(definition: ModelDefinition, **changes: object) -> ModelDefinition:
    return replace(definition, recipe=replace(definition.recipe, **changes))  # type: ignore[arg-type]


SMALL = with_recipe(DIGITS, epochs=2, fine_tune_epochs=1, batch=16)


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


def stop_after_first_epoch(
    definition: ModelDefinition, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt a run after its first checkpoint."""

    def save_and_stop(*args: object) -> None:
        save(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    save = training.save_epoch
    monkeypatch.setattr(training, "save_epoch", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train(definition, small_data(), seed=3, checkpoint=checkpoint)
    monkeypatch.setattr(training, "save_epoch", save)


def test_interrupted_run_goes_on_to_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(SMALL, small_data(), seed=3, checkpoint=tmp_path / "whole.pt")
    stop_after_first_epoch(SMALL, tmp_path / "cut.pt", monkeypatch)
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


def test_checkpoint_outlives_another_fine_tuning(tmp_path: Path) -> None:
    """A finished training is not repeated, and gives the same network."""
    first = train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "1.pt")
    tuned = with_recipe(SMALL, fine_tune_epochs=7, fine_tune_rate=1e-5)
    written = (tmp_path / "1.pt").stat().st_mtime_ns
    again = train(tuned, small_data(), seed=1, checkpoint=tmp_path / "1.pt")
    assert weights_of(again) == weights_of(first)
    assert (tmp_path / "1.pt").stat().st_mtime_ns == written


def test_checkpoint_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"a file")
    with pytest.raises(ResiduumError, match=r"taken/1\.pt cannot be written: .*"):
        train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "taken" / "1.pt")
    (tmp_path / f"2.pt.{os.getpid()}.part").mkdir()
    with pytest.raises(ResiduumError, match=r"2\.pt cannot be written: .*"):
        train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "2.pt")


@pytest.mark.parametrize("content", [b"", b"half", MAGIC, MAGIC + bytes(40)])
def test_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.pt").write_bytes(content)
    with pytest.raises(ResiduumError, match="is damaged; delete it, or give --restart"):
        train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "1.pt")


def test_every_flipped_bit_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "1.pt"
    train(with_recipe(SMALL, epochs=1), small_data(), seed=1, checkpoint=path)
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(0, 8 * len(whole), 50).tolist()
    for place in [0, 8 * len(MAGIC), *places]:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ResiduumError, match=r"1\.pt is damaged; delete it, or give --restart"):
            read_checkpoint(path)


def test_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    """A file without a checksum, or with a checksum but for a network with other layers."""
    path = tmp_path / "1.pt"
    torch.save({"settings": "", "epochs": 1}, path)
    sentence = r"1\.pt was made by an earlier version; delete it, or give --restart"
    with pytest.raises(ResiduumError, match=sentence):
        train(SMALL, small_data(), seed=1, checkpoint=path)
    path.unlink()
    train(SMALL, small_data(), seed=1, checkpoint=path)
    state = read_checkpoint(path)
    write_checkpoint(path, {**state, "network": {}})
    with pytest.raises(ResiduumError, match=sentence):
        train(SMALL, small_data(), seed=1, checkpoint=path)


def test_every_epoch_is_said(tmp_path: Path) -> None:
    reporter = Lines()
    network = train(SMALL, small_data(), seed=1, checkpoint=tmp_path / "1.pt", reporter=reporter)
    fine_tune(fold(network), SMALL, small_data(), bits=4, seed=1, reporter=reporter)
    starts = ["epoch 1 of 2, loss ", "epoch 2 of 2, loss ", "epoch 1 of 1, loss "]
    assert [line[: len(start)] for line, start in zip(reporter.said, starts, strict=True)] == starts


def learns(definition: ModelDefinition, folder: Path) -> bool:
    """Whether accuracy exceeds 90 % after training, and after fine-tuning for 2-bit weights."""
    data = small_data()
    network = fold(train(definition, data, seed=0, checkpoint=folder / "1.pt"))
    tuned = fine_tune(network, definition, data, bits=2, seed=0)
    with torch.inference_mode():
        logits = FoldedModule(tuned, bits=2)(torch.from_numpy(data.test_images).float() / 255)
    accuracy = (logits.argmax(1).numpy() == data.test_labels).mean()
    return min(float_accuracy(network, data.test_images, data.test_labels), accuracy) > 0.9


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 5e-4},
        {"augmentation": CropAndFlip(max_shift=1)},
    ],
)
def test_training_and_fine_tuning_learn(tmp_path: Path, changes: dict[str, object]) -> None:
    assert learns(with_recipe(SMALL, epochs=10, **changes), tmp_path)


# Torch's compiler uses deprecated functions of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bfloat16_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's compiler fuses and differentiates as in a real run, but generates no C++, which would
    take a minute. Parameters stay float32."""
    monkeypatch.setattr(training, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    assert learns(with_recipe(SMALL, epochs=10, precision="bfloat16"), tmp_path)
    state = read_checkpoint(tmp_path / "1.pt")["network"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}


def test_interrupted_bfloat16_run_goes_on_to_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs without the compiler, which is slow and does not affect resuming."""
    monkeypatch.setattr(training, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    definition = with_recipe(SMALL, precision="bfloat16")
    whole = train(definition, small_data(), seed=3, checkpoint=tmp_path / "whole.pt")
    stop_after_first_epoch(definition, tmp_path / "cut.pt", monkeypatch)
    resumed = train(definition, small_data(), seed=3, checkpoint=tmp_path / "cut.pt")
    assert weights_of(resumed) == weights_of(whole)


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_is_used_only_where_the_cpu_has_it(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the network is compiled too, gives the weights of a training in float32, and the
    command says so."""
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(training, "cpu_has_bfloat16", lambda: there)
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled.append(module) or module)
    lines, plain, fast = Lines(), with_recipe(SMALL), with_recipe(SMALL, precision="bfloat16")
    of_plain = train(plain, small_data(), seed=3, checkpoint=tmp_path / "plain.pt")
    of_fast = train(fast, small_data(), seed=3, checkpoint=tmp_path / "fast.pt", reporter=lines)
    pairs = zip(of_plain.parameters(), of_fast.parameters(), strict=True)
    difference = max((one - other).abs().max().item() for one, other in pairs)
    said = "this CPU has no bfloat16 arithmetic: trained in float32" in lines.said
    assert (difference < 1e-5, said, len(compiled)) == (not there, not there, 1)


def test_activity_weighs_neurons_by_the_synapses_they_feed() -> None:
    """Only layer 1 active: its 3136 neurons feed 32 * 9 / 2**2 = 72 synapses each, and so on."""
    network = QCFSNetwork(model_definition("mnist"))
    network(torch.zeros(1, 1, 28, 28))
    for layer in network.hidden_layers():
        assert layer.activation.share is not None
        layer.activation.share = torch.zeros_like(layer.activation.share)
    first = network.hidden_layers()[0].activation
    assert first.share is not None
    first.share = torch.ones_like(first.share)
    feeds = [3136 * 72, 1568 * 288, 1568 * 72, 512 * 10]
    assert mean_activity(network).item() == pytest.approx(feeds[0] / sum(feeds))


def random_network(definition: ModelDefinition) -> QCFSNetwork:
    """An untrained network with random BatchNorms and thresholds."""
    torch.manual_seed(1)
    network = QCFSNetwork(definition)
    for layer in network.hidden_layers():
        norm = layer.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.05, 0.3)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0.5, 0.5)
        torch.nn.init.uniform_(layer.activation.threshold, 0.8, 1.6)
    return network.eval()


@pytest.mark.parametrize(
    ("size", "pool", "features"), [(8, 1, 4), (8, 2, 2), (8, 4, 1), (8, 3, 1), (10, 2, 2)]
)
def test_pooling_before_the_classifier_is_the_same_in_every_form(
    size: int, pool: int, features: int
) -> None:
    """Trainable network, folded network, `FoldedModule`; rows of partial windows are dropped."""
    definition = replace(DIGITS, input_shape=(1, size, size), pool=pool)
    assert definition.feature_shape == (32, features, features)
    network = random_network(definition).double()
    # In float64, no pre-activation is so close to a step of QCFS that rounding matters.
    images = torch.rand(20, 1, size, size, dtype=torch.float64)
    with torch.inference_mode():
        trained = network(images)
        folded = fold(network)
        module = FoldedModule(folded)
        tuned = module.export()
        of_module = module.double()(images)
    assert trained.std() > 0.01
    assert folded.layers[-1].source.pool == (pool, pool)
    assert torch.allclose(logits_of_folded(folded, images), trained, atol=1e-9)
    # `FoldedModule` has float32 parameters, so a few neurons near a step take another level than in
    # `trained`. Its own export agrees exactly.
    assert torch.allclose(logits_of_folded(tuned, images), of_module, atol=1e-9)
    assert (of_module - trained).abs().median() < 1e-5


@pytest.mark.parametrize(
    ("name", "channels", "strides", "features"),
    [
        ("digits", [16, 32], [1, 1], (32, 4, 4)),
        ("mnist", [16, 32, 32, 32], [2, 2, 1, 2], (32, 4, 4)),
        ("fashion", [32, 64, 64, 64], [1, 2, 1, 2], (64, 2, 2)),
        ("cifar10", [32, 64, 64, 128, 128, 128], [1, 2, 1, 2, 1, 2], (128, 1, 1)),
    ],
)
def test_definitions_are_the_agreed_networks(
    name: str, channels: list[int], strides: list[int], features: tuple[int, int, int]
) -> None:
    definition = model_definition(name)
    assert [layer.channels for layer in definition.hidden] == channels
    assert [layer.stride for layer in definition.hidden] == strides
    assert definition.feature_shape == features


@pytest.mark.parametrize("name", list(MODELS))
def test_every_network_takes_the_images_of_its_data_set(name: str) -> None:
    definition = model_definition(name)
    logits = QCFSNetwork(definition)(torch.zeros(2, *definition.input_shape))
    assert logits.shape == (2, definition.classes)
    assert definition.dataset in DATASETS


def test_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(
        ResiduumError,
        match="no model 'vgg' to train; the known models are cifar10, digits, fashion, mnist",
    ):
        model_definition("vgg")
