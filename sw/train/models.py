"""The network definitions, and the PyTorch module that a definition is trained as.

A definition is a list of convolutions; map sizes and the classifier's kernel follow from it.
A hidden layer is optional average pooling, convolution and BatchNorm, plus the shortcut if it has
one, then QCFS (or ReLU). The last layer is average pooling by `ModelDefinition.pool`, then a dense
layer. The deep networks are in `residuum.sw.train.deep`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.train.augment import Affine, Augmentation, CropAndFlip
from residuum.sw.train.qcfs import QCFS

ShortcutKind = Literal["projection", "option-a"]


@dataclass(frozen=True)
class Shortcut:
    """What a layer adds to its convolution: the map that the layer before it reads.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016.

    Attributes
    ----------
    kind
        Used where channels or map size change. "projection" is a 1x1 convolution with BatchNorm.
        "option-a" takes every ``stride``-th position and has channels of zeros around. Elsewhere
        the map is added as it is.
    stride
        Stride of the shortcut along both axes.
    """

    kind: ShortcutKind = "projection"
    stride: int = 1


@dataclass(frozen=True)
class ConvDefinition:
    """One hidden layer: ``pool`` x ``pool`` average pooling, then a square convolution.

    Attributes
    ----------
    shortcut
        What is added in front of the activation; None adds nothing.
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1
    shortcut: Shortcut | None = None

    def output_size(self, size: int) -> int:
        """Edge length of the output map for an input map of edge length ``size``."""
        return (size // self.pool + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch
        Passes over the training images, and images per step.
    learning_rate, optimizer, weight_decay
        Peak learning rate; "adamw" or "sgd" (Nesterov momentum 0.9); decay of the weights.
        Thresholds, biases and BatchNorm do not decay.
    activity_penalty
        Weight of the mean activity in the loss; a larger one gives fewer spikes.
    augmentation
        Random change of each training image.
    fine_tune_epochs, fine_tune_rate
        Epochs and learning rate of the fine-tuning with rounded weights (AdamW).
    precision
        "float32", or "bfloat16" for a compiled network in mixed precision, on a CPU without
        bfloat16 arithmetic in float32; parameters are always float32.
    schedule
        "one-cycle", or "cosine" with a short linear warm-up.
    label_smoothing
        Share of the target that all classes get alike.
    whole_batches
        Leave out the last batch of an epoch if it is not full.
    chunk
        Batches that are augmented at once, which is faster, above all on a GPU.
    """

    epochs: int
    batch: int
    learning_rate: float
    activity_penalty: float
    augmentation: Augmentation
    fine_tune_epochs: int
    fine_tune_rate: float
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    precision: str = "float32"
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    label_smoothing: float = 0.05
    whole_batches: bool = False
    chunk: int = 1

    def batches(self, images: int) -> int:
        """Batches of an epoch over so many training images; at least one."""
        whole = images // self.batch
        return max(whole, 1) if self.whole_batches else -(-images // self.batch)

    @property
    def continued(self) -> "Recipe":
        """The recipe for a network that is trained already: shorter, at a lower rate."""
        epochs = max(1, self.epochs // 4)
        return replace(self, epochs=epochs, learning_rate=self.learning_rate / 4)


@dataclass(frozen=True)
class ModelDefinition:
    """A trainable network: data set, image shape, hidden layers, and how it is trained.

    Attributes
    ----------
    levels
        L of QCFS.
    pool
        Average pooling in front of the classifier.
    relu
        The activation is ReLU, not QCFS.
    """

    name: str
    dataset: str
    input_shape: tuple[int, int, int]
    hidden: tuple[ConvDefinition, ...]
    classes: int
    levels: int
    recipe: Recipe
    pool: int = 1
    relu: bool = False

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the classifier's input map, after pooling."""
        _, height, width = self.input_shape
        for layer in self.hidden:
            height, width = layer.output_size(height), layer.output_size(width)
        return self.hidden[-1].channels, height // self.pool, width // self.pool


DIGITS = ModelDefinition(
    name="digits",
    dataset="digits",
    input_shape=(1, 8, 8),
    hidden=(
        ConvDefinition(channels=16, kernel=3, padding=1),
        ConvDefinition(channels=32, kernel=3, padding=1, pool=2),
    ),
    classes=10,
    levels=4,
    recipe=Recipe(
        epochs=100,
        batch=64,
        learning_rate=4e-3,
        activity_penalty=0.5,
        augmentation=Affine(max_rotation=8.0, max_zoom=0.05, max_shift=1.0),
        fine_tune_epochs=40,
        fine_tune_rate=4e-4,
    ),
)

MNIST = ModelDefinition(
    name="mnist",
    dataset="mnist",
    input_shape=(1, 28, 28),
    hidden=(
        ConvDefinition(channels=16, kernel=3, stride=2, padding=1),
        ConvDefinition(channels=32, kernel=3, stride=2, padding=1),
        ConvDefinition(channels=32, kernel=3, padding=1),
        ConvDefinition(channels=32, kernel=3, stride=2, padding=1),
    ),
    classes=10,
    levels=4,
    recipe=Recipe(
        epochs=60,
        batch=128,
        learning_rate=4e-3,
        activity_penalty=0.1,
        augmentation=Affine(max_rotation=12.0, max_zoom=0.12, max_shift=2.0),
        precision="bfloat16",
        fine_tune_epochs=6,
        fine_tune_rate=4e-4,
    ),
)

FASHION = ModelDefinition(
    name="fashion",
    dataset="fashion",
    input_shape=(1, 28, 28),
    hidden=(
        ConvDefinition(channels=32, kernel=3, padding=1),
        ConvDefinition(channels=64, kernel=3, stride=2, padding=1),
        ConvDefinition(channels=64, kernel=3, padding=1),
        ConvDefinition(channels=64, kernel=3, stride=2, padding=1),
    ),
    pool=3,
    classes=10,
    levels=4,
    recipe=Recipe(
        epochs=50,
        batch=128,
        learning_rate=4e-3,
        weight_decay=0.02,
        activity_penalty=0.1,
        augmentation=CropAndFlip(max_shift=2),
        precision="bfloat16",
        fine_tune_epochs=6,
        fine_tune_rate=4e-4,
    ),
)

CIFAR10 = ModelDefinition(
    name="cifar10",
    dataset="cifar10",
    input_shape=(3, 32, 32),
    hidden=(
        ConvDefinition(channels=32, kernel=3, padding=1),
        ConvDefinition(channels=64, kernel=3, stride=2, padding=1),
        ConvDefinition(channels=64, kernel=3, padding=1),
        ConvDefinition(channels=128, kernel=3, stride=2, padding=1),
        ConvDefinition(channels=128, kernel=3, padding=1),
        ConvDefinition(channels=128, kernel=3, stride=2, padding=1),
    ),
    pool=4,
    classes=10,
    levels=4,
    recipe=Recipe(
        epochs=110,
        batch=128,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=5e-4,
        activity_penalty=0.05,
        augmentation=CropAndFlip(max_shift=4, cutout=12),
        precision="bfloat16",
        fine_tune_epochs=20,
        fine_tune_rate=5e-4,
    ),
)

MODELS = {model.name: model for model in (DIGITS, MNIST, FASHION, CIFAR10)}


def model_definition(name: str) -> ModelDefinition:
    """The definition called ``name``; ``ResiduumError`` lists the known ones."""
    if name not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise ResiduumError(f"there is no model {name!r} to train; the known models are {known}")
    return MODELS[name]


def with_relu(definition: ModelDefinition) -> ModelDefinition:
    """The same network with ReLU; its name ends in ``-relu``."""
    # ReLU has no lambda that an activity could be measured by.
    recipe = replace(definition.recipe, activity_penalty=0.0)
    return replace(definition, name=f"{definition.name}-relu", relu=True, recipe=recipe)


class OptionA(nn.Module):
    """Every ``stride``-th position of a map, between channels of zeros; has no weights."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (channels - in_channels) // 2
        self.after = channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class Projection(nn.Module):
    """1x1 convolution without bias, and BatchNorm."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x))
        return result


def shortcut_module(
    shortcut: Shortcut | None, in_channels: int, channels: int
) -> OptionA | Projection | None:
    """The module of a shortcut from ``in_channels`` to ``channels``."""
    if shortcut is None:
        return None
    same = shortcut.stride == 1 and in_channels == channels
    make = Projection if shortcut.kind == "projection" and not same else OptionA
    return make(in_channels, channels, shortcut.stride)


class HiddenLayer(nn.Module):
    """Average pooling, convolution without bias, BatchNorm, shortcut, activation.

    Parameters
    ----------
    in_channels
        Channels of the map of the layer before.
    before
        Channels of the map that the layer before reads; the shortcut adds this map.
    definition, network
        The layer, and the network that it is in.
    """

    def __init__(
        self, in_channels: int, before: int, definition: ConvDefinition, network: ModelDefinition
    ) -> None:
        super().__init__()
        self.pool = definition.pool
        self.padding = definition.padding
        self.conv = nn.Conv2d(
            in_channels,
            definition.channels,
            definition.kernel,
            stride=definition.stride,
            padding=definition.padding,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(definition.channels)
        self.shortcut = shortcut_module(definition.shortcut, before, definition.channels)
        # A sum of two maps has a wider range than one.
        initial = 2.0 if definition.shortcut is None else 4.0
        self.activation: QCFS | nn.ReLU = nn.ReLU()
        if not network.relu:
            self.activation = QCFS(
                levels=network.levels,
                initial_threshold=initial,
                keep_share=network.recipe.activity_penalty > 0,
            )

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """``x`` is the map of the layer before, ``before`` the map which that layer reads."""
        if self.pool > 1:
            x = F.avg_pool2d(x, self.pool)
        z = self.norm(self.conv(x))
        if self.shortcut is not None:
            z = z + self.shortcut(before)
        activation: Tensor = self.activation(z)
        return activation


class QCFSNetwork(nn.Module):
    """The trainable network of a ``ModelDefinition``.

    Input: float images (N, C, H, W) in 0..1. Output: logits (N, classes).
    """

    def __init__(self, definition: ModelDefinition) -> None:
        super().__init__()
        self.definition = definition
        hidden = []
        before = channels = definition.input_shape[0]
        for layer in definition.hidden:
            hidden.append(HiddenLayer(channels, before, layer, definition))
            before, channels = channels, layer.channels
        self.hidden = nn.ModuleList(hidden)
        depth, height, width = definition.feature_shape
        self.classifier = nn.Linear(depth * height * width, definition.classes)

    def hidden_layers(self) -> list[HiddenLayer]:
        """The hidden layers in order."""
        return [layer for layer in self.hidden if isinstance(layer, HiddenLayer)]

    def forward(self, x: Tensor) -> Tensor:
        before = x
        for layer in self.hidden:
            before, x = x, layer(x, before)
        if self.definition.pool > 1:
            x = F.avg_pool2d(x, self.definition.pool)
        logits: Tensor = self.classifier(x.flatten(1))
        return logits
