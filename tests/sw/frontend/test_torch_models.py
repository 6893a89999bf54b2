"""Known architectures, and models that others trained, against PyTorch itself."""

import numpy as np
import pytest
import torch
from torch import nn

from residuum.sw.data.data_sets import load_held_out
from residuum.sw.errors import ResiduumError
from residuum.sw.frontend.models import module_to_network
from residuum.sw.frontend.torch_model import load_weights
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import Preprocessing
from tests.sw.frontend.modules import VGG16, MobileNetV2, ResNet, ResNet18, with_statistics
from tests.sw.frontend.published import CIFAR10, CIFAR100, need_data, published


def error(module: nn.Module, network: FloatNetwork, images: torch.Tensor) -> float:
    """Largest difference of the logits, relative to the largest."""
    with torch.no_grad():
        expected = module(images)
    return float((forward(network, images) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (ResNet18(width=8), (3, 64, 64)),
        (ResNet18(width=4), (3, 57, 71)),
        (VGG16(width=4, hidden=32), (3, 32, 32)),
        (VGG16(width=4, hidden=32), (3, 64, 96)),
        (ResNet(1, 10, option="B", shortcut="downsample"), (3, 32, 32)),
    ],
    ids=["resnet18", "resnet18-odd", "vgg16-enlarged", "vgg16-cut", "resnet8"],
)
def test_known_architectures(module: nn.Module, shape: tuple[int, int, int]) -> None:
    module = with_statistics(module)
    network = module_to_network(module, shape)
    assert error(module, network, torch.rand(2, *shape, dtype=torch.float64)) < 1e-9


def test_layers_of_resnet18() -> None:
    """Names are the paths of the convolutions; shortcuts are second sources of 1x1 kernels."""
    network = module_to_network(with_statistics(ResNet18(width=4)), (3, 64, 64))
    assert [layer.name for layer in network.layers if len(layer.sources) == 2] == [
        f"layer{stage}.{block}.conv2" for stage in (1, 2, 3, 4) for block in (0, 1)
    ]
    assert len(network.layers) == 18
    assert network.layers[0].max_pool is not None
    assert network.layers[0].max_pool.padding == (1, 0, 1, 0)
    shortcuts = [layer.sources[1] for layer in network.layers if len(layer.sources) == 2]
    assert {source.kernel for source in shortcuts} == {(1, 1)}
    identity = shortcuts[0].weight[:, :, 0, 0]
    assert np.array_equal(identity, np.eye(4))


def test_linear_bottlenecks_are_refused() -> None:
    module = with_statistics(MobileNetV2())
    with pytest.raises(ResiduumError, match=r"'features\.2\.conv\.0' \(Conv2d\) .*'features\.1"):
        module_to_network(module, (3, 32, 32))


@pytest.mark.parametrize(
    ("file", "module", "statistics", "data", "count", "least"),
    [
        ("resnet20-12fca82f.th", ResNet(3, 10), CIFAR10, "cifar10", 200, 0.90),
        pytest.param(
            *("resnet20-12fca82f.th", ResNet(3, 10), CIFAR10, "cifar10", 1000, 0.91),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *("resnet56-4bfd9763.th", ResNet(9, 10), CIFAR10, "cifar10", 1000, 0.92),
            marks=pytest.mark.long,
        ),
        pytest.param(
            "cifar100_resnet20.pth",
            ResNet(3, 100, option="B", shortcut="downsample", head="fc"),
            *(CIFAR100, "cifar100", 1000, 0.67),
            marks=pytest.mark.long,
        ),
    ],
    ids=["resnet20", "resnet20-more", "resnet56", "resnet20-cifar100"],
)
def test_published_models(
    file: str, module: ResNet, statistics: tuple, data: str, count: int, least: float
) -> None:
    """Logits equal those of the module, and the accuracy is near what its authors claim."""
    need_data()
    mean, std = statistics
    load_weights(module, published(file))
    network = module_to_network(
        module.eval(), (3, 32, 32), preprocessing=Preprocessing(mean=mean, std=std)
    )
    assert network.pad is not None
    assert network.pad.pixel == pytest.approx(mean)
    pictures, labels = load_held_out(data)
    images = torch.from_numpy(pictures[:count].astype(np.float32) / 255)
    wanted = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        expected = module(wanted)
    logits = forward(network, images)
    assert float((logits - expected).abs().max()) < 1e-4
    accuracy = float((logits.argmax(1).numpy() == labels[:count]).mean())
    assert accuracy >= least
