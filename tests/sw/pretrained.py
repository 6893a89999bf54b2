"""Residual networks that others trained, as float networks, built from their state dicts alone.

The files are not part of the project; tests that need them skip where they are missing.
"""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from residuum.sw.data.data_sets import dataset
from residuum.sw.errors import ResiduumError
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import INPUT, Pad, Source

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("RESIDUUM_MODELS", ROOT.parent / "shared" / "models"))

CIFAR10_MEAN, CIFAR10_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR100_MEAN, CIFAR100_STD = (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)


def model_file(name: str) -> Path:
    """The path of a model; the test skips where it is missing."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return path


def _state(name: str) -> dict[str, Tensor]:
    state = torch.load(model_file(name), weights_only=True, map_location="cpu")
    state = state.get("state_dict", state)
    return {key.removeprefix("module."): value.double() for key, value in state.items()}


def resnet20() -> FloatNetwork:
    """CIFAR-10 ResNet-20 with shortcuts of option A."""
    return _resnet("resnet20-12fca82f.th", "linear", CIFAR10_MEAN, CIFAR10_STD)


def resnet56() -> FloatNetwork:
    """CIFAR-10 ResNet-56 with shortcuts of option A."""
    return _resnet("resnet56-4bfd9763.th", "linear", CIFAR10_MEAN, CIFAR10_STD)


def resnet20_cifar100() -> FloatNetwork:
    """CIFAR-100 ResNet-20 with projections."""
    return _resnet("cifar100_resnet20.pth", "fc", CIFAR100_MEAN, CIFAR100_STD)


def _resnet(file: str, head: str, mean: tuple[float, ...], std: tuple[float, ...]) -> FloatNetwork:
    state = _state(file)
    layers: list[FloatLayer] = []

    def add(name: str, bias: Tensor, *sources: Source) -> int:
        layers.append(FloatLayer(name, sources, bias.numpy(), math.inf))
        return len(layers) - 1

    # (u/255 - mean) / std goes into the first layer, whose padding becomes the border.
    weight, bias = _folded(state, "conv1", "bn1")
    std_c, mean_c = torch.tensor(std), torch.tensor(mean)
    weight = weight / std_c.double()[:, None, None]
    bias = bias - (weight * mean_c.double()[:, None, None]).sum(dim=(1, 2, 3))
    x = add("conv1", bias, Source(weight.numpy(), INPUT))
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            weight, bias = _folded(state, f"{name}.conv1", f"{name}.bn1")
            middle = add(f"{name}.conv1", bias, _conv(weight, x, stride))
            weight, bias = _folded(state, f"{name}.conv2", f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                short, more = _folded(state, f"{name}.downsample.0", f"{name}.downsample.1")
                bias = bias + more
            else:
                short = _option_a(len(weight), layers[x].out_channels)
            second = Source(short.numpy(), x, stride=(stride, stride))
            x = add(f"{name}.conv2", bias, _conv(weight, middle, 1), second)
            block += 1
    weight = state[f"{head}.weight"][:, :, None, None]
    last = Source(weight.numpy(), x, pool=(8, 8))
    layers.append(FloatLayer(head, (last,), state[f"{head}.bias"].numpy(), None))
    pad = Pad((1, 1, 1, 1), tuple(mean))
    return FloatNetwork(file.split(".")[0], (3, 32, 32), tuple(layers), None, pad=pad)


def _conv(weight: Tensor, number: int, stride: int) -> Source:
    return Source(weight.numpy(), number, stride=(stride, stride), padding=(1, 1, 1, 1))


def _option_a(out: int, into: int) -> Tensor:
    """Channels as they are, in the middle of twice as many; all of them if there are as many."""
    weight = torch.zeros(out, into, 1, 1, dtype=torch.float64)
    first = (out - into) // 2
    weight[first : first + into, :, 0, 0] = torch.eye(into)
    return weight


def _folded(state: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-5)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return state[f"{conv}.weight"] * gain[:, None, None, None], bias


def cifar_images(name: str, count: int, *, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures, uint8 (N, 3, 32, 32), and labels of a published set."""
    try:
        data = dataset(name)
        images, labels = data.train() if train else data.test()
    except ResiduumError as error:
        pytest.skip(f"no {name}: {error}")
    return images[:count], labels[:count]
