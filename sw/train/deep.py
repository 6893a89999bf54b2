"""ResNet-20, ResNet-18 and VGG-16 for images of 32x32 pixels.

Sources: He et al., "Deep residual learning for image recognition", CVPR 2016 (ResNet-20 is its
network for CIFAR with n = 3; ResNet-18 is the one for ImageNet with a 3x3 stem and no pooling);
Simonyan and Zisserman, ICLR 2015 (VGG-16, configuration D). Unlike the published VGG-16, ours has
BatchNorm, one dense layer, and average pooling in place of max-pooling: a spike train cannot carry
a maximum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from residuum.sw.errors import ResiduumError
from residuum.sw.train.augment import CropAndFlip
from residuum.sw.train.models import (
    ConvDefinition,
    ModelDefinition,
    Recipe,
    Shortcut,
    ShortcutKind,
    with_relu,
)

IMAGE = (3, 32, 32)
# Classes of the data sets that the deep networks are trained on.
DEEP_DATA = {"cifar10": 10, "cifar100": 100}
# Networks for it have the name of their architecture alone.
FIRST = "cifar10"
LEVELS = 8

# A small network cannot fit AutoAugment's images in the epochs that a CPU has time for.
LIGHT = CropAndFlip(max_shift=4, cutout=8)
STRONG = CropAndFlip(max_shift=4, cutout=16, auto_augment=True)
AUGMENTATIONS = {"light": LIGHT, "strong": STRONG}


@dataclass(frozen=True)
class Build:
    """What a builder of a deep network needs.

    Attributes
    ----------
    width
        Factor of all channel counts.
    shortcut
        Shortcut where the number of channels changes.
    """

    width: float
    shortcut: ShortcutKind

    def channels(self, published: int) -> int:
        """Channels of a layer with ``published`` channels in the paper; at least one."""
        return max(1, round(published * self.width))


@dataclass(frozen=True)
class Architecture:
    """A deep network before its data set and its options are known.

    Attributes
    ----------
    hidden
        Builds the hidden layers.
    pool
        Average pooling in front of the classifier.
    residual
        Whether the network has shortcuts.
    augmentation
        Default change of each training image.
    """

    hidden: Callable[[Build], list[ConvDefinition]]
    pool: int
    residual: bool
    augmentation: CropAndFlip


def _resnet(stages: Sequence[int], blocks: int, build: Build) -> list[ConvDefinition]:
    """A stem, then stages of so many blocks; each stage but the first halves the map."""
    layers = [ConvDefinition(channels=build.channels(stages[0]), kernel=3, padding=1)]
    for stage, published in enumerate(stages):
        channels = build.channels(published)
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            shortcut = Shortcut(kind=build.shortcut, stride=stride)
            layers.append(ConvDefinition(channels, kernel=3, stride=stride, padding=1))
            layers.append(ConvDefinition(channels, kernel=3, padding=1, shortcut=shortcut))
    return layers


def _resnet20(build: Build) -> list[ConvDefinition]:
    return _resnet((16, 32, 64), 3, build)


def _resnet18(build: Build) -> list[ConvDefinition]:
    return _resnet((64, 128, 256, 512), 2, build)


def _vgg16(build: Build) -> list[ConvDefinition]:
    """Average pooling precedes the first convolution of each group but the first."""
    layers = []
    groups = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    for group, (published, count) in enumerate(groups):
        for number in range(count):
            pool = 2 if group > 0 and number == 0 else 1
            channels = build.channels(published)
            layers.append(ConvDefinition(channels, kernel=3, padding=1, pool=pool))
    return layers


ARCHITECTURES = {
    "resnet20": Architecture(_resnet20, pool=8, residual=True, augmentation=LIGHT),
    "resnet18": Architecture(_resnet18, pool=4, residual=True, augmentation=STRONG),
    "vgg16": Architecture(_vgg16, pool=2, residual=False, augmentation=STRONG),
}


def deep_definition(
    architecture: str,
    dataset: str,
    *,
    levels: int = LEVELS,
    relu: bool = False,
    shortcut: ShortcutKind | None = None,
    width: float = 1.0,
) -> ModelDefinition:
    """A deep network for a data set; for CIFAR-10 it is called as its architecture, else
    ``ARCHITECTURE-DATASET``.

    Raises ``ResiduumError`` if the data set is not one of 32x32 colour images, or an option does
    not suit the architecture.
    """
    made = ARCHITECTURES[architecture]
    if dataset not in DEEP_DATA:
        known = " and ".join(DEEP_DATA)
        raise ResiduumError(f"{architecture} is trained on {known}, not on {dataset}")
    if shortcut is not None and not made.residual:
        raise ResiduumError(f"{architecture} has no shortcuts, so --shortcut is not for it")
    if not 0 < width <= 16:
        raise ResiduumError(f"--width must be above 0 and at most 16, not {width}")
    definition = ModelDefinition(
        name=architecture if dataset == FIRST else f"{architecture}-{dataset}",
        dataset=dataset,
        input_shape=IMAGE,
        hidden=tuple(made.hidden(Build(width, shortcut or "projection"))),
        pool=made.pool,
        classes=DEEP_DATA[dataset],
        levels=levels,
        recipe=Recipe(
            epochs=200,
            batch=128,
            optimizer="sgd",
            learning_rate=0.1,
            schedule="cosine",
            weight_decay=5e-4,
            activity_penalty=0.0,
            augmentation=made.augmentation,
            precision="bfloat16",
            whole_batches=True,
            chunk=16,
            fine_tune_epochs=10,
            fine_tune_rate=5e-4,
        ),
    )
    return with_relu(definition) if relu else definition
