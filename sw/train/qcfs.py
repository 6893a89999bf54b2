"""The quantised activation that makes a network convertible.

Source: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking
neural networks", ICLR 2022 (quantization clip-floor-shift, QCFS).
"""

import torch
from torch import Tensor, nn


class _FloorStraightThrough(torch.autograd.Function):
    """Floor with a straight-through gradient of 1."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.floor(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad


def floor_straight_through(x: Tensor) -> Tensor:
    """``floor(x)``, any shape, with gradient 1."""
    result: Tensor = _FloorStraightThrough.apply(x)
    return result


def qcfs(z: Tensor, threshold: Tensor | float, levels: int) -> Tensor:
    """``lambda * clip(floor(z*L/lambda + 1/2)/L, 0, 1)``, element by element.

    Parameters
    ----------
    z
        Pre-activation, any shape.
    threshold
        lambda > 0: the largest value of the activation, and later the firing threshold theta.
    levels
        L >= 1: the output is one of ``0, lambda/L, ..., lambda``.
    """
    share = torch.clamp(z / threshold, 0.0, 1.0)
    return floor_straight_through(share * levels + 0.5) / levels * threshold


class QCFS(nn.Module):
    """QCFS activation with one trained lambda for the whole layer.

    A spiking neuron with threshold lambda and start potential lambda/2 that is given the constant
    current z fires in ``clip(floor(z*L/lambda + 1/2), 0, L)`` of L steps, so its mean output is
    exactly this activation.

    Attributes
    ----------
    threshold
        lambda, a trained scalar > 0.
    share
        Output / lambda (0..1) of the latest forward pass, with gradient, for an activity penalty;
        None if ``keep_share`` is False, which saves time.
    """

    def __init__(
        self, *, levels: int, initial_threshold: float = 2.0, keep_share: bool = True
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels must be at least 1, not {levels!r}")
        if not initial_threshold > 0:
            raise ValueError(f"initial_threshold must be positive, not {initial_threshold!r}")
        self.levels = levels
        self.threshold = nn.Parameter(torch.tensor(float(initial_threshold)))
        self.keep_share = keep_share
        self.share: Tensor | None = None

    def forward(self, z: Tensor) -> Tensor:
        activation = qcfs(z, self.threshold, self.levels)
        if self.keep_share:
            self.share = activation / self.threshold
        return activation
