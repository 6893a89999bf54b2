"""Published residual networks in integers, without training: accuracy on all test images.

The models are not part of the project; the tests skip where they are missing. Their float networks
are built from the state dicts alone (`pretrained`), and the integers run in torch (`quantized`).
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from residuum.sw.convert.calibrate import calibrate
from residuum.sw.convert.to_integer import convert
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import RADIX
from tests.sw.pretrained import cifar_images, resnet20, resnet20_cifar100, resnet56
from tests.sw.quantized import quantized_logits


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "data", "bits", "map_bits", "potential_bits", "goal"),
    [
        (resnet20, "cifar10", 8, 6, 24, 91.5),
        (resnet20, "cifar10", 4, 6, 24, 91.2),
        (resnet20, "cifar10", 3, 6, 24, 90.2),
        (resnet20, "cifar10", 4, 4, 24, 89.9),
        (resnet20_cifar100, "cifar100", 4, 8, 25, 64.5),
        (resnet56, "cifar10", 4, 6, 24, 92.9),
    ],
)
def test_accuracy_of_imported_networks(
    model: Callable[[], FloatNetwork],
    data: str,
    bits: int,
    map_bits: int,
    potential_bits: int,
    goal: float,
) -> None:
    network = model()
    calibration, _ = cifar_images(data, 512, train=True)
    images, labels = cifar_images(data, 10_000, train=False)
    conversion = convert(
        calibrate(network, calibration, bits=map_bits),
        bits=bits, code=RADIX, map_bits=map_bits, potential_bits=potential_bits,
        images=calibration, compensate=True,
    )  # fmt: skip
    assert max(loss.potential_bits for loss in conversion.losses) <= potential_bits
    # No sum comes near 2^53; float64 is exact.
    logits = quantized_logits(conversion.network, images, dtype=torch.float64)
    assert 100 * np.mean(logits.argmax(axis=1) == labels) >= goal
