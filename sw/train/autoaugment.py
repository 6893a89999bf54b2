"""AutoAugment's policy for CIFAR-10."""

import torch
from torch import Tensor


def auto_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Not written yet."""
    raise NotImplementedError
