"""Fine-tuning of a folded network with rounded weights."""

import hashlib
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.convert.quantize import fake_quantize, weight_scales
from residuum.sw.convert.rounding import exact_source, round_layer
from residuum.sw.convert.to_integer import SHIFT, to_integer
from residuum.sw.data.data_sets import ImageSet
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import convolve, max_pooled, with_border
from residuum.sw.network.graph import INPUT, Source
from residuum.sw.network.integer_network import LARGEST_PIXEL, IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.train.models import ModelDefinition
from residuum.sw.train.qcfs import qcfs
from residuum.sw.train.training import (
    CPU,
    SHOW_EVERY,
    RunningMean,
    batches_of,
    optimizer_of,
    resume,
    save_epoch,
)

# Fine-tuning steps between two updates of the weight scales, which change slowly.
SCALES_EVERY = 20
# Weights of this many bits or more are converted without fine-tuning.
ENOUGH_BITS = 8


class FoldedModule(nn.Module):
    """A ``FloatNetwork`` as a trainable module, optionally with rounded weights.

    Identities keep their weights: conversion represents them exactly.

    Parameters
    ----------
    network
        Weights, biases and thresholds to start from.
    bits
        Round weights as the conversion to ``bits`` bits for rate code does; None leaves them
        unrounded.

    Attributes
    ----------
    weights
        Of each layer's sources, trained; those of identities are buffers.
    steps
        What 1 of an integer weight is worth, for each layer's sources, (out_channels,) each; empty
        if weights are not rounded.
    """

    def __init__(self, network: FloatNetwork, *, bits: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.bits = bits
        self.steps: list[list[Tensor]] = []
        self.exact = [exact_source(layer) for layer in network.layers]
        self.weights = nn.ModuleList(_Weights(layer) for layer in network.layers)
        self.biases = nn.ParameterList(_tensor(layer.bias) for layer in network.layers)
        self.thresholds = nn.ParameterList(
            torch.tensor(layer.threshold) for layer in network.layers if layer.threshold is not None
        )
        self.update_scales()

    def update_scales(self) -> None:
        """Compute the steps of the current weights."""
        if self.bits is not None:
            self.steps = [self._steps(index, self.bits) for index in range(len(self.weights))]

    def _steps(self, index: int, bits: int) -> list[Tensor]:
        layer, weights = self.network.layers[index], self.of(index)
        if len(weights) == 1:
            return [weight_scales(weights[0], bits, shared=layer.threshold is None)]
        worth = [self._worth(source) for source in layer.sources]
        rounded = round_layer(
            self._layer(index),
            worth,
            bits=bits,
            shift=SHIFT,
            smallest_unit=np.zeros(layer.out_channels),
        )
        units = _tensor(rounded.unit).to(weights[0].device)
        return [units / worth[0], units / worth[1] * 2**rounded.shift]

    def _worth(self, source: Source) -> float:
        """What one spike of a source is worth, or a pixel's 1."""
        amplitude = 1 / LARGEST_PIXEL if source.map == INPUT else self.thresholds[source.map].item()
        return amplitude / source.pool_area

    def of(self, index: int) -> list[Tensor]:
        """The current weights of a layer's sources."""
        weights = self.weights[index]
        assert isinstance(weights, _Weights)
        return weights.tensors()

    def forward(self, x: Tensor) -> Tensor:
        if self.network.pad is not None:
            x = with_border(self.network, x)
        return self.network.walk(x, self._step).flatten(1)

    def _step(self, index: int, layer: FloatLayer, inputs: list[Tensor]) -> Tensor:
        bias: Tensor | None = self.biases[index]
        current: Tensor | None = None
        for number, (source, weight, x) in enumerate(
            zip(layer.sources, self.of(index), inputs, strict=True)
        ):
            if self.bits is not None and number != self.exact[index]:
                weight = fake_quantize(weight, self.steps[index][number], self.bits)
            added = convolve(source, x, weight, bias, pooling="mean")
            current = added if current is None else current + added
            bias = None
        assert current is not None
        if layer.threshold is None:
            return current
        return max_pooled(layer.max_pool, self._activation(index, layer, current))

    def _activation(self, index: int, layer: FloatLayer, current: Tensor) -> Tensor:
        if layer.threshold == math.inf:
            return current.relu()
        if self.network.levels is None:
            return current.clamp(0, self.thresholds[index].detach())
        return qcfs(current, self.thresholds[index], self.network.levels)

    def _layer(self, index: int) -> FloatLayer:
        """A layer with the current weights, bias and threshold."""
        layer = self.network.layers[index]
        sources = tuple(
            replace(source, weight=_array(weight))
            for source, weight in zip(layer.sources, self.of(index), strict=True)
        )
        threshold = None if layer.threshold is None else self.thresholds[index].item()
        bias = _array(self.biases[index])
        return replace(layer, sources=sources, bias=bias, threshold=threshold)

    def export(self) -> FloatNetwork:
        """The current weights (unrounded), biases and thresholds."""
        layers = tuple(self._layer(index) for index in range(len(self.weights)))
        return replace(self.network, layers=layers)


class _Weights(nn.Module):
    """The weights of a layer's sources; identities are not trained."""

    def __init__(self, layer: FloatLayer) -> None:
        super().__init__()
        exact = exact_source(layer)
        self.names = [f"source{number}" for number in range(len(layer.sources))]
        for number, (name, source) in enumerate(zip(self.names, layer.sources, strict=True)):
            weight = _tensor(source.weight)
            if number == exact:
                self.register_buffer(name, weight)
            else:
                self.register_parameter(name, nn.Parameter(weight))

    def tensors(self) -> list[Tensor]:
        """The weights, one tensor per source."""
        return [getattr(self, name) for name in self.names]


def integers(
    network: FloatNetwork,
    definition: ModelDefinition,
    data: ImageSet,
    *,
    bits: int,
    seed: int,
    metadata: dict[str, str],
    checkpoint: Path | None = None,
    device: torch.device = CPU,
    reporter: Reporter = SILENT,
) -> IntegerNetwork:
    """The trained network converted to ``bits``-bit weights; below ``ENOUGH_BITS`` bits it is
    fine-tuned first, by `fine_tune`."""
    if bits < ENOUGH_BITS:
        network = fine_tune(
            network,
            definition,
            data,
            bits=bits,
            seed=seed,
            checkpoint=checkpoint,
            device=device,
            reporter=reporter,
        )
    return to_integer(network, bits=bits, metadata=metadata)


def fine_tune(
    network: FloatNetwork,
    definition: ModelDefinition,
    data: ImageSet,
    *,
    bits: int,
    seed: int,
    checkpoint: Path | None = None,
    device: torch.device = CPU,
    reporter: Reporter = SILENT,
) -> FloatNetwork:
    """Quantisation-aware training with weights rounded to ``bits`` bits.

    Always in float32: bfloat16 would add its own rounding. With ``checkpoint`` it is resumed, and
    every epoch rewrites the file, as in `train`.
    """
    torch.manual_seed(seed)
    module = FoldedModule(network, bits=bits).to(device)
    epochs = definition.recipe.fine_tune_epochs
    recipe = replace(
        definition.recipe, optimizer="adamw", learning_rate=definition.recipe.fine_tune_rate
    )
    fast = recipe.precision == "bfloat16"
    model = torch.compile(module, dynamic=False) if fast else module
    batches = recipe.batches(len(data.train_labels))
    optimizer, schedule = optimizer_of(module, recipe, epochs * batches)
    settings = {
        **asdict(definition),
        "seed": seed,
        "bits": bits,
        "start": _digest(network),
    }
    first = 0
    if checkpoint is not None:
        first = resume(checkpoint, settings, module, optimizer, schedule)
    name = f"fine-tune {definition.name} for {bits} bits"
    with reporter.task(name, total=(epochs - first) * batches, unit="batches") as task:
        for epoch in range(first, epochs):
            mean = RunningMean()
            # Continue the epoch numbers of the training, so that no random seed is used twice.
            drawn = batches_of(recipe, data, seed=seed, epoch=recipe.epochs + epoch, device=device)
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
            if checkpoint is not None:
                save_epoch(checkpoint, settings, module, optimizer, schedule, epoch + 1)
            reporter.say(f"epoch {epoch + 1} of {epochs}, loss {mean.value:.4f}")
    return module.export()


def float_accuracy(network: FloatNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy (0..1) of the network as an ANN, not of the spiking one, on uint8 images."""
    module = FoldedModule(network).eval()
    right = 0
    with torch.inference_mode():
        for first in range(0, len(labels), 500):
            x = torch.from_numpy(images[first : first + 500]).float() / 255
            predicted = module(x).argmax(dim=1).numpy()
            right += int((predicted == labels[first : first + 500]).sum())
    return right / len(labels)


def _digest(network: FloatNetwork) -> str:
    """SHA-256 of all weights, biases and thresholds."""
    found = hashlib.sha256()
    for layer in network.layers:
        for source in layer.sources:
            found.update(source.weight.tobytes())
        found.update(layer.bias.tobytes())
        found.update(repr(layer.threshold).encode())
    return found.hexdigest()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).float()
