"""Training of the QCFS networks, and their fine-tuning with rounded weights.

All random numbers come from generators seeded with (seed, epoch), so a training that was
interrupted and resumed gives the same network as one without a break. The generators are on the
CPU, also where the training is on another device.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
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
from residuum.sw.train.augment import unit_range
from residuum.sw.train.checkpoint import (
    REMEDY,
    made_by_earlier_version,
    read_checkpoint,
    write_checkpoint,
)
from residuum.sw.train.models import (
    ModelDefinition,
    OptionA,
    Projection,
    QCFSNetwork,
    Recipe,
)
from residuum.sw.train.qcfs import qcfs

MOMENTUM = 0.9
CPU = torch.device("cpu")
# Share of the steps with a rising learning rate, for the schedule "cosine".
WARM_UP = 0.02
# Epochs between two evaluations on the held-out images during a training.
EVALUATE_EVERY = 10
# Steps between two updates of the displayed loss; reading the loss makes a GPU wait.
SHOW_EVERY = 20
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


class Paused(Exception):
    """The time for a training is over; ``epochs`` of ``planned`` epochs are in the checkpoint."""

    def __init__(self, epochs: int, planned: int) -> None:
        super().__init__(f"{epochs} of {planned} epochs")
        self.epochs, self.planned = epochs, planned


def train(
    definition: ModelDefinition,
    data: ImageSet,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter = SILENT,
    device: torch.device = CPU,
    minutes: float = math.inf,
) -> QCFSNetwork:
    """Train, resuming from ``checkpoint`` if it exists; every epoch rewrites the checkpoint.

    Parameters
    ----------
    device
        Where to train; the trained network is on the CPU.
    minutes
        Raise `Paused` after the epoch that reaches this time, if epochs are left. The schedule is
        that of all epochs, so another call continues the training as if there had been no pause.

    Raises ``ResiduumError`` if the checkpoint belongs to other settings, is damaged, or cannot be
    written.
    """
    end = time.monotonic() + 60 * minutes
    torch.manual_seed(seed)
    network = QCFSNetwork(definition).to(device)
    recipe = definition.recipe
    batches = recipe.batches(len(data.train_labels))
    optimizer, schedule = _optimizer(network, recipe, recipe.epochs * batches)
    # The checkpoint is independent of the fine-tuning settings.
    untuned = replace(recipe, fine_tune_epochs=0, fine_tune_rate=0.0)
    settings = {**asdict(replace(definition, recipe=untuned)), "seed": seed}
    start = _resume(checkpoint, settings, network, optimizer, schedule)
    step = _step(network, recipe, optimizer, schedule)
    left = (recipe.epochs - start) * batches
    with reporter.task(f"train {definition.name}", total=left, unit="batches") as task:
        for epoch in range(start, recipe.epochs):
            network.train()
            mean = _Mean()
            drawn = _batches(recipe, data, seed=seed, epoch=epoch, device=device)
            for number, (images, labels) in enumerate(drawn):
                mean.add(step(images, labels))
                if number % SHOW_EVERY == 0:
                    task.update(detail=f"epoch {epoch + 1} loss {mean.value:.4f}")
                task.advance()
            done = epoch + 1
            _save(checkpoint, settings, network, optimizer, schedule, done)
            line = f"epoch {done} of {recipe.epochs}, loss {mean.value:.4f}"
            if done % EVALUATE_EVERY == 0:
                accuracy = 100 * _accuracy(network, recipe, data)
                line += f", {accuracy:.2f} % of the held-out images"
            reporter.say(line)
            if time.monotonic() >= end and done < recipe.epochs:
                raise Paused(done, recipe.epochs)
    return network.to(CPU)


def _step(
    network: QCFSNetwork,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Callable[[Tensor, Tensor], Tensor]:
    """One training step on a batch of images and labels; gives the loss, without gradient."""
    mixed = recipe.precision == "bfloat16"
    device = next(network.parameters()).device.type
    model: Callable[[Tensor], Tensor] = network
    if mixed:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The many small operations of BatchNorm and QCFS dominate; fusing them halves the time of
        # a step. On a GPU the launches of the kernels dominate; a CUDA graph launches them at once.
        mode = {"mode": "reduce-overhead"} if device == "cuda" else {}
        model = torch.compile(network, dynamic=False, **mode)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            logits = model(images)
        smoothing = recipe.label_smoothing
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        total = loss
        if recipe.activity_penalty:
            total = loss + recipe.activity_penalty * mean_activity(network)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        schedule.step()
        return loss.detach()

    return step


def _accuracy(network: QCFSNetwork, recipe: Recipe, data: ImageSet) -> float:
    """Accuracy (0..1) on the held-out images, in the precision of the training."""
    device = next(network.parameters()).device
    mixed = recipe.precision == "bfloat16"
    network.eval()
    right = 0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        for first in range(0, len(data.test_labels), 500):
            x = torch.from_numpy(data.test_images[first : first + 500]).to(device)
            predicted = network(unit_range(x)).argmax(dim=1).cpu().numpy()
            right += int((predicted == data.test_labels[first : first + 500]).sum())
    return right / len(data.test_labels)


def mean_activity(network: QCFSNetwork) -> Tensor:
    """Mean of activation / lambda over all neurons, weighted by their number of synapses.

    An event costs the engine one cycle per window that contains its neuron, so the penalty is
    larger for neurons in many windows.
    """
    hidden = network.hidden_layers()
    total, synapses = torch.zeros(()), 0.0
    for layer, fan_out in zip(hidden, _fan_outs(network), strict=True):
        share = layer.activation.share
        assert share is not None
        neurons = share[0].numel() * fan_out
        total = total + share.float().mean() * neurons
        synapses += neurons
    return total / synapses


def _fan_outs(network: QCFSNetwork) -> list[float]:
    """Synapses that a neuron of each hidden layer feeds on average."""
    hidden = network.hidden_layers()
    fan_outs = [layer.conv.weight[:, 0].numel() / layer.conv.stride[0] ** 2 for layer in hidden[1:]]
    fan_outs.append(network.classifier.out_features)
    for feeds, reader in enumerate(hidden[2:]):
        if isinstance(reader.shortcut, Projection):
            conv = reader.shortcut.conv
            fan_outs[feeds] += conv.out_channels / conv.stride[0] ** 2
        elif isinstance(reader.shortcut, OptionA):
            fan_outs[feeds] += 1 / reader.shortcut.stride**2
    return fan_outs


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
    batches = recipe.batches(len(data.train_labels))
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
                smoothing = recipe.label_smoothing
                loss = F.cross_entropy(model(images), labels, label_smoothing=smoothing)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                mean.add(loss.detach())
                if number % SHOW_EVERY == 0:
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
    """Running mean of the losses of an epoch; only `value` waits for a GPU."""

    def __init__(self) -> None:
        self.sum, self.count = torch.zeros((), dtype=torch.float64), 0

    def add(self, value: Tensor) -> None:
        self.sum, self.count = self.sum.to(value.device) + value, self.count + 1

    @property
    def value(self) -> float:
        return self.sum.item() / max(self.count, 1)


def _batches(
    recipe: Recipe, data: ImageSet, *, seed: int, epoch: int, device: torch.device = CPU
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented images, float (N, C, H, W) in 0..1, and labels of an epoch in random order."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(len(data.train_labels), generator=generator)
    order = order[: recipe.batches(len(order)) * recipe.batch]
    all_images = torch.from_numpy(data.train_images).to(device)
    all_labels = torch.from_numpy(data.train_labels).to(device)
    for chosen in order.to(device).split(recipe.batch * recipe.chunk):
        changed = recipe.augmentation(all_images[chosen], generator)
        labels = all_labels[chosen].split(recipe.batch)
        for images, of_images in zip(changed.split(recipe.batch), labels, strict=True):
            images = unit_range(images)
            if recipe.precision == "bfloat16":
                images = images.contiguous(memory_format=torch.channels_last)
            yield images, of_images


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
    schedule: torch.optim.lr_scheduler.LRScheduler
    if recipe.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(cosine, steps=steps))
    else:
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=recipe.learning_rate, total_steps=max(steps, 1), pct_start=0.2
        )
    return optimizer, schedule


def cosine(step: int, *, steps: int) -> float:
    """Learning rate / peak of step 0 .. ``steps`` - 1: a linear rise, then half a cosine to 0."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2


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
