"""Fine-tuning of a folded network with rounded weights."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.convert.quantize import fake_quantize, weight_scales
from residuum.sw.convert.to_integer import to_integer
from residuum.sw.data.data_sets import ImageSet
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import convolve
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.train.models import ModelDefinition
from residuum.sw.train.qcfs import qcfs
from residuum.sw.train.training import SHOW_EVERY, RunningMean, batches_of, optimizer_of

# Fine-tuning steps between two updates of the weight scales, which change slowly.
SCALES_EVERY = 20
# Weights of this many bits or more are converted without fine-tuning.
ENOUGH_BITS = 8


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
    optimizer, schedule = optimizer_of(module, recipe, epochs * batches)
    name = f"fine-tune {definition.name} for {bits} bits"
    with reporter.task(name, total=epochs * batches, unit="batches") as task:
        for epoch in range(epochs):
            mean = RunningMean()
            # Continue the epoch numbers of the training, so that no random seed is used twice.
            drawn = batches_of(recipe, data, seed=seed, epoch=recipe.epochs + epoch)
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


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).float()
