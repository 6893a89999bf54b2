"""Published residual networks in integers, without training: accuracy on 2,000 test images.

The models are not part of the project; the tests skip where they are missing. Their float networks
are built from the state dicts alone (`pretrained`), and the integers run in torch (`quantized`).
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from residuum.sw.convert.calibrate import calibrate
from residuum.sw.convert.to_integer import convert
from residuum.sw.importing.ladder import ann
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import RADIX
from tests.sw.pretrained import cifar_images, resnet20, resnet20_cifar100
from tests.sw.quantized import quantized_logits


def accuracy(network: FloatNetwork, images: np.ndarray, labels: np.ndarray) -> float:
    """Of the float network, in percent."""
    predicted = np.concatenate(list(ann(network)(images)))
    return 100 * float(np.mean(predicted == labels))


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "data", "bits", "map_bits", "potential_bits", "lost"),
    [
        (resnet20, "cifar10", 4, 6, 24, 1.0),
        (resnet20, "cifar10", 4, 4, 24, 2.0),
        (resnet20_cifar100, "cifar100", 4, 8, 25, 3.0),
    ],
)
def test_accuracy_of_imported_networks(
    model: Callable[[], FloatNetwork],
    data: str,
    bits: int,
    map_bits: int,
    potential_bits: int,
    lost: float,
) -> None:
    network = model()
    calibration, _ = cifar_images(data, 512, train=True)
    images, labels = cifar_images(data, 2_000, train=False)
    conversion = convert(
        calibrate(network, calibration, bits=map_bits),
        bits=bits, code=RADIX, map_bits=map_bits, potential_bits=potential_bits,
        images=calibration, compensate=True,
    )  # fmt: skip
    assert max(loss.potential_bits for loss in conversion.losses) <= potential_bits
    # No sum comes near 2^53; float64 is exact.
    logits = quantized_logits(conversion.network, images, dtype=torch.float64)
    reached = 100 * np.mean(logits.argmax(axis=1) == labels)
    assert reached >= accuracy(network, images, labels) - lost
