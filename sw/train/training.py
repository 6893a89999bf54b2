"""Training of the network definitions.

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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.data.data_sets import ImageSet
from residuum.sw.errors import ResiduumError
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
from residuum.sw.train.qcfs import QCFS
from residuum.sw.train.start import digest_of, start_from

MOMENTUM = 0.9
CPU = torch.device("cpu")
# Share of the steps with a rising learning rate, for the schedule "cosine".
WARM_UP = 0.02
# Epochs between two evaluations on the held-out images during a training.
EVALUATE_EVERY = 10
# Steps between two updates of the displayed loss; reading the loss makes a GPU wait.
SHOW_EVERY = 20


def need_compiler(definition: ModelDefinition) -> None:
    """``ResiduumError`` if torch.compile needs a C++ compiler and there is none."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if definition.recipe.precision == "bfloat16" and not shutil.which(compiler):
        raise ResiduumError(
            f"training of {definition.name} needs the C++ compiler {compiler}, which is not there; "
            "install it, or name another in the variable CXX"
        )


def in_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Whether a training runs in bfloat16 on this device: if the recipe says so, except on a CPU
    without bfloat16 arithmetic, where emulating it is some 50 times slower than float32."""
    return recipe.precision == "bfloat16" and (device.type != "cpu" or cpu_has_bfloat16())


def cpu_has_bfloat16() -> bool:
    return bool(
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
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
    start: Path | None = None,
    minutes: float = math.inf,
    device: torch.device = CPU,
    reporter: Reporter = SILENT,
) -> QCFSNetwork:
    """Train, resuming from ``checkpoint`` if it exists; every epoch rewrites the checkpoint.

    Parameters
    ----------
    start
        A float network or checkpoint with the first weights (`start_from`); None draws them.
    minutes
        Raise `Paused` after the epoch that reaches this time, if epochs are left. The schedule is
        that of all epochs, so another call continues the training as if there had been no pause.
    device
        Where to train; the trained network is on the CPU.

    Raises ``ResiduumError`` if the checkpoint belongs to other settings, is damaged, or cannot be
    written.
    """
    end = time.monotonic() + 60 * minutes
    torch.manual_seed(seed)
    network = QCFSNetwork(definition)
    if start is not None:
        start_from(start, network, data.train_images)
    network.to(device)
    recipe = definition.recipe
    batches = recipe.batches(len(data.train_labels))
    optimizer, schedule = optimizer_of(network, recipe, recipe.epochs * batches)
    # The checkpoint is independent of the fine-tuning settings.
    untuned = replace(recipe, fine_tune_epochs=0, fine_tune_rate=0.0)
    settings: dict[str, object] = {**asdict(replace(definition, recipe=untuned)), "seed": seed}
    if start is not None:
        settings["start"] = digest_of(start)
    first = resume(checkpoint, settings, network, optimizer, schedule)
    if recipe.precision == "bfloat16" and not in_bfloat16(recipe, device):
        reporter.say("this CPU has no bfloat16 arithmetic: trained in float32")
    step = step_of(network, recipe, optimizer, schedule)
    left = (recipe.epochs - first) * batches
    with reporter.task(f"train {definition.name}", total=left, unit="batches") as task:
        for epoch in range(first, recipe.epochs):
            network.train()
            mean = RunningMean()
            drawn = batches_of(recipe, data, seed=seed, epoch=epoch, device=device)
            for number, (images, labels) in enumerate(drawn):
                mean.add(step(images, labels))
                if number % SHOW_EVERY == 0:
                    task.update(detail=f"epoch {epoch + 1} loss {mean.value:.4f}")
                task.advance()
            done = epoch + 1
            save_epoch(checkpoint, settings, network, optimizer, schedule, done)
            line = f"epoch {done} of {recipe.epochs}, loss {mean.value:.4f}"
            if done % EVALUATE_EVERY == 0:
                accuracy = 100 * _accuracy(network, recipe, data)
                line += f", {accuracy:.2f} % of the held-out images"
            reporter.say(line)
            if time.monotonic() >= end and done < recipe.epochs:
                raise Paused(done, recipe.epochs)
    return network.to(CPU)


def step_of(
    network: QCFSNetwork,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Callable[[Tensor, Tensor], Tensor]:
    """One training step on a batch of images and labels; gives the loss, without gradient."""
    device = next(network.parameters()).device
    mixed = in_bfloat16(recipe, device)
    model: Callable[[Tensor], Tensor] = network
    if recipe.precision == "bfloat16":
        if mixed:
            # In float32, oneDNN aborts in the backward pass of narrow convolutions in this layout.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The many small operations of BatchNorm and QCFS dominate; fusing them halves the time of
        # a step. On a GPU the launches of the kernels dominate; a CUDA graph launches them at once.
        mode = "reduce-overhead" if device.type == "cuda" else None
        model = torch.compile(network, dynamic=False, mode=mode)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
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
    mixed = in_bfloat16(recipe, device)
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
        assert isinstance(layer.activation, QCFS)
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


class RunningMean:
    """Running mean of the losses of an epoch; only `value` waits for a GPU."""

    def __init__(self) -> None:
        self.sum, self.count = torch.zeros((), dtype=torch.float64), 0

    def add(self, value: Tensor) -> None:
        self.sum, self.count = self.sum.to(value.device) + value, self.count + 1

    @property
    def value(self) -> float:
        return self.sum.item() / max(self.count, 1)


def batches_of(
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
            if in_bfloat16(recipe, device):
                images = images.contiguous(memory_format=torch.channels_last)
            yield images, of_images


def optimizer_of(
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


def save_epoch(
    path: Path,
    settings: dict[str, object],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    epochs: int,
) -> None:
    """Write a checkpoint after so many finished epochs."""
    state = {
        "settings": _plain(settings),
        "epochs": epochs,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    write_checkpoint(path, state)


def resume(
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
