"""Training of the QCFS networks, and their fine-tuning with rounded weights.

All random numbers come from generators seeded with (seed, epoch), so a training that was
interrupted and resumed gives the same network as one without a break.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.convert.quantize import fake_quantize, weight_scales
from residuum.sw.convert.to_integer import to_integer
from residuum.sw.data.data_sets import ImageSet
from residuum.sw.errors import ResiduumError
from residuum.sw.network.convolution import convolve
from residuum.sw.network.float_network import FloatLayer, FloatNetwork, fold_batchnorm
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.train.checkpoint import (
    REMEDY,
    made_by_earlier_version,
    read_checkpoint,
    write_checkpoint,
)
from residuum.sw.train.models import ModelDefinition, QCFSNetwork, Recipe
from residuum.sw.train.qcfs import qcfs

LABEL_SMOOTHING = 0.05
MOMENTUM = 0.9
# Fine-tuning steps between two updates of the weight scales, which change slowly.
SCALES_EVERY = 20
# Weights of this many bits or more are converted without fine-tuning.
ENOUGH_BITS = 8


def need_compiler(definition: ModelDefinition) -> None:
    """``ResiduumError`` if torch.compile needs a C++ compiler and there is none."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if definition.recipe.precision == "bfloat16" and not shutil.which(compiler):
        raise ResiduumError(
            f"training of {definition.name} needs the C++ compiler {compiler}, which is not there; "
            "install it, or name another in the variable CXX"
        )


def train(
    definition: ModelDefinition,
    data: ImageSet,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter = SILENT,
) -> QCFSNetwork:
    """Train, resuming from ``checkpoint`` if it exists; every epoch rewrites the checkpoint.

    Raises ``ResiduumError`` if the checkpoint belongs to other settings, is damaged, or cannot be
    written.
    """
    torch.manual_seed(seed)
    network = QCFSNetwork(definition)
    recipe = definition.recipe
    mixed = recipe.precision == "bfloat16"
    model: Callable[[Tensor], Tensor] = network
    if mixed:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The many small operations of BatchNorm and QCFS dominate; fusing them halves the time of
        # a step.
        model = torch.compile(network, dynamic=False)
    batches = -(-len(data.train_labels) // recipe.batch)
    optimizer, schedule = _optimizer(network, recipe, recipe.epochs * batches)
    # The checkpoint is independent of the fine-tuning settings.
    untuned = replace(recipe, fine_tune_epochs=0, fine_tune_rate=0.0)
    settings = {**asdict(replace(definition, recipe=untuned)), "seed": seed}
    start = _resume(checkpoint, settings, network, optimizer, schedule)
    left = (recipe.epochs - start) * batches
    with reporter.task(f"train {definition.name}", total=left, unit="batches") as task:
        for epoch in range(start, recipe.epochs):
            network.train()
            mean = _Mean()
            for images, labels in _batches(recipe, data, seed=seed, epoch=epoch):
                with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                    logits = model(images)
                loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
                total = loss + recipe.activity_penalty * mean_activity(network)
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                optimizer.step()
                schedule.step()
                mean.add(loss.item())
                task.update(detail=f"epoch {epoch + 1} loss {mean.value:.4f}")
                task.advance()
            _save(checkpoint, settings, network, optimizer, schedule, epoch + 1)
            reporter.say(f"epoch {epoch + 1} of {recipe.epochs}, loss {mean.value:.4f}")
    return network


def mean_activity(network: QCFSNetwork) -> Tensor:
    """Mean of activation / lambda over all neurons, weighted by their number of synapses.

    An event costs the engine one cycle per window that contains its neuron, so the penalty is
    larger for neurons in many windows.
    """
    hidden = network.hidden_layers()
    consumers: list[nn.Conv2d | nn.Linear] = [layer.conv for layer in hidden[1:]]
    consumers.append(network.classifier)
    total, synapses = torch.zeros(()), 0.0
    for layer, consumer in zip(hidden, consumers, strict=True):
        share = layer.activation.share
        assert share is not None
        if isinstance(consumer, nn.Conv2d):
            fan_out = consumer.weight[:, 0].numel() / consumer.stride[0] ** 2
        else:
            fan_out = consumer.out_features
        neurons = share[0].numel() * fan_out
        total = total + share.float().mean() * neurons
        synapses += neurons
    return total / synapses


def fold(network: QCFSNetwork) -> FloatNetwork:
    """The trained network with BatchNorm folded into weights and biases (float64)."""
    layers = []
    for number, hidden in enumerate(network.hidden_layers(), start=1):
        norm = hidden.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fold_batchnorm(
            _array(hidden.conv.weight),
            _array(norm.running_mean),
            _array(norm.running_var),
            _array(norm.weight),
            _array(norm.bias),
            norm.eps,
        )
        layers.append(
            FloatLayer(
                name=f"conv{number}",
                weight=weight,
                bias=bias,
                threshold=hidden.activation.threshold.item(),
                stride=hidden.conv.stride[0],
                padding=hidden.padding,
                pool=(hidden.pool, hidden.pool),
            )
        )
    definition = network.definition
    weight = _array(network.classifier.weight).reshape(-1, *definition.feature_shape)
    layers.append(
        FloatLayer(
            name="classifier",
            weight=weight,
            bias=_array(network.classifier.bias),
            threshold=None,
            pool=(definition.pool, definition.pool),
        )
    )
    return FloatNetwork(definition.name, definition.input_shape, tuple(layers), definition.levels)


class FoldedModule(nn.Module):
    """A ``FloatNetwork`` as a trainable module, optionally with rounded weights.

    Parameters
    ----------
    network
        Weights, biases and thresholds to start from.
    bits
        Round weights as the conversion to ``bits`` bits does; None leaves them unrounded.

    Attributes
    ----------
    scales
        Weight scales of each layer, (out_channels,); empty if weights are not rounded.
    """

    def __init__(self, network: FloatNetwork, *, bits: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.bits = bits
        self.scales: list[Tensor] = []
        self.weights = nn.ParameterList(_tensor(layer.weight) for layer in network.layers)
        self.biases = nn.ParameterList(_tensor(layer.bias) for layer in network.layers)
        self.thresholds = nn.ParameterList(
            torch.tensor(layer.threshold) for layer in network.layers if layer.threshold is not None
        )
        self.update_scales()

    def update_scales(self) -> None:
        """Compute the scales of the current weights."""
        if self.bits is not None:
            self.scales = [
                weight_scales(weight, self.bits, shared=layer.threshold is None)
                for weight, layer in zip(self.weights, self.network.layers, strict=True)
            ]

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.network.layers):
            output = layer.threshold is None
            weight = self.weights[index]
            if self.bits is not None:
                weight = fake_quantize(weight, self.scales[index], self.bits)
            x = convolve(layer, x, weight, self.biases[index], pooling="mean")
            if not output:
                x = qcfs(x, self.thresholds[index], self.network.levels)
        return x.flatten(1)

    def export(self) -> FloatNetwork:
        """The current weights (unrounded), biases and thresholds."""
        layers = []
        for index, layer in enumerate(self.network.layers):
            layers.append(
                FloatLayer(
                    name=layer.name,
                    weight=_array(self.weights[index]),
                    bias=_array(self.biases[index]),
                    threshold=(None if layer.threshold is None else self.thresholds[index].item()),
                    stride=layer.stride,
                    padding=layer.padding,
                    pool=layer.pool,
                )
            )
        old = self.network
        return FloatNetwork(old.name, old.input_shape, tuple(layers), old.levels)


def integers(
    network: FloatNetwork,
    definition: ModelDefinition,
    data: ImageSet,
    *,
    bits: int,
    seed: int,
    metadata: dict[str, str],
    reporter: Reporter = SILENT,
) -> IntegerNetwork:
    """The trained network converted to ``bits``-bit weights; below ``ENOUGH_BITS`` bits it is
    fine-tuned first."""
    if bits < ENOUGH_BITS:
        network = fine_tune(network, definition, data, bits=bits, seed=seed, reporter=reporter)
    return to_integer(network, bits=bits, metadata=metadata)


def fine_tune(
    network: FloatNetwork,
    definition: ModelDefinition,
    data: ImageSet,
    *,
    bits: int,
    seed: int,
    reporter: Reporter = SILENT,
) -> FloatNetwork:
    """Quantisation-aware training with weights rounded to ``bits`` bits.

    Always in float32: bfloat16 would add its own rounding.
    """
    torch.manual_seed(seed)
    module = FoldedModule(network, bits=bits)
    epochs = definition.recipe.fine_tune_epochs
    recipe = replace(
        definition.recipe, optimizer="adamw", learning_rate=definition.recipe.fine_tune_rate
    )
    fast = recipe.precision == "bfloat16"
    model = torch.compile(module, dynamic=False) if fast else module
    batches = -(-len(data.train_labels) // recipe.batch)
    optimizer, schedule = _optimizer(module, recipe, epochs * batches)
    name = f"fine-tune {definition.name} for {bits} bits"
    with reporter.task(name, total=epochs * batches, unit="batches") as task:
        for epoch in range(epochs):
            mean = _Mean()
            # Continue the epoch numbers of the training, so that no random seed is used twice.
            drawn = _batches(recipe, data, seed=seed, epoch=recipe.epochs + epoch)
            for number, (images, labels) in enumerate(drawn):
                if number % SCALES_EVERY == 0:
                    module.update_scales()
                loss = F.cross_entropy(model(images), labels, label_smoothing=LABEL_SMOOTHING)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                mean.add(loss.item())
                task.update(detail=f"epoch {epoch + 1} loss {mean.value:.4f}")
                task.advance()
            reporter.say(f"epoch {epoch + 1} of {epochs}, loss {mean.value:.4f}")
    return module.export()


def float_accuracy(network: FloatNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy (0..1) of the QCFS network, not of the spiking one, on uint8 images."""
    module = FoldedModule(network).eval()
    right = 0
    with torch.inference_mode():
        for first in range(0, len(labels), 500):
            x = torch.from_numpy(images[first : first + 500]).float() / 255
            predicted = module(x).argmax(dim=1).numpy()
            right += int((predicted == labels[first : first + 500]).sum())
    return right / len(labels)


class _Mean:
    """Running mean of the losses of an epoch."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.sum, self.count = self.sum + value, self.count + 1

    @property
    def value(self) -> float:
        return self.sum / max(self.count, 1)


def _batches(
    recipe: Recipe, data: ImageSet, *, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(len(data.train_labels), generator=generator)
    all_images, all_labels = (
        torch.from_numpy(data.train_images),
        torch.from_numpy(data.train_labels),
    )
    for chosen in order.split(recipe.batch):
        images = recipe.augmentation(all_images[chosen].float() / 255, generator)
        if recipe.precision == "bfloat16":
            images = images.contiguous(memory_format=torch.channels_last)
        yield images, all_labels[chosen]


def _optimizer(
    module: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    decayed = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=MOMENTUM, nesterov=True
        )
    else:
        optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.learning_rate, total_steps=max(steps, 1), pct_start=0.2
    )
    return optimizer, schedule


def _save(
    path: Path,
    settings: dict[str, object],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    epochs: int,
) -> None:
    state = {
        "settings": _plain(settings),
        "epochs": epochs,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    write_checkpoint(path, state)


def _resume(
    path: Path,
    settings: dict[str, object],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """Load the checkpoint, if there is one, and return the number of finished epochs."""
    if not path.exists():
        return 0
    state = read_checkpoint(path)
    if state["settings"] != _plain(settings):
        raise ResiduumError(f"{path} was made with other settings; {REMEDY}")
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    except (KeyError, RuntimeError, ValueError):
        # The file is intact and the settings are equal, so the saved modules are older ones.
        raise made_by_earlier_version(path) from None
    return int(state["epochs"])


def _plain(settings: dict[str, object]) -> str:
    return repr(sorted(settings.items()))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).float()
